//! The ground floor: the only room that says `unsafe`, pg_sys or SPI.

pub(crate) mod at_commit;
pub(crate) mod backtrace;
pub(crate) mod bounds;
pub(crate) mod clock;
pub(crate) mod databases;
pub(crate) mod deadline;
pub(crate) mod encoding;
pub(crate) mod extension;
pub(crate) mod files;
pub(crate) mod guc;
pub(crate) mod heap;
pub(crate) mod ident;
pub(crate) mod identity;
pub(crate) mod leaving;
pub(crate) mod locks;
pub(crate) mod places;
pub(crate) mod query;
pub(crate) mod raise;
pub(crate) mod report;
pub(crate) mod shared_memory;
pub(crate) mod signals;
pub(crate) mod subtransaction;
#[cfg(any(test, feature = "pg_test"))]
mod tests;
pub(crate) mod time_zone;
pub(crate) mod touched;
pub(crate) mod transaction;
pub(crate) mod trigger;
mod user_sql;
mod utility;
mod version;
pub(crate) mod wakeup;
pub(crate) mod worker_queue;
pub(crate) mod workers;

pub(crate) use encoding::Text;
pub(crate) use pgrx::pg_sys::Oid;
pub(crate) use raise::called;
