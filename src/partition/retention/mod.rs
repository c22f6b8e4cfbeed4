//! What leaves a range set when it is old, and where older periods lie.
//!
//! `plan` decides what is still to be done with a period, `catalog` knows what has been done with
//! those that are leaving, `steps` says it in SQL, `apply` does it.

mod api;
mod apply;
mod catalog;
mod plan;
mod references;
mod relocation;
mod steps;
mod tiering;

pub(super) use apply::{bytes, is_free, take};
pub(super) use catalog::{forget_gone, unmark};
pub(super) use steps::extend;
