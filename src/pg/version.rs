//! Every place where one PostgreSQL major differs from another for us at compile time, and every symbol of
//! the server that is declared by hand.

use std::ffi::CStr;

/// A signal handler as the server declares them.
pub(super) type Handler = unsafe extern "C-unwind" fn(std::ffi::c_int);

/// Symbols of the server that pgrx does not declare, every one that we call. No header is read for them: compare
/// these with those of a new major. They are the same from 15 to 18, but where it says otherwise.
pub(super) mod server {
    use std::ffi::{c_char, c_int};

    use pgrx::pg_sys;

    use super::Handler;

    unsafe extern "C-unwind" {
        // src/include/port.h. 18 and later have renamed the backend's own; what earlier ones return, the
        // previous handler, we ignore.
        #[cfg_attr(
            not(any(feature = "pg15", feature = "pg16", feature = "pg17")),
            link_name = "pqsignal_be"
        )]
        pub(super) fn pqsignal(signal: c_int, handler: Handler);

        // src/include/tcop/tcopprot.h, src/include/postmaster/interrupt.h
        pub(in crate::pg) fn die(signal: c_int);
        pub(in crate::pg) fn SignalHandlerForConfigReload(signal: c_int);
        // The C library's.
        pub(in crate::pg) fn kill(pid: c_int, signal: c_int) -> c_int;

        // src/include/utils/timeout.h; `which` is an enum TimeoutId.
        pub(in crate::pg) fn enable_timeout_after(which: u32, milliseconds: c_int);
        pub(in crate::pg) fn enable_timeout_at(which: u32, at: pg_sys::TimestampTz);
        pub(in crate::pg) fn get_timeout_active(which: u32) -> bool;
        pub(in crate::pg) fn get_timeout_finish_time(which: u32) -> pg_sys::TimestampTz;
        pub(in crate::pg) fn disable_timeout(which: u32, keep_indicator: bool);

        // src/include/utils/elog.h
        pub(in crate::pg) fn errhint(format: *const c_char, ...) -> c_int;
        pub(in crate::pg) fn CopyErrorData() -> *mut pg_sys::ErrorData;
        pub(in crate::pg) fn FreeErrorData(report: *mut pg_sys::ErrorData);

        // src/include/libpq/pqmq.h
        pub(in crate::pg) fn pq_redirect_to_shm_mq(
            segment: *mut pg_sys::dsm_segment,
            queue: *mut pg_sys::shm_mq_handle,
        );
        pub(in crate::pg) fn pq_parse_errornotice(
            message: pg_sys::StringInfo,
            report: *mut pg_sys::ErrorData,
        );

        // src/include/mb/pg_wchar.h, src/include/catalog/namespace.h
        /// Reads a backend-local variable: SQL_ASCII until the process is connected to a database.
        pub(in crate::pg) safe fn GetDatabaseEncoding() -> c_int;
        pub(in crate::pg) fn FindDefaultConversion(
            schema: pg_sys::Oid,
            from: i32,
            to: i32,
        ) -> pg_sys::Oid;

        // src/include/catalog/partition.h
        pub(in crate::pg) fn get_partition_ancestors(relation: pg_sys::Oid) -> *mut pg_sys::List;
    }
}

/// Installs a signal handler with the server's own pqsignal.
///
/// # Safety
/// The handler must be async-signal-safe; all callers pass the server's own ones.
pub(super) unsafe fn handle_signal(signal: i32, handler: Handler) {
    // SAFETY: the caller vouches for the handler.
    unsafe { server::pqsignal(signal, handler) }
}

/// Sets the process title.
pub(super) fn set_process_title(title: &CStr) {
    // SAFETY: the string lives through the call, which copies it. Since 16 set_ps_display is an
    // inline function around set_ps_display_with_len (src/include/utils/ps_status.h).
    unsafe {
        #[cfg(feature = "pg15")]
        pgrx::pg_sys::set_ps_display(title.as_ptr());
        #[cfg(not(feature = "pg15"))]
        pgrx::pg_sys::set_ps_display_with_len(title.as_ptr(), title.count_bytes());
    }
}

/// Runs a portal to its end as psql's statements are run: at the top level.
///
/// # Safety
/// The portal has been started; the receiver is one that takes what it gives.
pub(super) unsafe fn run_portal(
    portal: pgrx::pg_sys::Portal,
    receiver: *mut pgrx::pg_sys::DestReceiver,
) {
    const ALL: std::ffi::c_long = std::ffi::c_long::MAX;
    // SAFETY: the caller vouches for both; no completion tag is asked for. Until 17 it is told, too, that it
    // is run once only (src/include/tcop/pquery.h).
    unsafe {
        #[cfg(any(feature = "pg15", feature = "pg16", feature = "pg17"))]
        pgrx::pg_sys::PortalRun(portal, ALL, true, true, receiver, receiver, std::ptr::null_mut());
        #[cfg(not(any(feature = "pg15", feature = "pg16", feature = "pg17")))]
        pgrx::pg_sys::PortalRun(portal, ALL, true, receiver, receiver, std::ptr::null_mut());
    }
}
