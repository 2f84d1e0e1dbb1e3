//! Background workers that execute one statement each at the top level, where the server allows what it refuses inside of a function:
//! COMMIT, `DETACH PARTITION … CONCURRENTLY`. They run as the role that asks, in the same database, and need no preloaded library.

use pgrx::pg_sys::{self, Oid};
use std::cell::{Cell, RefCell};
use std::ffi::{CStr, CString, c_char, c_void};
use std::mem::ManuallyDrop;
use std::sync::atomic::{AtomicU32, Ordering};

/// What a worker is told, as bytes of `bgw_extra`; the statement and the settings lie in a segment of shared memory.
#[derive(Clone, Copy)]
#[repr(C)]
struct Order {
    database: Oid,
    session_role: Oid,
    role: Oid,
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
        // First how many have succeeded, an atomic number. No text of the server's holds a NUL.
        let mut text = vec![0; size_of::<AtomicU32>()];
        text.extend_from_slice(statement.as_bytes());
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
            let order = Order {
                database: pg_sys::MyDatabaseId,
                session_role: pg_sys::GetSessionUserId(),
                role: pg_sys::GetUserId(),
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

    /// How many have executed their statement to its end.
    fn succeeded(&self) -> usize {
        if self.segment.is_null() {
            return 0;
        }
        // SAFETY: the segment begins with this number, which all of its users reach as an atomic one.
        let succeeded = unsafe { &*pg_sys::dsm_segment_address(self.segment).cast::<AtomicU32>() };
        succeeded.load(Ordering::Acquire) as usize
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

/// Ends the workers that are kept, if there are any: those that have ended already do not mind.
struct EndKept;

impl Drop for EndKept {
    fn drop(&mut self) {
        drop(KEPT.with_borrow_mut(|kept| kept.take()));
    }
}

/// Waits until the workers that are kept have ended, and tells how many have not executed their statement to its end. They are kept meanwhile: when
/// the session is ended nothing unwinds, and the abort of its transaction ends them; an error unwinds and may be caught before any transaction is aborted.
pub fn wait_for_kept() -> usize {
    let ended = EndKept;
    let handles = KEPT.with_borrow(|kept| kept.as_ref().map(|workers| workers.handles.clone()).unwrap_or_default());
    for handle in handles {
        // SAFETY: the handle is of a worker registered by this backend, and kept until the end of this function. Interrupts are served here.
        unsafe { pg_sys::WaitForBackgroundWorkerShutdown(handle) };
    }
    let failed =
        KEPT.with_borrow(|kept| kept.as_ref().map_or(0, |workers| workers.count().saturating_sub(workers.succeeded())));
    drop(ended);
    failed
}

#[pgrx::pg_guard]
unsafe extern "C-unwind" fn end_kept(event: pg_sys::XactEvent::Type, _nothing: *mut c_void) {
    if event == pg_sys::XactEvent::XACT_EVENT_ABORT {
        drop(EndKept);
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
        let Some((text, succeeded)) = told(order) else { return };
        // What the asking role may not do, the session's may not do for it. The server asserts that the second is 0 where a transaction begins.
        pg_sys::SetUserIdAndSecContext(order.role, 0);
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
        succeeded.fetch_add(1, Ordering::Release);
    }
}

/// The text that the asking backend wrote, and where to count who succeeds; `None` when that backend has gone, and its text with it.
///
/// # Safety
/// In a process that is connected to a database, outside of a transaction.
unsafe fn told(order: Order) -> Option<(Vec<u8>, &'static AtomicU32)> {
    // SAFETY: a segment belongs to a resource owner until it is pinned, and outside of a transaction there is none but this one. It is as long as the
    // order says, begins with the number, and stays until this process ends; nobody writes to the text any more.
    unsafe {
        pg_sys::CurrentResourceOwner =
            pg_sys::ResourceOwnerCreate(std::ptr::null_mut(), c"pg_eventkit worker".as_ptr());
        let segment = pg_sys::dsm_attach(order.segment);
        if segment.is_null() {
            return None;
        }
        pg_sys::dsm_pin_mapping(segment);
        let memory = pg_sys::dsm_segment_address(segment).cast::<u8>();
        let number = size_of::<AtomicU32>();
        let text = std::slice::from_raw_parts(memory.add(number), order.length - number).to_vec();
        Some((text, &*memory.cast::<AtomicU32>()))
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
