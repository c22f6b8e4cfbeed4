//! Range sets: kept ready ahead of time.
//!
//! `key` says what a partition key's values mean, `plan` decides which ranges are missing, `catalog`
//! reads the facts, `steps` joins the two, `policy` is what the owner asked for, `drain` moves
//! what waits in the default partition.

mod api;
mod catalog;
mod drain;
mod encoding;
mod inspect;
mod key;
mod plan;
mod policy;
mod steps;

pub(super) use catalog::check;
pub(super) use drain::refuse_referenced;
pub(crate) use drain::{Drained, drain};
pub(crate) use key::RawKey;
pub(super) use policy::remember_make_up;
pub(super) use steps::prepare;
