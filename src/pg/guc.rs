//! Server settings that hold for one piece of work and are then taken back.

use std::ffi::CStr;

use pgrx::pg_sys;

use super::encoding;

/// Sets a setting until the enclosing nesting level ends (guc.c, GUC_ACTION_SAVE).
fn save(name: &str, value: &str) {
    set(name, value, pg_sys::GucAction::GUC_ACTION_SAVE);
}

fn set(name: &str, value: &str, action: pg_sys::GucAction::Type) {
    let (name, value) = (encoding::encode_name(name), encoding::encode_name(value));
    set_text(&name, &value, action);
}

fn set_text(name: &CStr, value: &CStr, action: pg_sys::GucAction::Type) {
    // SAFETY: both strings live through the call, which copies them; elevel 0 lets guc.c choose.
    unsafe {
        pg_sys::set_config_option(
            name.as_ptr(),
            value.as_ptr(),
            pg_sys::GucContext::PGC_USERSET,
            pg_sys::GucSource::PGC_S_SESSION,
            action,
            true,
            0,
            false,
        );
    }
}

/// Whose session this is: until the enclosing nesting level ends, or, in a worker, from now on unless the
/// transaction is aborted. `role`: a name, in the encoding of the database.
pub(super) fn session_user(role: &CStr, for_good: bool) {
    let action = match for_good {
        true => pg_sys::GucAction::GUC_ACTION_SET,
        false => pg_sys::GucAction::GUC_ACTION_SAVE,
    };
    set_text(c"session_authorization", role, action);
}

/// The commit of the current transaction does not wait for the disk: after a crash it may never
/// have happened.
pub(super) fn commit_without_waiting() {
    set("synchronous_commit", "off", pg_sys::GucAction::GUC_ACTION_LOCAL);
}

/// What every piece of our work runs under, whatever the session has: names resolve in pg_catalog
/// only, a new table lands in its parent's tablespace, not in the session's default one, a
/// bound's text is read back as it was written, and our SQL means what it says.
const PINNED: [(&CStr, &CStr); 12] = [
    (c"search_path", c"pg_catalog, pg_temp"),
    (c"default_tablespace", c""),
    (c"DateStyle", c"ISO, YMD"),
    (c"IntervalStyle", c"postgres"),
    (c"extra_float_digits", c"1"),
    (c"bytea_output", c"hex"),
    (c"row_security", c"on"),
    (c"quote_all_identifiers", c"off"),
    (c"standard_conforming_strings", c"on"),
    (c"transform_null_equals", c"off"),
    (c"array_nulls", c"on"),
    (c"xmloption", c"content"),
];

pub(super) fn pin() {
    for (name, value) in PINNED {
        // Most of them have that value already, and to look costs less than to set.
        // SAFETY: answers NULL or the value's text, which is valid until the setting is changed.
        let is_set = unsafe {
            let now = pg_sys::GetConfigOption(name.as_ptr(), true, false);
            !now.is_null() && CStr::from_ptr(now) == value
        };
        if !is_set {
            set_text(name, value, pg_sys::GucAction::GUC_ACTION_SAVE);
        }
    }
}

/// The triggers of our own tables fire, those of their foreign keys too, also in a session that is a replica's: there
/// a policy would outlive its job. Until the enclosing nesting level ends, or, in a worker, from now on.
pub(super) fn fire_own_triggers(for_good: bool) {
    let action = match for_good {
        true => pg_sys::GucAction::GUC_ACTION_SET,
        false => pg_sys::GucAction::GUC_ACTION_SAVE,
    };
    // SAFETY: a backend-local variable; the strings live through the call. Who has the other value set may set this
    // one, so nothing is looked up, for which a worker has no transaction yet; nobody else's code runs under it.
    unsafe {
        if pg_sys::SessionReplicationRole == pg_sys::SESSION_REPLICATION_ROLE_ORIGIN as i32 {
            return;
        }
        pg_sys::set_config_option(
            c"session_replication_role".as_ptr(),
            c"origin".as_ptr(),
            pg_sys::GucContext::PGC_SUSET,
            pg_sys::GucSource::PGC_S_SESSION,
            action,
            true,
            0,
            false,
        );
    }
}

/// Runs `work` in a settings level of its own, pinned like all our work.
pub(crate) fn pinned<T>(work: impl FnOnce() -> T) -> T {
    let _pinned = Pinned::begin();
    work()
}

/// A settings level that is pinned like all our work, until this goes: for a whole call.
pub(crate) struct Pinned {
    level: i32,
}

impl Pinned {
    pub(crate) fn begin() -> Self {
        // SAFETY: opens a level; closed in Drop, or by the abort while an error unwinds.
        let level = unsafe { pg_sys::NewGUCNestLevel() };
        pin();
        Self { level }
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // SAFETY: closes the level opened above, and what has been opened in it.
            unsafe { pg_sys::AtEOXact_GUC(false, self.level) };
        }
    }
}

/// Runs `work` under a `lock_timeout`, in milliseconds.
pub(crate) fn with_lock_timeout<T>(milliseconds: i32, work: impl FnOnce() -> T) -> T {
    nested(|| save("lock_timeout", &milliseconds.to_string()), work)
}

/// Runs `work` so that a query which row security would hide rows from fails (42501), as in pg_dump: what
/// is decided about what somebody has seen must not be decided about a part of it.
pub(crate) fn refusing_hidden_rows<T>(work: impl FnOnce() -> T) -> T {
    nested(|| save("row_security", "off"), work)
}

/// Runs `work` with a `TimeZone` that the server knows.
pub(crate) fn with_time_zone<T>(name: &str, work: impl FnOnce() -> T) -> T {
    nested(|| save("TimeZone", name), work)
}

fn nested<T>(prepare: impl FnOnce(), work: impl FnOnce() -> T) -> T {
    // SAFETY: opens a level; closed below, or by the abort when `work` unwinds.
    let level = unsafe { pg_sys::NewGUCNestLevel() };
    prepare();
    let value = work();
    // SAFETY: closes the level opened above.
    unsafe { pg_sys::AtEOXact_GUC(false, level) };
    value
}

/// A setting for the rest of this session; one that this server does not have is passed over.
pub(crate) fn session(name: &str, value: &str) {
    let (name, value) = (encoding::encode_name(name), encoding::encode_name(value));
    // SAFETY: both strings live through the calls.
    unsafe {
        if pg_sys::GetConfigOption(name.as_ptr(), true, false).is_null() {
            return;
        }
        pg_sys::SetConfigOption(
            name.as_ptr(),
            value.as_ptr(),
            pg_sys::GucContext::PGC_USERSET,
            pg_sys::GucSource::PGC_S_SESSION,
        );
    }
}

/// From now on a setting of that prefix is one of those that are defined: another is refused, and one that
/// has been given already is taken away with a WARNING (src/backend/utils/misc/guc.c).
pub(crate) fn reserve_prefix(prefix: &CStr) {
    // SAFETY: the string lives through the call, which copies it.
    unsafe { pg_sys::MarkGUCPrefixReserved(prefix.as_ptr()) }
}
