//! Loads the rows of a query into a plain table many at a time, as COPY does: a page is locked, and written to the log, once for
//! all the rows that it gets, and no executor node stands between.

use std::ptr::null_mut;

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
    /// Whether rows have anything to prove.
    constrained: bool,
    /// Where the slots live, longer than the query does.
    memory: pg_sys::MemoryContext,
    slots: Vec<*mut TupleTableSlot>,
    held: usize,
    bytes: usize,
}

/// Loads what the query gives into the columns of the table, as `INSERT INTO target (columns) query` does; gives the number of
/// rows. A table of whatever kind takes them by that statement itself unless all of this holds: it is an ordinary one without
/// indexes, triggers, rules, row security for the caller, generated or dropped columns, no partition; the caller may insert into
/// it; the columns are all of its columns in their order, the query gives just their types.
///
/// Linear in rows; holds up to 1,000 of them or 64 kB. Locks the table as INSERT does. Raises what that statement raises.
pub fn load(target: pg_sys::Oid, insert: &std::ffi::CStr, columns: &[String], query: &std::ffi::CStr) -> u64 {
    // SAFETY: what is opened, connected and made here is given back below, or by the server's rollback after an error.
    unsafe {
        let lock = pg_sys::RowExclusiveLock.cast_signed();
        let relation = pg_sys::table_open(target, lock);
        pg_sys::SPI_connect();
        let rows = match plan_of(relation, columns, query) {
            Some(plan) => load_into(relation, plan),
            None => {
                pg_sys::SPI_execute(insert.as_ptr(), false, 0);
                pg_sys::SPI_processed
            }
        };
        pg_sys::SPI_finish();
        pg_sys::table_close(relation, pg_sys::NoLock.cast_signed());
        rows
    }
}

/// The plan of a query whose rows the table can take as they are.
///
/// # Safety
/// The relation is open and locked; SPI is connected.
unsafe fn plan_of(
    relation: pg_sys::Relation,
    columns: &[String],
    query: &std::ffi::CStr,
) -> Option<pg_sys::SPIPlanPtr> {
    // SAFETY: the fields of an open relation and of a plan that SPI keeps until it is finished.
    unsafe {
        if !is_plain(relation) {
            return None;
        }
        let plan = pg_sys::SPI_prepare(query.as_ptr(), 0, null_mut());
        let sources = pg_sys::SPI_plan_get_plan_sources(plan);
        if sources.is_null() || (*sources).length != 1 {
            return None;
        }
        let source = (*(*sources).elements).ptr_value.cast::<pg_sys::CachedPlanSource>();
        if (*source).resultDesc.is_null() {
            return None;
        }
        let given = PgTupleDesc::from_pg_copy((*source).resultDesc);
        let taken = PgTupleDesc::from_pg_copy((*relation).rd_att);
        let fits = given.len() == taken.len()
            && columns.len() == taken.len()
            && taken.iter().zip(given.iter()).zip(columns).all(|((column, value), name)| {
                !column.attisdropped
                    && column.name() == name
                    && column.atttypid == value.atttypid
                    && (column.atttypmod == -1 || column.atttypmod == value.atttypmod)
            });
        fits.then_some(plan)
    }
}

/// Whether nothing but the rows' own constraints has to be looked at when rows come into a table.
///
/// # Safety
/// The relation is open and locked.
unsafe fn is_plain(relation: pg_sys::Relation) -> bool {
    // SAFETY: the fields of an open relation.
    unsafe {
        let (class, constraints) = (&*(*relation).rd_rel, (*(*relation).rd_att).constr);
        #[cfg(feature = "pg15")]
        let generated = |c: &pg_sys::TupleConstr| c.has_generated_stored;
        #[cfg(not(feature = "pg15"))]
        let generated = |c: &pg_sys::TupleConstr| c.has_generated_stored || c.has_generated_virtual;
        let (id, user) = ((*relation).rd_id, pg_sys::GetUserId());
        let insert = pg_sys::AclMode::from(pg_sys::ACL_INSERT);
        class.relkind.cast_unsigned() == pg_sys::RELKIND_RELATION
            && !(class.relhasindex || class.relhastriggers || class.relhasrules || class.relispartition)
            && !constraints.as_ref().is_some_and(generated)
            && pg_sys::pg_class_aclcheck(id, user, insert) == pg_sys::AclResult::ACLCHECK_OK
            && pg_sys::check_enable_rls(id, pg_sys::InvalidOid, true)
                != pg_sys::CheckEnableRlsResult::RLS_ENABLED.cast_signed()
            && !is_read_only()
            && !in_recovery()
    }
}

/// Runs the plan and loads its rows.
///
/// # Safety
/// The relation is open and locked, is plain and has the columns that the plan gives; SPI is connected.
unsafe fn load_into(relation: pg_sys::Relation, plan: pg_sys::SPIPlanPtr) -> u64 {
    // SAFETY: the loader lives until the plan has run; the server calls it by the pointers that it is given here.
    unsafe {
        let state = pg_sys::CreateExecutorState();
        let constraints = (*(*relation).rd_att).constr;
        let mut loader = Loader {
            receiver: DestReceiver {
                receiveSlot: Some(receive),
                rStartup: Some(start),
                rShutdown: Some(nothing_to_do),
                rDestroy: Some(nothing_to_do),
                mydest: pg_sys::CommandDest::DestNone,
            },
            relation,
            state,
            context: pg_sys::MakePerTupleExprContext(state),
            result: pg_sys::ResultRelInfo::default(),
            bulk: pg_sys::GetBulkInsertState(),
            command: 0,
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
        pg_sys::SPI_execute_plan_extended(plan, &raw const options);
        let rows = pg_sys::SPI_processed;
        write(&mut loader);
        pg_sys::FreeBulkInsertState(loader.bulk);
        if let Some(finish) = (*(*relation).rd_tableam).finish_bulk_insert {
            pg_guard_ffi_boundary(|| finish(relation, pg_sys::TABLE_INSERT_SKIP_FSM.cast_signed()));
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
            pg_sys::ExecConstraints(&raw mut loader.result, slot, loader.state);
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
            let (slots, options) = (slots.as_mut_ptr(), pg_sys::TABLE_INSERT_SKIP_FSM.cast_signed());
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
