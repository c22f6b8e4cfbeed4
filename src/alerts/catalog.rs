//! `steward.alert`. All of it runs as steward.

use crate::error::{Error, Result};
use crate::pg::{Oid, query};

/// An alert, as far as a caller's rights and its state are concerned.
pub(super) struct Alert {
    pub(super) owner: Oid,
    pub(super) object: String,
    /// When it was resolved, as text.
    pub(super) resolved_at: Option<String>,
}

/// Errors: there is none of that number (42704).
pub(super) fn find(alert_id: i64) -> Result<Alert> {
    query::optional(
        "SELECT coalesce(c.relowner, a.owner::pg_catalog.oid), a.object,
                a.resolved_at::pg_catalog.text
           FROM steward.alert a LEFT JOIN pg_catalog.pg_class c ON c.oid = a.relation
          WHERE a.alert_id = $1",
        &[alert_id.into()],
        |row| {
            Ok(Alert {
                owner: row.required(1)?,
                object: row.required(2)?,
                resolved_at: row.optional(3)?,
            })
        },
    )?
    .ok_or(Error::NoSuchAlert { alert_id })
}

/// Notes that a role has taken it on, unless one has before.
pub(super) fn acknowledge(alert_id: i64, by: Oid) -> Result<()> {
    query::change(
        "UPDATE steward.alert
            SET acknowledged_at = pg_catalog.clock_timestamp(),
                acknowledged_by = pg_catalog.pg_get_userbyid($2)
          WHERE alert_id = $1 AND acknowledged_at IS NULL AND state <> 'resolved'",
        &[alert_id.into(), by.into()],
    )
    .map(|_| ())
}

/// Removes alerts resolved more than so many minutes ago, `most` of them at once.
pub(crate) fn trim(minutes: i32, most: i64) -> Result<usize> {
    query::change(
        "DELETE FROM steward.alert WHERE alert_id IN (
             SELECT a.alert_id FROM steward.alert a
              WHERE a.state = 'resolved'
                AND a.resolved_at < pg_catalog.clock_timestamp()
                                    - pg_catalog.make_interval(mins => $1)
              ORDER BY a.resolved_at LIMIT $2)",
        &[minutes.into(), most.into()],
    )
}
