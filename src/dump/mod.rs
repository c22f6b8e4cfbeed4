//! Sets that a dump has brought: they load as text (`sql/dump.sql`), and are taken over when their tables
//! are there.

mod api;
mod catalog;

pub(crate) use api::{take_over, take_over_for_caller};
