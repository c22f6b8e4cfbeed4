//! Taking over what a dump has brought: at once, by the trigger; where that did not fire, or the table is
//! not there yet, when the load is over.

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::catalog::{self, Outcome, Restored};
use crate::error::Result;
use crate::jobs;
use crate::pg::{called, identity, locks, report, subtransaction, wakeup};

/// Takes over the sets that are waiting, if there are any. Those whose table is not there are forgotten,
/// unless another session is still restoring. What there is to say of it.
pub(crate) fn take_over() -> Result<Vec<String>> {
    identity::as_steward(|| {
        if catalog::is_empty()? {
            return Ok(Vec::new());
        }
        wakeup::at_commit();
        from_dump(!locks::workers_are_kept_out(jobs::registry()?))
    })
}

/// The same for somebody who calls something, who is told.
pub(crate) fn take_over_for_caller() -> Result<()> {
    take_over()?.iter().for_each(|message| report::about_dump(true, message));
    Ok(())
}

fn from_dump(is_over: bool) -> Result<Vec<String>> {
    let mut messages = Vec::new();
    for set in catalog::take_found()? {
        match subtransaction::run(|| catalog::put_in_place(&set)) {
            Ok(outcome) => messages.extend(told(&set, outcome)),
            Err(error) if error.is_cancel() || error.is_lock_trouble() => return Err(error),
            Err(error) => messages.push(format!(
                "the policy of {} that came with a dump is forgotten: {error}",
                set.name
            )),
        }
    }
    if is_over {
        messages.extend(catalog::take_lost()?.iter().map(|name| {
            format!("the policy of {name} is forgotten: its table did not come with the dump")
        }));
    }
    Ok(messages)
}

fn told(set: &Restored, outcome: Outcome) -> Vec<String> {
    let name = &set.name;
    let mut messages = Vec::new();
    if outcome.was_managed {
        messages.push(format!("{name} is managed already: the policy in the dump is left out"));
    }
    if outcome.lost_template {
        messages.push(format!(
            "the template of {name} did not come with the dump: partitions are made without it"
        ));
    }
    if outcome.lost_retired > 0 {
        messages.push(format!(
            "{} detached partitions of {name} are forgotten: they did not come with the dump",
            outcome.lost_retired
        ));
    }
    messages
}

/// For the constraint of `steward.restored`.
#[pg_extern(sql = false)]
fn dump_arrives() -> std::result::Result<bool, ErrorReport> {
    called(|| {
        locks::keep_workers_out(jobs::registry()?);
        wakeup::at_commit();
        Ok(true)
    })
}

/// For its trigger: the load is not over. The log has it, too: pg_restore shows no warnings.
#[pg_extern(sql = false)]
fn take_over_restored() -> std::result::Result<(), ErrorReport> {
    called(|| {
        let messages = identity::as_steward(|| from_dump(false))?;
        messages.iter().for_each(|message| report::about_dump(false, message));
        Ok(())
    })
}
