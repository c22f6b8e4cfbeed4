//! Hash sets: kept complete, so that every key has a partition.
//!
//! `plan` decides which remainders are missing, `policy` is what the owner asked for, `steps` joins
//! the two.

mod api;
mod inspect;
mod plan;
mod policy;
mod steps;

pub(super) use steps::prepare;
