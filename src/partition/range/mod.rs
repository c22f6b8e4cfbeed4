//! Range sets: kept ready ahead of time.
//!
//! `key` says what a partition key's values mean, `plan` decides which ranges are missing, `catalog`
//! reads the facts, `steps` joins the two, `policy` is what the owner asked for, `horizon` says what is
//! behind the horizons of retention and tiering, `drain` moves what waits in the default partition.

mod api;
mod boundary;
mod catalog;
mod drain;
mod grid;
mod horizon;
mod inspect;
mod owned;
mod plan;
mod policy;
mod steps;
mod stored;
mod zone;

pub(super) use catalog::check;
pub(super) use drain::refuse_referenced;
pub(crate) use drain::{Drained, drain};
pub(crate) use horizon::{Past, Period, Retention, RetentionAction, Tiering};
pub(crate) use owned::OwnedRange;
pub(super) use policy::has_clock;
pub(crate) use policy::{Seen, note_seen, remember_make_up};
pub(super) use steps::prepare;
