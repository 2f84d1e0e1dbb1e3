//! A background worker that detaches one partition `CONCURRENTLY`: a statement that the server refuses inside of a function
//! or a transaction block. It runs as the role that asks, in the same database, and needs no preloaded library.

use eventkit_core::partition::name::qualified;
use pgrx::pg_sys::{self, Oid};
use std::ffi::{CStr, CString, c_char};

/// What the worker is told, as bytes of `bgw_extra`.
#[derive(Clone, Copy)]
#[repr(C)]
struct Order {
    database: Oid,
    session_role: Oid,
    role: Oid,
    parent: Oid,
    partition: Oid,
    lock_timeout: i32,
}

const _: () = assert!(size_of::<Order>() <= pg_sys::BGW_EXTRALEN as usize);

/// Ends the worker when the caller does not wait for it any more, as when his statement is cancelled.
struct Waited(*mut pg_sys::BackgroundWorkerHandle);

impl Drop for Waited {
    fn drop(&mut self) {
        // SAFETY: the handle is of a worker registered by this backend; for one that has ended this does nothing.
        unsafe { pg_sys::TerminateBackgroundWorker(self.0) }
    }
}

/// Starts the worker and waits for its end; false when the server has no place for one more. Whether the detach
/// succeeded is for the catalog to say. The caller must hold no lock on the parent: the worker would wait for him.
pub fn detach_concurrently(parent: Oid, partition: Oid, lock_timeout: i32) -> bool {
    // SAFETY: the worker's description is plain memory; names are copied with their end inside of the arrays, the order fits
    // (see above). The handle is the server's, valid until this backend ends.
    unsafe {
        let order = Order {
            database: pg_sys::MyDatabaseId,
            session_role: pg_sys::GetSessionUserId(),
            role: pg_sys::GetUserId(),
            parent,
            partition,
            lock_timeout,
        };
        let mut worker = pg_sys::BackgroundWorker {
            bgw_flags: (pg_sys::BGWORKER_SHMEM_ACCESS | pg_sys::BGWORKER_BACKEND_DATABASE_CONNECTION) as i32,
            bgw_start_time: pg_sys::BgWorkerStartTime::BgWorkerStart_RecoveryFinished,
            bgw_restart_time: pg_sys::BGW_NEVER_RESTART,
            bgw_notify_pid: pg_sys::MyProcPid,
            ..Default::default()
        };
        write(&mut worker.bgw_name, c"pg_eventkit: detach partition");
        write(&mut worker.bgw_type, c"pg_eventkit");
        write(&mut worker.bgw_library_name, c"pg_eventkit");
        write(&mut worker.bgw_function_name, c"eventkit_detach_worker");
        worker.bgw_extra.as_mut_ptr().cast::<Order>().write_unaligned(order);
        let mut handle = std::ptr::null_mut();
        if !pg_sys::RegisterDynamicBackgroundWorker(&mut worker, &mut handle) {
            return false;
        }
        let waited = Waited(handle);
        // Interrupts are served here; an error unwinds and drops the guard.
        pg_sys::WaitForBackgroundWorkerShutdown(waited.0);
        true
    }
}

fn write<const N: usize>(field: &mut [c_char; N], text: &CStr) {
    for (to, from) in field.iter_mut().take(N - 1).zip(text.to_bytes()) {
        *to = *from as c_char;
    }
}

/// The worker's main function: an error ends it and goes to the server's log.
#[pgrx::pg_guard]
#[unsafe(no_mangle)]
pub extern "C-unwind" fn eventkit_detach_worker(_argument: pg_sys::Datum) {
    // SAFETY: the server calls this once in a process of its own, whose entry holds what the asking backend wrote.
    // The calls are those of any worker that executes a statement: connect, one transaction that reads names, one portal.
    unsafe {
        let order = (*pg_sys::MyBgworkerEntry).bgw_extra.as_ptr().cast::<Order>().read_unaligned();
        #[cfg(feature = "pg15")]
        pg_sys::pqsignal(SIGTERM, Some(stop));
        #[cfg(not(feature = "pg15"))]
        pg_sys::pqsignal_be(SIGTERM, Some(stop));
        pg_sys::BackgroundWorkerUnblockSignals();
        pg_sys::BackgroundWorkerInitializeConnectionByOid(order.database, order.session_role, 0);
        // What the asking role may not do, the session's may not do for it.
        pg_sys::SetUserIdAndSecContext(order.role, 0);
        for (name, value) in
            [(c"lock_timeout", order.lock_timeout.to_string()), (c"search_path", "pg_catalog, pg_temp".into())]
        {
            let Ok(value) = CString::new(value) else { return };
            let (context, source) = (pg_sys::GucContext::PGC_USERSET, pg_sys::GucSource::PGC_S_SESSION);
            pg_sys::SetConfigOption(name.as_ptr(), value.as_ptr(), context, source);
        }
        let statement = pgrx::bgworkers::BackgroundWorker::transaction(|| statement(order));
        if let Some(statement) = statement {
            pg_sys::pgstat_report_activity(pg_sys::BackendState::STATE_RUNNING, statement.as_ptr());
            execute(&statement);
        }
    }
}

const SIGTERM: i32 = 15;

#[pgrx::pg_guard]
unsafe extern "C-unwind" fn stop(signal: i32) {
    // SAFETY: the server's own handler of this signal; it sets flags that the next check for interrupts reads.
    unsafe { pg_sys::die(signal) }
}

/// The statement; `None` when one of the tables is gone.
///
/// # Safety
/// Inside of a transaction.
unsafe fn statement(order: Order) -> Option<CString> {
    let name = |table: Oid| -> Option<String> {
        // SAFETY: reads of the catalog's cache; the texts live until the transaction ends, and are copied.
        unsafe {
            let name = pg_sys::get_rel_name(table);
            let schema = pg_sys::get_namespace_name(pg_sys::get_rel_namespace(table));
            if name.is_null() || schema.is_null() {
                return None;
            }
            Some(qualified(CStr::from_ptr(schema).to_str().ok()?, CStr::from_ptr(name).to_str().ok()?))
        }
    };
    let (parent, partition) = (name(order.parent)?, name(order.partition)?);
    CString::new(format!("ALTER TABLE {parent} DETACH PARTITION {partition} CONCURRENTLY")).ok()
}

/// Executes one statement at the top level, as a client's would be.
///
/// # Safety
/// Outside of a transaction, in a process that is connected to a database.
unsafe fn execute(statement: &CStr) {
    // SAFETY: the sequence of calls by which the server executes a client's simple statement. What is parsed and planned
    // lives in a context of its own, which outlasts the transactions that the statement ends.
    unsafe {
        pg_sys::SetCurrentStatementStartTimestamp();
        pg_sys::debug_query_string = statement.as_ptr();
        pg_sys::StartTransactionCommand();
        let context = pg_sys::AllocSetContextCreateInternal(
            pg_sys::TopMemoryContext,
            c"pg_eventkit worker".as_ptr(),
            pg_sys::ALLOCSET_DEFAULT_MINSIZE as usize,
            pg_sys::ALLOCSET_DEFAULT_INITSIZE as usize,
            pg_sys::ALLOCSET_DEFAULT_MAXSIZE as usize,
        );
        let before = pg_sys::MemoryContextSwitchTo(context);
        let parsed = pg_sys::pg_parse_query(statement.as_ptr());
        let first = (*(*parsed).elements).ptr_value.cast::<pg_sys::RawStmt>();
        let tag = pg_sys::CreateCommandTag((*first).stmt);
        let (none, no_environment) = (std::ptr::null(), std::ptr::null_mut());
        let rewritten = pg_sys::pg_analyze_and_rewrite_fixedparams(first, statement.as_ptr(), none, 0, no_environment);
        let planned = pg_sys::pg_plan_queries(rewritten, statement.as_ptr(), 0, std::ptr::null_mut());
        let portal = pg_sys::CreatePortal(c"".as_ptr(), true, true);
        (*portal).visible = false;
        pg_sys::PortalDefineQuery(portal, std::ptr::null(), statement.as_ptr(), tag, planned, std::ptr::null_mut());
        pg_sys::PortalStart(portal, std::ptr::null_mut(), 0, std::ptr::null_mut());
        pg_sys::MemoryContextSwitchTo(before);
        let to_nobody = pg_sys::CreateDestReceiver(pg_sys::CommandDest::DestNone);
        let (all, completion) = (std::ffi::c_long::MAX, std::ptr::null_mut());
        #[cfg(feature = "pg15")]
        pg_sys::PortalRun(portal, all, true, true, to_nobody, to_nobody, completion);
        #[cfg(not(feature = "pg15"))]
        pg_sys::PortalRun(portal, all, true, to_nobody, to_nobody, completion);
        pg_sys::PortalDrop(portal, false);
        pg_sys::CommitTransactionCommand();
        pg_sys::debug_query_string = std::ptr::null();
    }
}
