//! What `job_runs.detail` says of a run.

use serde::Serialize;
use serde_json::Value;

use super::apply::Outcome;
use super::steps::Action;

/// Names that are listed at most, of each sort.
const LISTED: usize = 100;

/// What most sets never do is left out, not listed with a zero.
#[derive(Debug, Default, Serialize)]
pub(super) struct Detail {
    created: usize,
    failed: usize,
    partitions: Vec<String>,
    failures: Vec<Failure>,
    #[serde(skip_serializing_if = "is_none")]
    detached: usize,
    #[serde(skip_serializing_if = "is_none")]
    archived: usize,
    #[serde(skip_serializing_if = "is_none")]
    dropped: usize,
    #[serde(skip_serializing_if = "is_none")]
    moved: usize,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    retired: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    waiting_for: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes_done: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes_total: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    action: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rows_moved: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rows_left: Option<i64>,
}

/// A step that failed.
#[derive(Debug, Serialize)]
struct Failure {
    partition: String,
    sqlstate: String,
    error: String,
}

fn is_none(count: &usize) -> bool {
    *count == 0
}

impl Detail {
    pub(super) fn of(outcome: &Outcome) -> Self {
        let count =
            |wanted: Action| outcome.done.iter().filter(|(done, _)| *done == wanted).count();
        let named = |wanted: &[Action]| {
            let of = |(action, _): &&(Action, String)| wanted.contains(action);
            outcome.done.iter().filter(of).map(|(_, name)| name.clone()).take(LISTED).collect()
        };
        let failed = |(partition, error): &(String, crate::error::Error)| Failure {
            partition: partition.clone(),
            sqlstate: error.sqlstate(),
            error: error.recorded(),
        };
        let (bytes_done, bytes_total) = outcome.bytes.unzip();
        Self {
            created: count(Action::Create),
            failed: outcome.failed.len(),
            partitions: named(&[Action::Create]),
            failures: outcome.failed.iter().take(LISTED).map(failed).collect(),
            detached: count(Action::Detach) + count(Action::Finalize),
            archived: count(Action::Archive),
            dropped: count(Action::Drop),
            moved: count(Action::Move),
            retired: named(&[Action::Detach, Action::Finalize]),
            waiting_for: outcome
                .waits_for_place
                .then_some("a place for an archive or a copy: as many as may be are at work"),
            bytes_done,
            bytes_total,
            ..Self::default()
        }
    }

    /// The same of `drain_default()`.
    pub(super) fn of_drain(outcome: &Outcome, rows_moved: u64, rows_left: i64) -> Self {
        Self {
            action: Some("drain_default"),
            rows_moved: Some(rows_moved),
            rows_left: Some(rows_left),
            ..Self::of(outcome)
        }
    }

    pub(super) fn json(&self) -> Value {
        serde_json::to_value(self).unwrap_or_default()
    }
}
