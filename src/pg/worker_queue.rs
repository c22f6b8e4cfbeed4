//! A worker that does something for a session that waits: what it says, the session says; what it
//! fails with, the session is told. The way parallel workers have (src/backend/libpq/pqmq.c).

use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, Ordering};
use std::time::Duration;

use pgrx::pg_sys;

use super::subtransaction::SqlError;
use super::version::server;
use super::workers::{self, Worker};
use super::{encoding, signals};
use crate::error::{Error, Result};

/// What the worker is to do.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct Request {
    pub(crate) database: u32,
    pub(crate) lock_timeout_milliseconds: i32,
    pub(crate) job_id: i64,
    /// The session's, which the worker takes up.
    pub(crate) place: i32,
}

/// The start of the shared segment; the queue comes behind it.
#[repr(C, align(64))]
struct Header {
    request: Request,
    /// 1: the worker got to its end.
    ended_well: AtomicU32,
    /// Nobody waits any more.
    abandoned: AtomicBool,
    /// The process to be stopped then.
    worker: AtomicI32,
}

const QUEUE_BYTES: usize = 64 * 1024;
const NAP: Duration = Duration::from_millis(200);

/// Starts a worker on an request and waits until it has ended. Err: what it failed with, or that no
/// worker was to be had. Interrupted, it has the worker stopped.
pub(crate) fn send(kind: &str, name: &str, entry_point: &str, request: Request) -> Result<()> {
    // SAFETY: inside a transaction, whose resource owner gives the segment back whatever happens;
    // the segment is large enough for the header and the queue behind it.
    let (segment, header, handle) = unsafe {
        let segment = pg_sys::dsm_create(size_of::<Header>() + QUEUE_BYTES, 0);
        let header = pg_sys::dsm_segment_address(segment).cast::<Header>();
        header.write(Header {
            request,
            ended_well: AtomicU32::new(0),
            abandoned: AtomicBool::new(false),
            worker: AtomicI32::new(0),
        });
        // A session that is terminated runs no code of ours but this.
        pg_sys::on_dsm_detach(segment, Some(abandon), header.into());
        let queue = pg_sys::shm_mq_create(header.add(1).cast(), QUEUE_BYTES);
        pg_sys::shm_mq_set_receiver(queue, pg_sys::MyProc);
        (segment, header, pg_sys::shm_mq_attach(queue, segment, std::ptr::null_mut()))
    };
    // SAFETY: the segment was made above.
    let number = unsafe { pg_sys::dsm_segment_handle(segment) };
    let Some(worker) = Worker::start_with(kind, name, entry_point, number) else {
        // SAFETY: nobody else knows it.
        unsafe { pg_sys::dsm_detach(segment) };
        return Err(Error::NoFreeWorker);
    };
    let worker = Running(Some(worker));
    let outcome = worker.listen(handle);
    // SAFETY: the segment is still attached.
    let ended_well = unsafe { (*header).ended_well.load(Ordering::Acquire) } == 1;
    // SAFETY: nothing uses the queue any more.
    unsafe { pg_sys::dsm_detach(segment) };
    outcome?;
    if ended_well { Ok(()) } else { Err(Error::WorkerDied) }
}

/// Stops the worker, as pg_cancel_backend does: it writes down how it ended. Called when the session
/// lets go of the segment, however it comes to that (src/backend/storage/ipc/dsm.c).
unsafe extern "C-unwind" fn abandon(_segment: *mut pg_sys::dsm_segment, header: pg_sys::Datum) {
    let header = header.cast_mut_ptr::<Header>();
    // SAFETY: the segment is still mapped; the header was written when it was made.
    let worker = unsafe {
        (*header).abandoned.store(true, Ordering::SeqCst);
        (*header).worker.load(Ordering::SeqCst)
    };
    // One that has ended is nobody.
    if signals::is_alive(worker) {
        signals::interrupt(worker);
    }
}

/// A worker that is stopped when nobody waits for it any more: by [`abandon`] once it has taken up the
/// request.
struct Running(Option<Worker>);

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(worker) = self.0.take().filter(|worker| worker.pid().is_none()) {
            worker.terminate();
        }
    }
}

impl Running {
    /// Hands on what the worker says until it has ended.
    fn listen(mut self, queue: *mut pg_sys::shm_mq_handle) -> Result<()> {
        let mut outcome = Ok(());
        loop {
            // Asked before the queue: what it said before it ended is in there by then.
            let ended = self.0.as_ref().is_none_or(Worker::has_ended);
            while let Some(message) = receive(queue) {
                if let Err(error) = hand_on(message) {
                    outcome = Err(error);
                }
            }
            if ended {
                // Nothing is left to be stopped.
                self.0 = None;
                return outcome;
            }
            signals::wait(NAP);
        }
    }
}

/// The next message that is there.
fn receive(queue: *mut pg_sys::shm_mq_handle) -> Option<&'static [u8]> {
    let (mut length, mut data) = (0, std::ptr::null_mut());
    // SAFETY: out-parameters are valid for the call; the message stays until the next one is asked
    // for, which `listen` does after it has handed this one on.
    unsafe {
        let outcome = pg_sys::shm_mq_receive(queue, &mut length, &mut data, true);
        (outcome == pg_sys::shm_mq_result::SHM_MQ_SUCCESS && length > 0)
            .then(|| std::slice::from_raw_parts(data.cast::<u8>(), length))
    }
}

/// Says what the worker said; an error is given back. Messages of other kinds are none of ours.
fn hand_on(message: &[u8]) -> Result<()> {
    if !matches!(message[0], b'E' | b'N') {
        return Ok(());
    }
    // SAFETY: the buffer is a copy of the message's body, which pq_parse_errornotice takes apart; the
    // strings of the report live in the current memory context.
    unsafe {
        let mut report: pg_sys::ErrorData = std::mem::zeroed();
        let buffer = pg_sys::makeStringInfo();
        let body = &message[1..];
        pg_sys::appendBinaryStringInfo(buffer, body.as_ptr().cast(), body.len() as i32);
        server::pq_parse_errornotice(buffer, &raw mut report);
        if message[0] == b'E' {
            let text = |text: *mut std::ffi::c_char| {
                (!text.is_null()).then(|| encoding::decode_name(std::ffi::CStr::from_ptr(text)))
            };
            return Err(Error::Sql(SqlError {
                code: report.sqlerrcode.into(),
                packed_sqlstate: report.sqlerrcode,
                message: text(report.message).unwrap_or_default(),
                detail: text(report.detail),
                hint: text(report.hint),
            }));
        }
        // Where the worker was is of no interest.
        report.context = std::ptr::null_mut();
        pg_sys::ThrowErrorData(&raw mut report);
    }
    Ok(())
}

/// The worker's end of the line.
pub(crate) struct Line {
    header: *const Header,
    pub(crate) request: Request,
}

impl Line {
    /// Takes it up: from now on what this process reports goes to the session that waits, and it is
    /// connected to the request's database. None: nobody waits any more.
    pub(crate) fn take_up(argument: workers::Argument) -> Option<(Self, String)> {
        signals::install();
        // SAFETY: the argument is what `send` gave; the mapping lives as long as this process.
        let line = unsafe {
            let segment = pg_sys::dsm_attach(argument.value() as u32);
            if segment.is_null() {
                return None;
            }
            let header = pg_sys::dsm_segment_address(segment).cast::<Header>();
            (*header).worker.store(signals::my_pid(), Ordering::SeqCst);
            if (*header).abandoned.load(Ordering::SeqCst) {
                return None;
            }
            let queue = header.add(1).cast::<pg_sys::shm_mq>();
            pg_sys::shm_mq_set_sender(queue, pg_sys::MyProc);
            let handle = pg_sys::shm_mq_attach(queue, segment, std::ptr::null_mut());
            server::pq_redirect_to_shm_mq(segment, handle);
            Self { header, request: (*header).request }
        };
        let database = pg_sys::Oid::from(line.request.database);
        let name = workers::connect_to(database);
        encoding::send_as_it_is();
        Some((line, name))
    }

    /// The request is done, well or not so well, and said.
    pub(crate) fn end(self) {
        // SAFETY: the mapping lives as long as this process.
        unsafe {
            (*self.header).worker.store(0, Ordering::SeqCst);
            (*self.header).ended_well.store(1, Ordering::Release);
        }
    }
}
