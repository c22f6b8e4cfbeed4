//! What somebody has to look at. Alerts open and close by triggers on what they are about
//! (`sql/alerts.sql`): whoever changes that, and in the same transaction.

mod api;
mod catalog;

pub(crate) use catalog::trim;
