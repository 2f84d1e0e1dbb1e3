//! Converting a table in place: what is read, and the plan as SQL shows it.

use super::plans::plan_rows;
use super::{Micros, catalog, given};
use crate::pg::raise::OrRaise;
use crate::raw::zone::ServerClock;
use eventkit_core::error::Result;
use eventkit_core::partition::bound::Bound;
use eventkit_core::partition::calendar::Calendar;
use eventkit_core::partition::error;
use eventkit_core::partition::key::{Key, KeyUnit};
use eventkit_core::partition::name::literal;
use eventkit_core::partition::plan::convert::{self, Dependents, Told};
use eventkit_core::partition::settings::{self, Rest, Settings};
use eventkit_core::partition::snapshot::Parent;
use eventkit_core::partition::step::Step;
use pgrx::datum::{Interval, TimestampWithTimeZone};
use pgrx::iter::TableIterator;
use pgrx::pg_sys::Oid;
use pgrx::prelude::*;

const DAY: i64 = 86_400_000_000;

/// What hangs on a table that is to be partitioned, or made plain, as the server tells it; the text is also what a change is seen by.
pub fn dependents(table: Oid, key: &str, to_plain: bool) -> Result<(Dependents, String)> {
    let text = catalog::one::<String>(include_str!("dependents.sql"), &[table.into(), key.into(), to_plain.into()])?;
    let text = text.ok_or_else(|| error::no_such_table("table"))?;
    Ok((Dependents::read(&text)?, text))
}

/// The steps of `convert_table`, without doing them.
///
/// Takes what the procedure takes; gives the steps in order, `COMMIT` behind each transaction. Reads the newest row (one probe of an index on the
/// key, or the whole table). Takes no lock but `ACCESS SHARE`. Raises what `convert::convertible` and `settings::steps` raise, `23514` for rows
/// more than ten years ahead.
#[allow(clippy::too_many_arguments, reason = "SQL names them; each has its default there")]
#[pg_extern(sql = r#"
CREATE FUNCTION eventkit.plan_convert_table(
  "table" regclass, key name, period interval DEFAULT '1 day', time_zone text DEFAULT 'UTC', premake int DEFAULT 7,
  retention interval DEFAULT NULL, on_expiry text DEFAULT 'detach', expired_schema text DEFAULT NULL, key_unit text DEFAULT NULL,
  adopt_until timestamptz DEFAULT NULL, extend_keys boolean DEFAULT false)
RETURNS SETOF eventkit.plan_step
STABLE PARALLEL RESTRICTED COST 100000 ROWS 50 LANGUAGE c
SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC' SET DateStyle = 'ISO, YMD' SET jit = off
AS '@MODULE_PATHNAME@', '@FUNCTION_NAME@';
"#, requires = ["partition_plan"])]
fn plan_convert_table(
    table: Option<Oid>,
    key: Option<&core::ffi::CStr>,
    period: Option<Interval>,
    time_zone: Option<String>,
    premake: Option<i32>,
    retention: Option<Interval>,
    on_expiry: Option<String>,
    expired_schema: Option<String>,
    key_unit: Option<String>,
    adopt_until: Option<TimestampWithTimeZone>,
    extend_keys: Option<bool>,
) -> TableIterator<
    'static,
    (
        name!(step, i32),
        name!(statement, Option<String>),
        name!(lock, Option<String>),
        name!(target, String),
        name!(reason, String),
    ),
> {
    let steps = || -> Result<Vec<Step>> {
        let (table, key) = (given(table, "table")?, given(key, "key")?.to_string_lossy().into_owned());
        let period = given(period, "period")?;
        let told = Settings {
            months: period.months(),
            days: period.days(),
            micros: period.micros(),
            time_zone: catalog::zone_name(&given(time_zone, "time_zone")?)?,
        };
        let rest = Rest {
            premake: given(premake, "premake")?,
            retention: retention.map(|r| (r.months(), r.days(), r.micros())),
            on_expiry: given(on_expiry, "on_expiry")?,
            expired_schema,
            archive: None,
        };
        if let Some(schema) = &rest.expired_schema {
            catalog::check_schema(schema)?;
        }
        let unit = key_unit.as_deref().map(KeyUnit::read).transpose()?;
        let mut of = catalog::parent(table)?;
        let (found, seen) = dependents(table, &key, false)?;
        let manage = manage_call(&of, &told, &rest, unit);
        if of.refusal.is_none() && of.key.as_ref().is_some_and(|of_parent| of_parent.column == key) && of.caller_owns {
            return Ok(convert::finish(&of, &found, &manage));
        }
        let key = convert::convertible(&of, &found, &key, unit, given(extend_keys, "extend_keys")?)?;
        let guard = guard(table, &of, &key.column, &seen)?;
        // As the parent that it becomes.
        of.refusal = None;
        of.key = Some(key.clone());
        of.settings = Some(told.clone());
        settings::steps(&of, &told, &rest)?;
        let until = adopt_until.map(|until| until.micros("adopt_until")).transpose()?;
        let bound = Bound { from: i64::MIN, to: end(&of, &key, &told, rest.premake, until)? };
        convert::convert(&of, &found, Told { key: &key, bound, guard: &guard, manage: &manage })
    };
    plan_rows(steps().or_raise())
}

/// The statement that refuses to go on when a table, or what hangs on it, was changed.
pub fn guard(table: Oid, of: &Parent, key: &str, seen: &str) -> Result<String> {
    Ok(format!(
        "SELECT eventkit.expect_unchanged({}::pg_catalog.regclass, {}, {})",
        literal(&of.qualified()),
        literal(key),
        literal(&fingerprint(table, seen)?)
    ))
}

/// The first time behind the adopted partition. Rows from there on are refused while the bound is proved, which may take days: it is the end of
/// the period that lies as many behind the newest row, or behind now if that is later, as are made ahead, and a week at least.
fn end(table: &Parent, key: &Key, told: &Settings, premake: i32, until: Option<i64>) -> Result<i64> {
    let clock = ServerClock::of(&told.time_zone);
    let calendar = Calendar::new(told.length()?, &clock);
    if let Some(until) = until {
        let period = calendar.of_instant(until)?;
        let (from, to) = key.range_of(&period);
        return Ok(if period.from == until { from } else { to });
    }
    let of_key = |time: i64| if key.key_type.is_shown() { calendar.of_shown(time) } else { calendar.of_instant(time) };
    let far = |time: i64| -> Result<i64> {
        let (mut period, mut ahead) = (of_key(time)?, 0);
        while ahead < premake || key.range_of(&period).1 < time.saturating_add(7 * DAY) {
            period = calendar.next(&period)?;
            ahead += 1;
        }
        Ok(key.range_of(&period).1)
    };
    let now = catalog::now()?;
    let now = if key.key_type.is_shown() { calendar.shown_at(now)? } else { now };
    let present = key.range_of(&of_key(now)?).1;
    let last = key.range_of(&calendar.of_instant(catalog::newest_instant()?)?).1;
    let name = table.qualified();
    let beyond = Bound { from: last, to: i64::MAX }.inside(key)?;
    if catalog::one::<i32>(&format!("SELECT 1 FROM {name} WHERE {beyond} LIMIT 1"), &[])?.is_some() {
        return Err(convert::rows_far_ahead(&name, &beyond));
    }
    let column = eventkit_core::partition::name::identifier(&key.column);
    let range = Bound { from: present, to: last }.inside(key)?;
    let newest = format!("SELECT {} FROM {name} WHERE {range} ORDER BY {column} DESC LIMIT 1", key.time_expression()?);
    far(catalog::one::<i64>(&newest, &[])?.unwrap_or(now))
}

fn manage_call(table: &Parent, told: &Settings, rest: &Rest, unit: Option<KeyUnit>) -> String {
    let interval = |(months, days, micros): (i32, i32, i64)| {
        literal(&format!("{months} months {days} days {micros} microseconds"))
    };
    convert::manage_call(
        table,
        &[
            ("period", Some(interval((told.months, told.days, told.micros)))),
            ("time_zone", Some(literal(&told.time_zone))),
            ("premake", Some(rest.premake.to_string())),
            ("retention", rest.retention.map(interval)),
            ("on_expiry", Some(literal(&rest.on_expiry))),
            ("expired_schema", rest.expired_schema.as_deref().map(literal)),
            ("key_unit", unit.map(|unit| literal(unit.name()))),
        ],
    )
}

/// A short text that another state of the table and of what hangs on it has not.
fn fingerprint(table: Oid, seen: &str) -> Result<String> {
    // What the conversion itself changes before the hand-over does not count.
    let text = catalog::one::<String>(
        "SELECT md5(($2::jsonb - '{key,bound_left,taken,partitions}'::text[] - (CASE WHEN $2::jsonb ->> 'partitioned' = 'true' THEN 'refusals' ELSE '' END))::text || \
         (SELECT jsonb_agg(jsonb_build_array(a.attname, a.atttypid, a.atttypmod, \
         a.attcollation, a.attidentity, a.attgenerated, a.attisdropped, pg_get_expr(d.adbin, d.adrelid)) ORDER BY a.attnum) \
         FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum WHERE a.attrelid = $1 AND a.attnum > 0)::text \
         || (SELECT coalesce(string_agg(pg_get_constraintdef(k.oid), ' ' ORDER BY k.conname), '') FROM pg_constraint k \
         WHERE k.conrelid = $1 AND k.contype = 'c' AND NOT eventkit.proves_bound(k.oid)) \
         || (SELECT concat(c.relacl, c.relowner, c.relrowsecurity, c.relforcerowsecurity, c.relreplident) FROM pg_class c WHERE c.oid = $1) \
         || (SELECT coalesce(string_agg(concat(p.polname, p.polcmd, p.polpermissive, p.polroles, p.polqual, p.polwithcheck), ' ' ORDER BY p.polname), '') \
         FROM pg_policy p WHERE p.polrelid = $1))",
        &[table.into(), seen.into()],
    )?;
    Ok(text.unwrap_or_default())
}

/// The fingerprint of a table and of what hangs on it; `plan_convert_table` writes it into its plan.
///
/// Takes the table and the key. Volatile: under the locks it has to see what others have committed since the call began. Raises `42P01` for a
/// table that is gone.
#[pg_extern(sql = r#"
CREATE FUNCTION eventkit.conversion_fingerprint("table" regclass, key name) RETURNS text
VOLATILE PARALLEL UNSAFE COST 10000 LANGUAGE c
SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC' SET DateStyle = 'ISO, YMD' SET jit = off
AS '@MODULE_PATHNAME@', '@FUNCTION_NAME@';
"#)]
fn conversion_fingerprint(table: Option<Oid>, key: Option<&core::ffi::CStr>) -> Option<String> {
    let text = || -> Result<String> {
        let (table, key) = (given(table, "table")?, given(key, "key")?.to_string_lossy().into_owned());
        fingerprint(table, &dependents(table, &key, false)?.1)
    };
    Some(text().or_raise())
}
