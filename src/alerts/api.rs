//! The SQL face of alerts: `acknowledge_alert`, and what their triggers call.

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::catalog;
use crate::error::Error;
use crate::pg::guc::Pinned;
use crate::pg::{at_commit, called, extension, identity, transaction};

#[pg_extern(sql = false)]
fn acknowledge_alert(alert_id: i64) -> std::result::Result<(), ErrorReport> {
    called(|| {
        let _pinned = Pinned::begin();
        transaction::must_be_writable("acknowledge_alert()")?;
        extension::hold()?;
        let caller = identity::caller();
        let alert = identity::as_steward(|| catalog::find(alert_id))?;
        if !identity::caller_is(alert.owner) {
            let owner = identity::role_name(alert.owner)?;
            return Err(Error::NotOwner { relation: alert.object, owner }.into());
        }
        if let Some(resolved_at) = alert.resolved_at {
            return Err(Error::AlertResolved { alert_id, resolved_at }.into());
        }
        Ok(identity::as_steward(|| catalog::acknowledge(alert_id, caller))?)
    })
}

/// A line in the server log once the transaction has committed. Bytes: in whatever encoding this
/// database has.
#[pg_extern(sql = false)]
fn log_at_commit(message: &[u8]) {
    at_commit::log(message);
}

/// The same for whoever listens on a channel.
#[pg_extern(sql = false)]
fn notify_at_commit(channel: &[u8], payload: &[u8]) {
    at_commit::notify(channel, payload);
}
