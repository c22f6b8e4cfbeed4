//! Range partitions: kept ready ahead of time.
//!
//! `key` says what a partition key's values mean, `plan` decides which ranges are missing,
//! `catalog` reads the facts, `blueprint` knows how a partition is made like its parent, `steps`
//! joins the three into steps, `apply` carries them out, `policy` is what the owner asked for,
//! `api` is the SQL face.

mod api;
mod apply;
mod blueprint;
mod catalog;
mod encoding;
mod inspect;
mod key;
mod plan;
mod policy;
mod steps;

pub(crate) use api::{forget, owned_job};
pub(crate) use apply::{Outcome, carry_out, naming};
pub(crate) use key::RawKey;
pub(crate) use steps::{Work, prepare};
