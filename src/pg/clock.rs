//! The edge where the instant comes from; everywhere else it is an argument.

use std::time::Duration;

use pgrx::datum::TimestampWithTimeZone;
use pgrx::{IntoDatum, pg_sys};

use crate::error::{Error, Result};

/// How far tests put the workers' clock forward, in seconds: a setting of debug builds, which are
/// not what users get.
#[cfg(debug_assertions)]
pub(crate) static TEST_OFFSET_SECONDS: pgrx::guc::GucSetting<i32> =
    pgrx::guc::GucSetting::<i32>::new(0);

/// Now, in microseconds since 2000-01-01 UTC.
pub(crate) fn now() -> i64 {
    // SAFETY: reads the system clock.
    let now = unsafe { pg_sys::GetCurrentTimestamp() };
    #[cfg(debug_assertions)]
    let now = now + 1_000_000 * i64::from(TEST_OFFSET_SECONDS.get());
    now
}

/// Whether it is less than so many microseconds `since` then. An instant ahead of `now` is from before
/// the clock was set back: false.
pub(crate) fn is_within(now: i64, since: i64, microseconds: i64) -> bool {
    (since..since.saturating_add(microseconds)).contains(&now)
}

/// A parameter of type timestamptz.
pub(crate) fn timestamp(micros: i64) -> Result<TimestampWithTimeZone> {
    TimestampWithTimeZone::try_from(micros)
        .map_err(|_| Error::Query { message: format!("instant {micros} is out of range") })
}

/// A number in `[0, 1)` from the server's random source; good enough to spread retries.
pub(crate) fn random() -> f64 {
    let mut bytes = [0_u8; 4];
    // SAFETY: fills exactly the buffer that it is given; on failure the zeros stay.
    unsafe { pg_sys::pg_strong_random(bytes.as_mut_ptr().cast(), bytes.len()) };
    f64::from(u32::from_ne_bytes(bytes)) / (f64::from(u32::MAX) + 1.0)
}

/// Gives random() a seed that nobody knows: what one owner's code has set is not another's to meet.
pub(crate) fn reseed() {
    let seed = 2.0 * random() - 1.0;
    if let Some(seed) = seed.into_datum() {
        // SAFETY: setseed() takes a double precision between -1 and 1 and touches a backend-local state.
        unsafe {
            let function = pg_sys::Oid::from(pg_sys::F_SETSEED);
            pg_sys::OidFunctionCall1Coll(function, pg_sys::InvalidOid, seed);
        }
    }
}

/// Between half of a time and all of it.
pub(crate) fn jittered(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds / 2 + (milliseconds as f64 / 2.0 * random()) as u64)
}
