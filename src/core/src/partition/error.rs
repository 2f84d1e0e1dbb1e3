//! Every error of the partition subject: one function each, with what was found and the next command.

use super::name::{identifier, literal};
use super::snapshot::Publication;
use crate::error::{Condition, Error, quoted};

fn error(condition: Condition, message: String, detail: String, hint: String) -> Error {
    Error::new(condition, message).detail(detail).hint(hint)
}

/// `22004`: an argument is NULL.
#[must_use]
pub fn null_argument(argument: &str) -> Error {
    error(
        Condition::NullValueNotAllowed,
        format!("argument \"{argument}\" must not be NULL"),
        format!("The value given for \"{argument}\" is NULL."),
        "Give it a value; psql shows the arguments of all calls with: \\df eventkit.*".into(),
    )
}

/// `22008`: an infinite time where a partition has to begin.
#[must_use]
pub fn infinite(argument: &str) -> Error {
    error(
        Condition::DatetimeFieldOverflow,
        format!("argument \"{argument}\" is out of range: infinity"),
        "Days from 0001-01-01 to 9998-12-31 have partitions.".into(),
        "Give a day inside of it, as in: CALL eventkit.create_partition('app.events', current_date).".into(),
    )
}

/// `22008`: a time that no partition is made for.
#[must_use]
pub fn time_out_of_range(micros: i64) -> Error {
    error(
        Condition::DatetimeFieldOverflow,
        format!("time is out of range: {micros} microseconds since 1970"),
        "Days from 0001-01-01 to 9998-12-31 have partitions, as far as the type of the key holds them.".into(),
        "Give a day inside of it, as in: CALL eventkit.create_partition('app.events', current_date).".into(),
    )
}

/// `22008`: a day that the zone's clocks leave out.
#[must_use]
pub fn day_left_out(day: &str) -> Error {
    error(
        Condition::DatetimeFieldOverflow,
        format!("argument \"day\": {day} does not exist in the time zone"),
        "The clocks of the zone went from the day before to the day after.".into(),
        "Take the day before or the day after it.".into(),
    )
}

/// `22023`: a bound between two values of the key's type.
#[must_use]
pub fn time_between_values(micros: i64, column: &str) -> Error {
    error(
        Condition::InvalidParameterValue,
        format!("{micros} microseconds since 1970 is no value of key {column}"),
        "A bound is a midnight for a date, a whole second for seconds, a whole millisecond for milliseconds and uuid."
            .into(),
        "Give a time that begins a day of the parent's time zone, or a value that its key can have.".into(),
    )
}

/// `22023`: a range that ends before it begins.
#[must_use]
pub fn empty_range() -> Error {
    error(
        Condition::InvalidParameterValue,
        "argument \"to_time\" is not after argument \"from_time\"".into(),
        "The range reaches from from_time on to before to_time.".into(),
        "Give a later one, as in: CALL eventkit.create_partitions('app.events', now(), now() + interval '30 days')."
            .into(),
    )
}

/// `54000`: a range of too many periods.
#[must_use]
pub fn too_many_periods(most: usize) -> Error {
    error(
        Condition::ProgramLimitExceeded,
        format!("the range holds more than {most} periods"),
        "So many partitions slow every query down.".into(),
        "Give a shorter range, or manage the parent with a longer period: CALL eventkit.manage_partitions('app.events', period => '1 month').".into(),
    )
}

/// `22023`: an interval that is no period.
#[must_use]
pub fn period_unsupported(months: i32, days: i32, micros: i64) -> Error {
    error(
        Condition::InvalidParameterValue,
        format!("argument \"period\" is not supported: {months} months {days} days {micros} microseconds"),
        "A period is a number of hours, days, weeks or months, from an hour to a hundred years.".into(),
        "Give one, as in: period => '1 day', '1 hour', '1 week' or '1 month'.".into(),
    )
}

/// `22023`: a period of hours of a key that has none.
#[must_use]
pub fn period_of_date(column: &str) -> Error {
    error(
        Condition::InvalidParameterValue,
        format!("argument \"period\": key {column} is a date and has no hours"),
        "A date belongs to one day.".into(),
        "Give whole days, as in: period => '1 day'.".into(),
    )
}

/// `22023`: a number of periods ahead that is negative or absurd.
#[must_use]
pub fn premake_out_of_range(found: i32, most: i32) -> Error {
    error(
        Condition::InvalidParameterValue,
        format!("argument \"premake\" is out of range: {found}"),
        format!("Between 0 and {most} periods are made ahead."),
        "Leave it out to get its default of 7.".into(),
    )
}

/// `22023`: a retention that goes backwards.
#[must_use]
pub fn retention_negative(months: i32, days: i32, micros: i64) -> Error {
    error(
        Condition::InvalidParameterValue,
        format!("argument \"retention\" is negative: {months} months {days} days {micros} microseconds"),
        "Rows are kept for this long after their period has ended.".into(),
        "Give a positive one, as in: retention => '90 days', or leave it out to keep all.".into(),
    )
}

/// `55000`: partitions expire by a retention that the parent does not have.
#[must_use]
pub fn no_retention(table: &str) -> Error {
    error(
        Condition::ObjectNotInPrerequisiteState,
        format!("{table} has no retention"),
        "Without a retention only argument \"older_than\" tells which partitions are old.".into(),
        format!(
            "Name a time: CALL eventkit.drop_old_partitions('{0}', now() - interval '90 days'), or set one: CALL eventkit.manage_partitions('{0}', retention => '90 days').",
            table.replace('\'', "''")
        ),
    )
}

/// `22023`: partitions that hold the present time, or a later one, are not old.
#[must_use]
pub fn limit_to_come(table: &str) -> Error {
    error(
        Condition::InvalidParameterValue,
        "argument \"older_than\" is still to come".into(),
        format!("Partitions of {table} for the present time and later would be retired."),
        format!(
            "Name a time that has passed: CALL eventkit.drop_old_partitions('{}', now() - interval '90 days'). What is to go all the same: ALTER TABLE … DETACH PARTITION.",
            table.replace('\'', "''")
        ),
    )
}

/// `42804`: the statement run for an owner gives no text.
#[must_use]
pub fn no_text(cause: &str) -> Error {
    error(
        Condition::DatatypeMismatch,
        "argument \"statement\": its first column is no text".into(),
        cause.to_owned(),
        "Cast it, as in: SELECT eventkit.run_as_owner('app.events', 'SELECT 1::text').".into(),
    )
}

/// `22023`: no such way to retire a partition.
#[must_use]
pub fn unknown_expiry(found: &str) -> Error {
    error(
        Condition::InvalidParameterValue,
        format!("argument \"on_expiry\" is not known: {}", quoted(found.as_bytes())),
        "An expired partition is detached and left, dropped, or moved to another schema.".into(),
        "Give one of 'detach', 'drop', 'move'.".into(),
    )
}

/// `22023`: a move without a place to go.
#[must_use]
pub fn expired_schema_missing() -> Error {
    error(
        Condition::InvalidParameterValue,
        "argument \"expired_schema\" is needed for on_expiry => 'move'".into(),
        "Expired partitions are moved to that schema.".into(),
        "Name one, as in: expired_schema => 'archive'.".into(),
    )
}

/// `22023`: a place to go without a move.
#[must_use]
pub fn expired_schema_unwanted(on_expiry: &str) -> Error {
    error(
        Condition::InvalidParameterValue,
        format!("argument \"expired_schema\" has no use with on_expiry => '{on_expiry}'"),
        "Only on_expiry => 'move' moves partitions.".into(),
        "Leave it out, or give on_expiry => 'move'.".into(),
    )
}

/// `3F000`: no such schema.
#[must_use]
pub fn no_such_schema(name: &str) -> Error {
    error(
        Condition::InvalidSchemaName,
        format!("argument \"expired_schema\": schema {} does not exist", quoted(name.as_bytes())),
        "Expired partitions are moved to that schema.".into(),
        "Make it first with CREATE SCHEMA, or name another.".into(),
    )
}

/// `22023`: no such unit.
#[must_use]
pub fn unknown_unit(found: &str) -> Error {
    error(
        Condition::InvalidParameterValue,
        format!("argument \"key_unit\" is not known: {}", quoted(found.as_bytes())),
        "A bigint counts seconds, milliseconds, microseconds or nanoseconds since 1970.".into(),
        "Give one of 's', 'ms', 'us', 'ns'.".into(),
    )
}

/// `22023`: a number as a key whose unit is not known.
#[must_use]
pub fn unit_missing(column: &str, table: &str) -> Error {
    error(
        Condition::InvalidParameterValue,
        format!("argument \"key_unit\": key {column} is a bigint whose unit is not known"),
        "It may count seconds, milliseconds, microseconds or nanoseconds since 1970.".into(),
        format!(
            "Say which, to the procedure that you call or with CALL eventkit.manage_partitions('{}', key_unit => 'ms'); it is one of 's', 'ms', 'us', 'ns'.",
            table.replace('\'', "''")
        ),
    )
}

/// `22023`: a unit for a key that needs none.
#[must_use]
pub fn unit_unwanted(column: &str) -> Error {
    error(
        Condition::InvalidParameterValue,
        format!("argument \"key_unit\": key {column} is no bigint"),
        "Only a number needs a unit to be a time.".into(),
        "Leave key_unit out.".into(),
    )
}

/// `22023`: no such time zone.
#[must_use]
pub fn unknown_zone(name: &str) -> Error {
    error(
        Condition::InvalidParameterValue,
        format!("argument \"time_zone\": {} is not known", quoted(name.as_bytes())),
        "Zones have the names of the IANA database, as the server has it.".into(),
        "See the names with: SELECT name FROM pg_timezone_names.".into(),
    )
}

/// `42501`: somebody who may not backfill, or whose rights are not those of the session, asks for workers.
#[must_use]
pub fn no_workers() -> Error {
    error(
        Condition::InsufficientPrivilege,
        "workers of a backfill cannot be started here".into(),
        "They have the rights of the session: not inside of a SECURITY DEFINER function, and only for one who may call backfill.".into(),
        "Call the procedure itself: CALL eventkit.backfill('public.events', 'app.events', jobs => 2).".into(),
    )
}

/// `42P01`: the argument names no relation any more.
#[must_use]
pub fn no_such_table(argument: &str) -> Error {
    error(
        Condition::UndefinedTable,
        format!("argument \"{argument}\" names no table"),
        "The relation does not exist or was dropped meanwhile.".into(),
        "See the partitioned tables with: SELECT oid::regclass FROM pg_class WHERE relkind = 'p'.".into(),
    )
}

/// `XX001`: a catalog that is not understood.
#[must_use]
pub fn unreadable_catalog(cause: &str) -> Error {
    error(
        Condition::DataCorrupted,
        "the catalog describes a table in a way that is not understood".into(),
        cause.to_owned(),
        "Report it with the output of: SELECT version().".into(),
    )
}

/// `42809`: the parent is no range-partitioned table.
#[must_use]
pub fn not_range_partitioned(table: &str, found: &str) -> Error {
    error(
        Condition::WrongObjectType,
        format!("argument \"parent\": {table} is not partitioned by range"),
        format!("It is {found}."),
        if found.starts_with("partitioned") {
            "Periods are made on a table that is PARTITION BY RANGE of one column of time; make another parent, and fill it with eventkit.backfill.".into()
        } else {
            format!(
                "Convert the table in place, SELECT * FROM eventkit.plan_convert_table('{}', 'its time column') shows how; or make a parent with \
             CREATE TABLE … (LIKE … INCLUDING ALL) PARTITION BY RANGE (…) and fill it with eventkit.backfill.",
                table.replace('\'', "''")
            )
        },
    )
}

/// `0A000`: a partition key that days do not fit.
#[must_use]
pub fn unsupported_key(table: &str, found: &str) -> Error {
    error(
        Condition::FeatureNotSupported,
        format!("argument \"parent\": the partition key of {table} is not supported"),
        format!(
            "It is {found}; periods need one column of type date, timestamp, timestamptz, bigint or uuid with its default operator class."
        ),
        "Partition by a time column: CREATE TABLE … PARTITION BY RANGE (created_at).".into(),
    )
}

/// `0A000`: a parent that this version leaves alone.
#[must_use]
pub fn unsupported_parent(table: &str, found: &str, hint: &str) -> Error {
    error(
        Condition::FeatureNotSupported,
        format!("argument \"parent\": {table} cannot have partitions made"),
        format!("It is {found}."),
        hint.to_owned(),
    )
}

/// `42501`: the caller does not own the parent.
#[must_use]
pub fn not_owner(table: &str, caller: &str, owner: &str) -> Error {
    error(
        Condition::InsufficientPrivilege,
        format!("argument \"parent\": must be owner of {table}"),
        format!("The current role is {caller}, the owner is {owner}."),
        format!("Become the owner first: SET ROLE {owner}."),
    )
}

/// `55000`: what a drain does would be sent to subscribers by halves.
#[must_use]
pub fn drain_is_published(table: &str, publication: &Publication) -> Error {
    let (name, parent) = (identifier(&publication.name), literal(table));
    let (all, rest) = (&publication.publish, &publication.publish_no_deletes);
    error(
        Condition::ObjectNotInPrerequisiteState,
        format!("publication {name} sends what is deleted from {table}"),
        "Rows leave the default partition before the new one is attached: subscribers would lose them.".into(),
        format!(
            "Leave the deletes out in one transaction, of which subscribers see nothing: BEGIN; ALTER PUBLICATION {name} SET (publish = '{rest}'); \
             CALL eventkit.drain_default({parent}); ALTER PUBLICATION {name} SET (publish = '{all}'); COMMIT."
        ),
    )
}

/// `0A000`: rows are not moved out of a default partition that is partitioned itself, or a foreign table.
#[must_use]
pub fn default_is_no_table(default: &str, parent: &str, partitioned: bool) -> Error {
    let (what, why) = if partitioned {
        ("is partitioned itself", "Its rows may lie there as they are meant to")
    } else {
        ("is a foreign table", "Its rows are not this server's")
    };
    error(
        Condition::FeatureNotSupported,
        format!("default partition {default} of {parent} {what}"),
        format!("{why}; only a plain table is drained."),
        format!(
            "Detach it: ALTER TABLE {parent} DETACH PARTITION {default}; then make partitions and insert its rows into {parent}."
        ),
    )
}

/// `42P07`: the partition's name belongs to another relation.
#[must_use]
pub fn name_taken(name: &str, parent: &str) -> Error {
    error(
        Condition::DuplicateTable,
        format!("relation {name} exists already and is no partition of {parent} for this period"),
        format!("The partition that is to be made would have the name {name}."),
        format!("Give the other one another name: ALTER TABLE {name} RENAME TO …, then call again."),
    )
}

/// `42P17`: another partition covers a part of the period.
#[must_use]
pub fn overlap(period: &str, partition: &str, parent: &str) -> Error {
    error(
        Condition::InvalidObjectDefinition,
        format!("{period} overlaps partition {partition} of {parent}"),
        "A row belongs to one partition only.".into(),
        format!(
            "See the bounds with: SELECT * FROM eventkit.partitions WHERE partition = '{}'::regclass.",
            partition.replace('\'', "''")
        ),
    )
}

/// `42P17`: a period that is copied has partitions for a part of its times.
#[must_use]
pub fn covered_in_part(period: &str, partition: &str, parent: &str) -> Error {
    error(
        Condition::InvalidObjectDefinition,
        format!("{partition} is the partition of a part of {period} in {parent}"),
        "It was made for another period or time zone. The rest has none, and a period is copied as a whole or not at all.".into(),
        format!(
            "Give {parent} the settings back that it was made with (manage_partitions), or drop the partitions within the period: SELECT * FROM eventkit.partitions WHERE parent = '{}'::regclass; then call again.",
            parent.replace('\'', "''")
        ),
    )
}

/// `55000`: a constraint of somebody else's has the name of the CHECK that proves a bound.
#[must_use]
pub fn constraint_in_the_way(table: &str, constraint: &str) -> Error {
    error(
        Condition::ObjectNotInPrerequisiteState,
        format!("constraint {constraint} of {table} has a name that is needed"),
        "The bound is proved by a CHECK of that name, which goes when the table is a partition; this one says something else.".into(),
        format!("Give it another name: ALTER TABLE {table} RENAME CONSTRAINT {constraint} TO …; then call again."),
    )
}

/// `55000`: rows that a crash would empty.
#[must_use]
pub fn child_unlogged(child: &str, parent: &str) -> Error {
    error(
        Condition::ObjectNotInPrerequisiteState,
        format!("argument \"child\": {child} is unlogged, the partitions of {parent} are not"),
        "A crash of the server would empty this partition alone.".into(),
        format!("Have it logged first: ALTER TABLE {child} SET LOGGED; then call again."),
    )
}

/// `23514`: the default partition holds rows of the period.
#[must_use]
pub fn default_holds_rows(period: &str, default: &str, rows: i64, range: &str) -> Error {
    error(
        Condition::CheckViolation,
        format!("default partition {default} holds {rows} rows of {period}"),
        "With a partition of its own the period's rows could not stay there.".into(),
        format!(
            "See them with: SELECT * FROM {default} WHERE {range}; give them a partition of their own with CALL eventkit.drain_default(…) of the parent."
        ),
    )
}

/// `42809`: a table that cannot become a partition.
#[must_use]
pub fn child_kind(table: &str, found: &str) -> Error {
    error(
        Condition::WrongObjectType,
        format!("argument \"child\": {table} cannot become a partition"),
        format!("It is {found}; a plain table that stands alone can."),
        "Name a table made like the parent: CREATE TABLE … (LIKE … INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING GENERATED).".into(),
    )
}

/// `42501`: the caller does not own the table.
#[must_use]
pub fn child_not_owned(table: &str, caller: &str, owner: &str) -> Error {
    error(
        Condition::InsufficientPrivilege,
        format!("argument \"child\": must be owner of {table}"),
        format!("The current role is {caller}, the owner is {owner}."),
        format!("As a role with the rights of both: ALTER TABLE {table} OWNER TO {caller}."),
    )
}

/// `42804`: a column too many.
#[must_use]
pub fn child_column_extra(table: &str, column: &str, parent: &str) -> Error {
    error(
        Condition::DatatypeMismatch,
        format!("argument \"child\": column {column} of {table} is missing in {parent}"),
        "A partition has the columns of its parent, in any order, and no others.".into(),
        format!(
            "Add it there with ALTER TABLE {parent} ADD COLUMN {column} …, or drop it: ALTER TABLE {table} DROP COLUMN {column}."
        ),
    )
}

/// `42804`: a column too few.
#[must_use]
pub fn child_column_missing(table: &str, column: &str, parent: &str) -> Error {
    error(
        Condition::DatatypeMismatch,
        format!("argument \"child\": {table} has no column {column}"),
        format!("{parent} has one, and a partition has the columns of its parent."),
        format!("Add it: ALTER TABLE {table} ADD COLUMN {column} …."),
    )
}

/// `42804`: a column that is another.
#[must_use]
pub fn child_column_type(table: &str, column: &str, found: &str, wanted: &str) -> Error {
    error(
        Condition::DatatypeMismatch,
        format!("argument \"child\": column {column} of {table} is {found}, not {wanted}"),
        "Type, collation and generation are those of the parent's column.".into(),
        format!(
            "Change it first: ALTER TABLE {table} ALTER COLUMN {column} TYPE …; a generated column has to be made anew."
        ),
    )
}

/// `0A000`: an identity column in the table.
#[must_use]
pub fn child_identity(table: &str, column: &str) -> Error {
    error(
        Condition::FeatureNotSupported,
        format!("argument \"child\": column {column} of {table} is an identity of its own"),
        "The identity belongs to the parent, whose numbers would meet the table's.".into(),
        format!("Drop it first: ALTER TABLE {table} ALTER COLUMN {column} DROP IDENTITY."),
    )
}

/// `42P17`: a CHECK of the parent's name that says something else.
#[must_use]
pub fn child_check(table: &str, constraint: &str, wanted: &str) -> Error {
    error(
        Condition::InvalidObjectDefinition,
        format!("argument \"child\": constraint {constraint} of {table} differs from the parent's"),
        format!("The parent's is {wanted}."),
        format!("Rename the table's: ALTER TABLE {table} RENAME CONSTRAINT {constraint} TO …."),
    )
}

/// `0A000`: an index whose definition cannot be taken over.
#[must_use]
pub fn unreadable_index(index: &str, parent: &str) -> Error {
    error(
        Condition::FeatureNotSupported,
        format!("index {index} of {parent} cannot be made on a partition"),
        "The server describes it in a form that this version does not know.".into(),
        format!("See it with: SELECT pg_get_indexdef('{}'::regclass).", index.replace('\'', "''")),
    )
}

/// `42809`: the source is no table.
#[must_use]
pub fn source_kind(table: &str, found: &str) -> Error {
    error(
        Condition::WrongObjectType,
        format!("argument \"source\": {table} is no table"),
        format!("It is {found}; rows come from a table, a partitioned table, a foreign table or a materialized view."),
        "Name the table below it, as in: CALL eventkit.backfill('public.events', 'app.events').".into(),
    )
}

/// `22023`: the source is the parent or one of its partitions.
#[must_use]
pub fn source_is_target(table: &str, parent: &str) -> Error {
    error(
        Condition::InvalidParameterValue,
        format!("argument \"source\": {table} is {parent} itself or one of its partitions"),
        "A backfill copies from a table outside of the parent.".into(),
        "Name the old table, as in: CALL eventkit.backfill('public.events', 'app.events').".into(),
    )
}

/// `42501`: the caller may not read the source.
#[must_use]
pub fn source_unreadable(table: &str, caller: &str) -> Error {
    error(
        Condition::InsufficientPrivilege,
        format!("argument \"source\": permission denied for {table}"),
        format!("The current role is {caller}."),
        format!("As its owner: GRANT SELECT ON {table} TO {caller}."),
    )
}

/// `42501`: row-level security hides rows of the source from the caller.
#[must_use]
pub fn source_row_security(table: &str, caller: &str) -> Error {
    error(
        Condition::InsufficientPrivilege,
        format!("argument \"source\": row-level security of {table} applies to {caller}"),
        "Rows that the policies hide would be left out without a word.".into(),
        format!("Call as the owner of {table} or as a role with BYPASSRLS."),
    )
}

/// `42703`: the source lacks the partition key.
#[must_use]
pub fn source_key_missing(table: &str, column: &str, parent: &str) -> Error {
    error(
        Condition::UndefinedColumn,
        format!("argument \"source\": {table} has no column {column}"),
        format!("{parent} is partitioned by {column}; columns are matched by name."),
        format!("Rename the column that holds it: ALTER TABLE {table} RENAME COLUMN … TO {column}."),
    )
}

/// `42703`: a column of the source has no place in the parent.
#[must_use]
pub fn source_column_homeless(table: &str, column: &str, parent: &str) -> Error {
    error(
        Condition::UndefinedColumn,
        format!("argument \"source\": column {column} of {table} is missing in {parent}"),
        "Its values would be lost; columns are matched by name.".into(),
        format!("Add it first: ALTER TABLE {parent} ADD COLUMN {column} …."),
    )
}

/// `42804`: a column's types differ in a way that the session's settings could bend.
#[must_use]
pub fn source_column_type(table: &str, column: &str, found: &str, wanted: &str) -> Error {
    error(
        Condition::DatatypeMismatch,
        format!("argument \"source\": column {column} of {table} is of type {found}, not {wanted}"),
        "The values cannot be converted without the settings of the session or a loss.".into(),
        format!("Convert it first: ALTER TABLE {table} ALTER COLUMN {column} TYPE {wanted} USING …."),
    )
}
