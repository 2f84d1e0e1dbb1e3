//! Background workers that execute one statement each at the top level, where the server allows what it refuses inside of a function:
//! COMMIT, `DETACH PARTITION … CONCURRENTLY`. They run as the role that asks, in the same database, and need no preloaded library.

use pgrx::pg_sys::{self, Oid};
use std::cell::{Cell, RefCell};
use std::ffi::{CStr, CString, c_char, c_void};
use std::mem::ManuallyDrop;

/// What a worker is told, as bytes of `bgw_extra`; the statement and the settings lie in a segment of shared memory.
#[derive(Clone, Copy)]
#[repr(C)]
struct Order {
    database: Oid,
    session_role: Oid,
    role: Oid,
    security: i32,
    superuser: bool,
    segment: u32,
    length: usize,
}

const _: () = assert!(size_of::<Order>() <= pg_sys::BGW_EXTRALEN as usize);

/// Workers that execute a statement. Dropped while they run, they are ended: nobody waits for them any more.
pub struct Workers {
    handles: Vec<*mut pg_sys::BackgroundWorkerHandle>,
    segment: *mut pg_sys::dsm_segment,
}

impl Workers {
    /// Starts up to `count` workers with settings of the session (names, values) and one statement each, the same for all. There are fewer when
    /// the server has no place for more. The caller must hold no lock that they wait for.
    pub fn start(count: usize, settings: &[(String, String)], statement: &str) -> Self {
        let mut workers = Self { handles: Vec::new(), segment: std::ptr::null_mut() };
        // No text of the server's holds a NUL.
        let mut text = statement.as_bytes().to_vec();
        for part in settings.iter().flat_map(|(name, value)| [name, value]) {
            text.push(0);
            text.extend_from_slice(part.as_bytes());
        }
        // SAFETY: the segment has room for the text and stays until it is detached, whatever transaction ends. The workers' description is plain
        // memory; names are copied with their end inside of the arrays, the order fits (see above). A handle lives in a context that is never reset.
        unsafe {
            workers.segment = pg_sys::dsm_create(text.len(), pg_sys::DSM_CREATE_NULL_IF_MAXSEGMENTS as i32);
            if workers.segment.is_null() {
                return workers;
            }
            pg_sys::dsm_pin_mapping(workers.segment);
            let memory = pg_sys::dsm_segment_address(workers.segment).cast::<u8>();
            memory.copy_from_nonoverlapping(text.as_ptr(), text.len());
            let (mut role, mut security) = (pg_sys::InvalidOid, 0);
            pg_sys::GetUserIdAndSecContext(&mut role, &mut security);
            let order = Order {
                database: pg_sys::MyDatabaseId,
                session_role: pg_sys::GetSessionUserId(),
                role,
                // What the asking role may not do, the session's may not do for it.
                security: security | pg_sys::SECURITY_LOCAL_USERID_CHANGE as i32,
                superuser: pg_sys::superuser(),
                segment: pg_sys::dsm_segment_handle(workers.segment),
                length: text.len(),
            };
            let mut worker = pg_sys::BackgroundWorker {
                bgw_flags: (pg_sys::BGWORKER_SHMEM_ACCESS | pg_sys::BGWORKER_BACKEND_DATABASE_CONNECTION) as i32,
                bgw_start_time: pg_sys::BgWorkerStartTime::BgWorkerStart_RecoveryFinished,
                bgw_restart_time: pg_sys::BGW_NEVER_RESTART,
                bgw_notify_pid: pg_sys::MyProcPid,
                ..Default::default()
            };
            write(&mut worker.bgw_name, c"pg_eventkit");
            write(&mut worker.bgw_type, c"pg_eventkit");
            write(&mut worker.bgw_library_name, c"pg_eventkit");
            write(&mut worker.bgw_function_name, c"eventkit_worker");
            worker.bgw_extra.as_mut_ptr().cast::<Order>().write_unaligned(order);
            let before = pg_sys::MemoryContextSwitchTo(pg_sys::TopMemoryContext);
            while workers.handles.len() < count {
                let mut handle = std::ptr::null_mut();
                if !pg_sys::RegisterDynamicBackgroundWorker(&mut worker, &mut handle) {
                    break;
                }
                workers.handles.push(handle);
            }
            pg_sys::MemoryContextSwitchTo(before);
        }
        workers
    }

    pub fn count(&self) -> usize {
        self.handles.len()
    }

    /// Waits until all have ended; whether they succeeded is for the catalog to say. A cancel ends them.
    pub fn wait(self) {
        for handle in &self.handles {
            // SAFETY: the handle is of a worker registered by this backend. Interrupts are served here; an error unwinds and drops the workers.
            unsafe { pg_sys::WaitForBackgroundWorkerShutdown(*handle) };
        }
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        // SAFETY: handles and segment are of this backend, and are given back once. To end a worker that has ended does nothing.
        unsafe {
            for handle in self.handles.drain(..) {
                pg_sys::TerminateBackgroundWorker(handle);
                pg_sys::pfree(handle.cast());
            }
            if !self.segment.is_null() {
                pg_sys::dsm_detach(self.segment);
            }
        }
    }
}

thread_local! {
    /// The workers that go on through the COMMITs of a procedure. Not dropped when the process exits: the server's memory is gone by then.
    static KEPT: RefCell<ManuallyDrop<Option<Workers>>> = const { RefCell::new(ManuallyDrop::new(None)) };
    static REGISTERED: Cell<bool> = const { Cell::new(false) };
}

/// Keeps workers while the procedure goes on that has started them; an error or a cancel, wherever it finds the procedure, ends them.
pub fn keep(workers: Workers) {
    if !REGISTERED.replace(true) {
        // SAFETY: the callback is a function of this library, which the server never unloads.
        unsafe { pg_sys::RegisterXactCallback(Some(end_kept), std::ptr::null_mut()) }
    }
    drop(KEPT.with_borrow_mut(|kept| kept.replace(workers)));
}

/// Waits for the workers that are kept, if there are any.
pub fn wait_for_kept() {
    if let Some(workers) = taken() {
        workers.wait();
    }
}

fn taken() -> Option<Workers> {
    KEPT.with_borrow_mut(|kept| kept.take())
}

#[pgrx::pg_guard]
unsafe extern "C-unwind" fn end_kept(event: pg_sys::XactEvent::Type, _nothing: *mut c_void) {
    if event == pg_sys::XactEvent::XACT_EVENT_ABORT {
        drop(taken());
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
pub extern "C-unwind" fn eventkit_worker(_argument: pg_sys::Datum) {
    // SAFETY: the server calls this once in a process of its own, whose entry holds what the asking backend wrote.
    // The calls are those of any worker that executes a statement: connect, settings, one portal.
    unsafe {
        let order = (*pg_sys::MyBgworkerEntry).bgw_extra.as_ptr().cast::<Order>().read_unaligned();
        #[cfg(feature = "pg15")]
        pg_sys::pqsignal(SIGTERM, Some(stop));
        #[cfg(not(feature = "pg15"))]
        pg_sys::pqsignal_be(SIGTERM, Some(stop));
        pg_sys::BackgroundWorkerUnblockSignals();
        pg_sys::BackgroundWorkerInitializeConnectionByOid(order.database, order.session_role, 0);
        let Some(text) = told(order) else { return };
        pg_sys::SetUserIdAndSecContext(order.role, order.security);
        let mut parts = text.split(|byte| *byte == 0).map(|part| CString::new(part).unwrap_or_default());
        let Some(statement) = parts.next() else { return };
        // An error unwinds, and what reports it afterwards reads the statement.
        let statement = CStr::from_ptr(statement.into_raw());
        let role = if order.superuser { pg_sys::GucContext::PGC_SUSET } else { pg_sys::GucContext::PGC_USERSET };
        while let (Some(name), Some(value)) = (parts.next(), parts.next()) {
            pg_sys::SetConfigOption(name.as_ptr(), value.as_ptr(), role, pg_sys::GucSource::PGC_S_SESSION);
        }
        pg_sys::pgstat_report_activity(pg_sys::BackendState::STATE_RUNNING, statement.as_ptr());
        execute(statement);
    }
}

/// The text that the asking backend wrote; `None` when that one has gone, and its text with it.
///
/// # Safety
/// In a process that is connected to a database, outside of a transaction.
unsafe fn told(order: Order) -> Option<Vec<u8>> {
    // SAFETY: a segment belongs to a resource owner, and outside of a transaction there is none but this one. The text is copied before the segment
    // is given back; it is as long as the order says.
    unsafe {
        pg_sys::CurrentResourceOwner =
            pg_sys::ResourceOwnerCreate(std::ptr::null_mut(), c"pg_eventkit worker".as_ptr());
        let segment = pg_sys::dsm_attach(order.segment);
        if segment.is_null() {
            return None;
        }
        let memory = pg_sys::dsm_segment_address(segment).cast::<u8>();
        let text = std::slice::from_raw_parts(memory, order.length).to_vec();
        pg_sys::dsm_detach(segment);
        Some(text)
    }
}

const SIGTERM: i32 = 15;

#[pgrx::pg_guard]
unsafe extern "C-unwind" fn stop(signal: i32) {
    // SAFETY: the server's own handler of this signal; it sets flags that the next check for interrupts reads.
    unsafe { pg_sys::die(signal) }
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
