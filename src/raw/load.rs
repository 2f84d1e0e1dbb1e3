//! Loads the rows of a query into a plain table many at a time, as COPY does: a page is locked, and written to the log, once for
//! all the rows that it gets, and no executor node stands between.

use std::ffi::{CStr, CString};
use std::ptr::null_mut;

use eventkit_core::error::{Condition, Error, Result};
use eventkit_core::partition::name::identifier;
use pgrx::pg_sys::ffi::pg_guard_ffi_boundary;
use pgrx::pg_sys::{self, DestReceiver, TupleTableSlot};
use pgrx::{PgMemoryContexts, PgTupleDesc, pg_guard};

use super::server::{in_recovery, is_read_only};

/// Rows held before they are written, and their size; the numbers of COPY.
const MOST_ROWS: usize = 1000;
const MOST_BYTES: usize = 65_536;

/// What receives the rows of the query. The server knows it by its first field.
#[repr(C)]
struct Loader {
    receiver: DestReceiver,
    relation: pg_sys::Relation,
    state: *mut pg_sys::EState,
    context: *mut pg_sys::ExprContext,
    result: pg_sys::ResultRelInfo,
    bulk: pg_sys::BulkInsertState,
    command: pg_sys::CommandId,
    /// Those of the access method: in a table that is new no page has room that it does not know.
    options: i32,
    /// Whether rows have anything to prove.
    constrained: bool,
    /// Where the slots live, longer than the query does.
    memory: pg_sys::MemoryContext,
    slots: Vec<*mut TupleTableSlot>,
    held: usize,
    bytes: usize,
}

/// Loads what the query gives into the columns of the table, as `INSERT INTO target (columns) query` does; gives the number of
/// rows, none when there is no such table. That statement itself is run unless all of this holds: the table is an ordinary one
/// without indexes, triggers, rules, row security for the caller, generated or dropped columns, no partition; the caller may insert
/// into it and read it; the columns are all of its columns in their order, the query gives just their types; nothing in the query
/// or in a CHECK is volatile, for it could ask for rows that are held and not there yet.
///
/// Linear in rows; holds up to 1,000 of them or 64 kB. Locks the table as INSERT does. Raises `22023` for a query that is not
/// one SELECT, else what that statement raises.
pub fn load(target: pg_sys::Oid, columns: &[String], query: &str) -> Result<Option<u64>> {
    // SAFETY: what is opened, connected and made here is given back below, or by the server's rollback after an error.
    unsafe {
        let relation = pg_sys::try_table_open(target, pg_sys::RowExclusiveLock.cast_signed());
        if relation.is_null() {
            return Ok(None);
        }
        pg_sys::SPI_connect();
        let select = select(query)?;
        let rows = if is_plain(relation) && fits(relation, columns, &select) {
            let rows = load_into(relation, select);
            pg_sys::table_close(relation, pg_sys::NoLock.cast_signed());
            rows
        } else {
            let names: Vec<String> = columns.iter().map(|column| identifier(column)).collect();
            let insert = format!("INSERT INTO {} ({}) {query}", name_of(relation), names.join(", "));
            // The server refuses some statements on a table that somebody else has open.
            pg_sys::table_close(relation, pg_sys::NoLock.cast_signed());
            let insert = CString::new(insert).map_err(|_| not_a_select())?;
            if pg_sys::SPI_execute(insert.as_ptr(), false, 0) < 0 {
                return Err(not_a_select());
            }
            pg_sys::SPI_processed
        };
        pg_sys::SPI_finish();
        Ok(Some(rows))
    }
}

fn not_a_select() -> Error {
    Error::new(Condition::InvalidParameterValue, "argument \"query\" must be one SELECT")
        .detail("It is run once, and its rows are copied.")
        .hint("Give it as for a view: 'SELECT id, at FROM public.events'.")
}

/// The qualified name of an open relation.
///
/// # Safety
/// The relation is open and locked.
unsafe fn name_of(relation: pg_sys::Relation) -> String {
    // SAFETY: the server gives zero-terminated names.
    unsafe {
        let class = &*(*relation).rd_rel;
        let schema = pg_sys::get_namespace_name(class.relnamespace);
        let name = pg_sys::quote_qualified_identifier(schema, class.relname.data.as_ptr());
        CStr::from_ptr(name).to_string_lossy().into_owned()
    }
}

/// A query with its plan, and what it gives.
struct Select {
    plan: pg_sys::SPIPlanPtr,
    query: *mut pg_sys::Query,
    rows: pg_sys::TupleDesc,
}

/// Prepares a query, which has to be one SELECT that changes nothing by itself.
///
/// # Safety
/// SPI is connected; what is given lives until it is finished.
unsafe fn select(query: &str) -> Result<Select> {
    let query = CString::new(query).map_err(|_| not_a_select())?;
    // SAFETY: the fields of a plan that SPI keeps until it is finished; a list of one has a first element.
    unsafe {
        let plan = pg_sys::SPI_prepare(query.as_ptr(), 0, null_mut());
        let sources = if plan.is_null() { null_mut() } else { pg_sys::SPI_plan_get_plan_sources(plan) };
        if sources.is_null() || (*sources).length != 1 {
            return Err(not_a_select());
        }
        let source = (*(*sources).elements).ptr_value.cast::<pg_sys::CachedPlanSource>();
        let queries = (*source).query_list;
        if (*source).resultDesc.is_null() || queries.is_null() || (*queries).length != 1 {
            return Err(not_a_select());
        }
        let query = (*(*queries).elements).ptr_value.cast::<pg_sys::Query>();
        if (*query).commandType != pg_sys::CmdType::CMD_SELECT || (*query).hasModifyingCTE {
            return Err(not_a_select());
        }
        Ok(Select { plan, query, rows: (*source).resultDesc })
    }
}

/// Whether the table can take the rows of a query as they are, while it does not hold those before them.
///
/// # Safety
/// The relation is open and locked; SPI is connected.
unsafe fn fits(relation: pg_sys::Relation, columns: &[String], select: &Select) -> bool {
    // SAFETY: the fields of an open relation, and those of a plan that SPI keeps.
    unsafe {
        let given = PgTupleDesc::from_pg_copy(select.rows);
        let taken = PgTupleDesc::from_pg_copy((*relation).rd_att);
        given.len() == taken.len()
            && columns.len() == taken.len()
            && taken.iter().zip(given.iter()).zip(columns).all(|((column, value), name)| {
                // A column that old rows have by default is read so from a row that is too short as well. One that is
                // always generated takes no value.
                !(column.attisdropped || column.atthasmissing || column.attidentity.cast_unsigned() == b'a')
                    && CStr::from_ptr(column.attname.data.as_ptr()).to_bytes() == name.as_bytes()
                    && column.atttypid == value.atttypid
                    && (column.atttypmod == -1 || column.atttypmod == value.atttypmod)
            })
            && !pg_sys::contain_volatile_functions(select.query.cast())
    }
}

/// Whether nothing but the rows' own constraints has to be looked at when rows come into a table.
///
/// # Safety
/// The relation is open and locked.
unsafe fn is_plain(relation: pg_sys::Relation) -> bool {
    // SAFETY: the fields of an open relation.
    unsafe {
        let (class, constraints) = (&*(*relation).rd_rel, (*(*relation).rd_att).constr.as_ref());
        class.relkind.cast_unsigned() == pg_sys::RELKIND_RELATION
            && !(class.relhasindex || class.relhastriggers || class.relhasrules || class.relispartition)
            && constraints.is_none_or(|constraints| looks_at_its_row_alone(constraints))
            && may_insert(relation)
            && !is_read_only()
            && !in_recovery()
    }
}

/// Whether no constraint of a row can see another row, and no column is computed.
///
/// # Safety
/// The constraints are those of an open relation.
unsafe fn looks_at_its_row_alone(constraints: &pg_sys::TupleConstr) -> bool {
    #[cfg(feature = "pg18")]
    let generated = constraints.has_generated_stored || constraints.has_generated_virtual;
    #[cfg(not(feature = "pg18"))]
    let generated = constraints.has_generated_stored;
    let is_volatile = |at: usize| {
        // SAFETY: there are as many as the server says, each with its expression as text.
        unsafe {
            let expression = pg_sys::stringToNode((*constraints.check.add(at)).ccbin);
            pg_sys::contain_volatile_functions(expression.cast())
        }
    };
    !generated && !(0..usize::from(constraints.num_check)).any(is_volatile)
}

/// Whether the caller may insert into a table and read it, with nobody else to be asked: INSERT itself says why not, and shows
/// the row that breaks a constraint only to him who may read it.
///
/// # Safety
/// The relation is open and locked.
unsafe fn may_insert(relation: pg_sys::Relation) -> bool {
    // SAFETY: reads the catalog and a variable of this backend.
    unsafe {
        let (id, user) = ((*relation).rd_id, pg_sys::GetUserId());
        let schema = (*(*relation).rd_rel).relnamespace;
        let ok = pg_sys::AclResult::ACLCHECK_OK;
        let usage = pg_sys::AclMode::from(pg_sys::ACL_USAGE);
        #[cfg(feature = "pg15")]
        let schema_ok = pg_sys::pg_namespace_aclcheck(schema, user, usage) == ok;
        #[cfg(not(feature = "pg15"))]
        let schema_ok = pg_sys::object_aclcheck(pg_sys::NamespaceRelationId, schema, user, usage) == ok;
        let may = |right: u32| pg_sys::pg_class_aclcheck(id, user, pg_sys::AclMode::from(right)) == ok;
        let secured = pg_sys::CheckEnableRlsResult::RLS_ENABLED.cast_signed();
        schema_ok
            && may(pg_sys::ACL_INSERT)
            && may(pg_sys::ACL_SELECT)
            && pg_sys::check_enable_rls(id, pg_sys::InvalidOid, true) != secured
            && (&raw const pg_sys::ExecutorCheckPerms_hook).read().is_none()
    }
}

/// Runs the plan and loads its rows.
///
/// # Safety
/// The relation is open and locked, is plain and has the columns that the plan gives; SPI is connected.
unsafe fn load_into(relation: pg_sys::Relation, select: Select) -> u64 {
    // SAFETY: the loader lives until the plan has run; the server calls it by the pointers that it is given here.
    unsafe {
        let state = pg_sys::CreateExecutorState();
        let constraints = (*(*relation).rd_att).constr;
        let mut loader = Loader {
            receiver: DestReceiver {
                receiveSlot: Some(receive),
                rStartup: Some(start),
                rShutdown: Some(end),
                rDestroy: Some(nothing_to_do),
                mydest: pg_sys::CommandDest::DestNone,
            },
            relation,
            state,
            context: pg_sys::MakePerTupleExprContext(state),
            result: pg_sys::ResultRelInfo::default(),
            bulk: pg_sys::GetBulkInsertState(),
            command: 0,
            options: if (*relation).rd_createSubid == 0 { 0 } else { pg_sys::TABLE_INSERT_SKIP_FSM.cast_signed() },
            constrained: constraints.as_ref().is_some_and(|c| c.has_not_null || c.num_check > 0),
            memory: PgMemoryContexts::CurrentMemoryContext.value(),
            slots: Vec::new(),
            held: 0,
            bytes: 0,
        };
        pg_sys::InitResultRelInfo(&raw mut loader.result, relation, 0, null_mut(), 0);
        let options = pg_sys::SPIExecuteOptions {
            dest: (&raw mut loader).cast::<DestReceiver>(),
            ..pg_sys::SPIExecuteOptions::default()
        };
        pg_sys::SPI_execute_plan_extended(select.plan, &raw const options);
        let rows = pg_sys::SPI_processed;
        pg_sys::FreeBulkInsertState(loader.bulk);
        if let Some(finish) = (*(*relation).rd_tableam).finish_bulk_insert {
            pg_guard_ffi_boundary(|| finish(relation, loader.options));
        }
        for slot in &loader.slots {
            pg_sys::ExecDropSingleTupleTableSlot(*slot);
        }
        pg_sys::FreeExecutorState(state);
        rows
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn start(receiver: *mut DestReceiver, _operation: i32, _types: pg_sys::TupleDesc) {
    // SAFETY: the server gives back the pointer that it was given; it is that of a loader. Rows are written by the command
    // whose snapshot reads: it sees none of them.
    unsafe { (*receiver.cast::<Loader>()).command = pg_sys::GetCurrentCommandId(true) }
}

#[pg_guard]
unsafe extern "C-unwind" fn end(receiver: *mut DestReceiver) {
    // SAFETY: as in `start`; the query's snapshot is still there, which what the rows refer to is kept for.
    unsafe { write(&mut *receiver.cast::<Loader>()) }
}

#[pg_guard]
unsafe extern "C-unwind" fn nothing_to_do(_receiver: *mut DestReceiver) {}

#[pg_guard]
unsafe extern "C-unwind" fn receive(row: *mut TupleTableSlot, receiver: *mut DestReceiver) -> bool {
    // SAFETY: as in `start`; a slot of the table copies the row and has it in memory of its own from then on.
    unsafe {
        let loader = &mut *receiver.cast::<Loader>();
        let slot = match loader.slots.get(loader.held) {
            Some(slot) => *slot,
            None => {
                let relation = loader.relation;
                let slot =
                    PgMemoryContexts::For(loader.memory).switch_to(|_| pg_sys::table_slot_create(relation, null_mut()));
                loader.slots.push(slot);
                slot
            }
        };
        let kind = (*slot).tts_ops;
        if let (Some(copy), Some(keep)) = ((*kind).copyslot, (*kind).materialize) {
            pg_guard_ffi_boundary(|| {
                copy(slot, row);
                keep(slot);
            });
        }
        if loader.constrained {
            (*slot).tts_tableOid = (*loader.relation).rd_id;
            pg_sys::ExecConstraints(&raw mut loader.result, slot, loader.state);
            pg_sys::MemoryContextReset((*loader.context).ecxt_per_tuple_memory);
        }
        loader.held += 1;
        loader.bytes += size_of_tuple(slot);
        if loader.held >= MOST_ROWS || loader.bytes >= MOST_BYTES {
            write(loader);
        }
    }
    true
}

/// The bytes of a row in a slot that holds it.
///
/// # Safety
/// The slot is that of an ordinary table and holds a row of its own.
unsafe fn size_of_tuple(slot: *mut TupleTableSlot) -> usize {
    // SAFETY: as the caller says; a slot of another table access method counts as a page.
    unsafe {
        if (*slot).tts_ops == &raw const pg_sys::TTSOpsBufferHeapTuple {
            let tuple = (*slot.cast::<pg_sys::HeapTupleTableSlot>()).tuple;
            return (*tuple).t_len as usize;
        }
        8192
    }
}

/// Writes the rows that are held.
///
/// # Safety
/// The loader is that of a relation that is open and locked.
unsafe fn write(loader: &mut Loader) {
    // SAFETY: the slots hold a row each; what the server leaves in memory is freed with that of the rows.
    unsafe {
        let held = std::mem::take(&mut loader.held);
        loader.bytes = 0;
        let (relation, command, bulk) = (loader.relation, loader.command, loader.bulk);
        let slots = &mut loader.slots[..held];
        let count = i32::try_from(held).unwrap_or(i32::MAX);
        let memory = (*loader.context).ecxt_per_tuple_memory;
        if let Some(insert) = (*(*relation).rd_tableam).multi_insert.filter(|_| held > 0) {
            let (slots, options) = (slots.as_mut_ptr(), loader.options);
            PgMemoryContexts::For(memory).switch_to(|_| {
                pg_guard_ffi_boundary(|| insert(relation, slots, count, command, options, bulk));
            });
        }
        for slot in slots {
            if let Some(clear) = (*(**slot).tts_ops).clear {
                pg_guard_ffi_boundary(|| clear(*slot));
            }
        }
        pg_sys::MemoryContextReset(memory);
    }
}
