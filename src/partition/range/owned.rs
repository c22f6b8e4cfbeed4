//! A managed range set whose owner is about to change what happens to its older periods.

use super::catalog::{self, Set};
use super::horizon::{self, Retention, Tiering};
use super::policy;
use crate::error::{Error, Result};
use crate::jobs;
use crate::partition::access::owned_table;
use crate::pg::{Oid, identity, query, transaction, wakeup};

/// No run of it, and no other such call, until we commit.
pub(crate) struct OwnedRange(Set);

impl OwnedRange {
    /// Errors: not a range set (42809), not the caller's (42501), not managed (42704).
    pub(crate) fn take(parent: Oid, action: &'static str) -> Result<Self> {
        let parent = catalog::parent(owned_table(parent, action)?)?;
        let stored = transaction::with_latest_snapshot(|| policy::stored(parent.table.oid))?;
        let (request, _) = stored.ok_or_else(|| parent.table.not_managed())?;
        policy::interpret(parent, &request).map(Self)
    }

    pub(crate) fn oid(&self) -> Oid {
        self.0.parent.table.oid
    }

    pub(crate) fn owner(&self) -> Oid {
        self.0.parent.table.owner
    }

    pub(crate) fn display(&self) -> String {
        self.0.parent.display()
    }

    /// An argument that does not do, for the error.
    pub(crate) fn invalid(&self, argument: &'static str, problem: String, hint: &str) -> Error {
        self.0.parent.invalid(argument, problem, hint)
    }

    /// Stores what is to be kept; None: everything. The next maintenance begins at once.
    pub(crate) fn keep(&self, retention: Option<&Retention>) -> Result<()> {
        if let Some(retention) = retention {
            self.check_age("keep", &retention.keep)?;
        }
        let text = |part: fn(&Retention) -> Option<&str>| retention.and_then(part);
        identity::as_steward(|| {
            query::change(
                "UPDATE steward.range_policy
                    SET keep = $2, keep_action = $3, to_schema = $4, archive_function = $5
                  WHERE parent = $1",
                &[
                    self.oid().into(),
                    text(|given| Some(&given.keep)).into(),
                    text(|given| Some(given.fate.as_str())).into(),
                    text(|given| given.to_schema.as_deref()).into(),
                    text(|given| given.archive_function.as_deref()).into(),
                ],
            )
        })?;
        self.begin()
    }

    /// Stores what is cold, and where it goes; None: nothing.
    pub(crate) fn cool(&self, tiering: Option<&Tiering>) -> Result<()> {
        if let Some(tiering) = tiering {
            self.check_age("older_than", &tiering.older_than)?;
        }
        identity::as_steward(|| {
            query::change(
                "UPDATE steward.range_policy SET cold_after = $2, cold_tablespace = $3
                  WHERE parent = $1",
                &[
                    self.oid().into(),
                    tiering.map(|given| given.older_than.as_str()).into(),
                    tiering.map(|given| given.tablespace.as_str()).into(),
                ],
            )
        })?;
        self.begin()
    }

    fn check_age(&self, argument: &'static str, text: &str) -> Result<()> {
        let invalid = |argument, problem: String, hint: &str| self.invalid(argument, problem, hint);
        let age = horizon::age(self.0.policy.key.axis(), argument, text, &invalid)?;
        horizon::check(&age, &self.0.policy.key, argument, &invalid)
    }

    fn begin(&self) -> Result<()> {
        identity::as_steward(|| jobs::make_due(self.oid()))?;
        wakeup::at_commit();
        Ok(())
    }
}
