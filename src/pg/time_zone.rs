//! The server's own time zones, so that a boundary can never disagree with what
//! `timestamptz + interval` says on the same server, whatever tzdata it runs with.

use std::ffi::CStr;

use pgrx::pg_sys;

use super::{encoding, query};
use crate::calendar::{Micros, Zone};
use crate::error::{Error, Result};

/// Seconds between the Unix epoch, which pg_time_t counts from, and PostgreSQL's of 2000-01-01.
const UNIX_TO_POSTGRES_EPOCH: i128 = 946_684_800;
const MICROS_PER_SECOND: i128 = 1_000_000;
/// Beyond so many seconds no zone changes any more: in the year 559444, when no timestamptz is. A number in a
/// key can be later.
const FAR: i128 = 1 << 44;

/// A time zone the server knows, looked up once by name.
#[derive(Clone, Copy)]
pub(crate) struct ServerZone(*mut pg_sys::pg_tz);

impl ServerZone {
    /// Looks a name up as `SET timezone` does. Errors: an unknown name.
    pub(crate) fn named(name: &str) -> Result<Self> {
        let unknown = || Error::UnknownTimeZone { name: name.to_owned() };
        let text = encoding::encode_name(name);
        if name.is_empty() {
            return Err(unknown());
        }
        // SAFETY: the string lives through the call; pg_tzset caches zones for the whole life of
        // the backend (pgtz.c), so the pointer never dangles.
        let zone = unsafe { pg_sys::pg_tzset(text.as_ptr()) };
        // SAFETY: checked for NULL first. Zones with leap seconds are refused as
        // check_timezone() in src/backend/commands/variable.c does.
        if zone.is_null() || !unsafe { pg_sys::pg_tz_acceptable(zone) } {
            return Err(unknown());
        }
        Ok(Self(zone))
    }

    /// The canonical name, as pg_timezone_names spells it.
    pub(crate) fn name(&self) -> String {
        // SAFETY: the zone is valid (see `named`); its name is a NUL-terminated string inside it.
        encoding::decode_name(unsafe { CStr::from_ptr(pg_sys::pg_get_timezone_name(self.0)) })
    }

    /// Whether it is put together from a POSIX specification such as `UTC+3`, not one of the time zone
    /// database. The server takes a name that it has no file of for one (pgtz.c, pg_tzset).
    pub(crate) fn is_specification(&self) -> Result<bool> {
        let name = self.name();
        // A specification has an offset. Names with digits are few, and to list all names is slow.
        if !name.contains(|c: char| c.is_ascii_digit()) {
            return Ok(false);
        }
        query::one(
            "SELECT NOT EXISTS (SELECT FROM pg_catalog.pg_timezone_names n
                                 WHERE pg_catalog.lower(n.name) = pg_catalog.lower($1))",
            &[name.into()],
            |row| row.required(1),
        )
    }

    /// Whether the server reads the times that it writes in this zone from `from` on, some years ahead: an
    /// offset has less than 16 hours (src/include/datatype/timestamp.h, MAX_TZDISP_HOUR).
    pub(crate) fn can_be_read_back(&self, from: i64) -> bool {
        const LIMIT: Micros = 16 * 3_600 * MICROS_PER_SECOND;
        const CHANGES: usize = 8;
        let changes = std::iter::successors(Some(from.into()), |at| self.next_change(*at));
        changes.take(CHANGES).all(|at| self.offset_at(at).abs() < LIMIT)
    }

    fn seconds(utc: Micros) -> pg_sys::pg_time_t {
        let seconds = utc.div_euclid(MICROS_PER_SECOND) + UNIX_TO_POSTGRES_EPOCH;
        seconds.clamp(-FAR, FAR) as pg_sys::pg_time_t
    }
}

impl Zone for ServerZone {
    fn offset_at(&self, utc: Micros) -> Micros {
        let seconds = Self::seconds(utc);
        // SAFETY: the zone is valid; pg_localtime answers with a static buffer or, for a time it
        // cannot represent, NULL, which is checked.
        let local = unsafe { pg_sys::pg_localtime(&seconds, self.0).as_ref() };
        local.map_or(0, |tm| i128::from(tm.tm_gmtoff) * MICROS_PER_SECOND)
    }

    fn next_change(&self, utc: Micros) -> Option<Micros> {
        let mut from = Self::seconds(utc);
        loop {
            let (mut before, mut after) = (0, 0);
            let (mut before_dst, mut after_dst) = (0, 0);
            let mut boundary = 0;
            // SAFETY: all out-parameters are valid for the call. 1 says that a later transition
            // exists and that `boundary` is its first second (localtime.c).
            let found = unsafe {
                pg_sys::pg_next_dst_boundary(
                    &from,
                    &mut before,
                    &mut before_dst,
                    &mut boundary,
                    &mut after,
                    &mut after_dst,
                    self.0,
                )
            };
            if found != 1 {
                return None;
            }
            if before != after {
                let change = (i128::from(boundary) - UNIX_TO_POSTGRES_EPOCH) * MICROS_PER_SECOND;
                // Of an instant beyond FAR the next one is behind it.
                return (change > utc).then_some(change);
            }
            // A change of name or of the DST flag alone moves no clock.
            from = boundary;
        }
    }
}
