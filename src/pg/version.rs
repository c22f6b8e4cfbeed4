//! Every place where one PostgreSQL major differs from another for us at compile time.

use std::ffi::CStr;

/// A signal handler as the server declares them.
pub(super) type Handler = unsafe extern "C-unwind" fn(i32);

mod server {
    use super::Handler;

    unsafe extern "C-unwind" {
        // 18 renamed the backend's own (src/include/port.h); what earlier ones return, the
        // previous handler, we ignore.
        #[cfg_attr(feature = "pg18", link_name = "pqsignal_be")]
        pub(super) fn pqsignal(signal: i32, handler: Handler);
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
        #[cfg(not(feature = "pg18"))]
        pgrx::pg_sys::PortalRun(portal, ALL, true, true, receiver, receiver, std::ptr::null_mut());
        #[cfg(feature = "pg18")]
        pgrx::pg_sys::PortalRun(portal, ALL, true, receiver, receiver, std::ptr::null_mut());
    }
}
