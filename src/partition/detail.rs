//! What `steward.job_runs.detail` says of a run.

use serde::Serialize;
use serde_json::Value;

use super::apply::Outcome;
use super::range::Drained;
use super::steps::Action;

/// Names, and failures, that are listed at most.
const LISTED: usize = 100;

/// Steps are counted, and the partitions they were about listed. What most sets never do is not listed
/// with a zero.
#[derive(Debug, Serialize)]
pub(super) struct Detail<'a> {
    created: usize,
    failed: usize,
    partitions: Vec<&'a str>,
    failures: Vec<Failure<'a>>,
    #[serde(skip_serializing_if = "is_zero")]
    detached: usize,
    #[serde(skip_serializing_if = "is_zero")]
    archived: usize,
    #[serde(skip_serializing_if = "is_zero")]
    dropped: usize,
    #[serde(skip_serializing_if = "is_zero")]
    moved: usize,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    retired: Vec<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    waiting_for: Option<&'static str>,
    #[serde(flatten)]
    bytes: Option<Bytes>,
    #[serde(flatten)]
    drained: Option<Rows>,
}

/// A partition that failed.
#[derive(Debug, Serialize)]
struct Failure<'a> {
    partition: &'a str,
    sqlstate: String,
    error: String,
}

/// Of steps that copy.
#[derive(Debug, Serialize)]
struct Bytes {
    bytes_done: i64,
    bytes_total: i64,
}

/// Of the rows of a default partition.
#[derive(Debug, Serialize)]
struct Rows {
    action: &'static str,
    rows_moved: u64,
    rows_left: i64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero(count: &usize) -> bool {
    *count == 0
}

impl<'a> Detail<'a> {
    /// Of a run that has come so far.
    pub(super) fn of(outcome: &'a Outcome) -> Self {
        let done = |wanted: &'static [Action]| {
            outcome.done.iter().filter(move |(action, _)| wanted.contains(action))
        };
        let count = |wanted| done(wanted).count();
        let named = |wanted| done(wanted).map(|(_, name)| name.as_str()).take(LISTED).collect();
        Self {
            created: count(&[Action::Create]),
            failed: outcome.failed.len(),
            partitions: named(&[Action::Create]),
            failures: outcome.failed.iter().take(LISTED).map(Failure::of).collect(),
            detached: count(&[Action::Detach, Action::Finalize]),
            archived: count(&[Action::Archive]),
            dropped: count(&[Action::Drop]),
            moved: count(&[Action::Move]),
            retired: named(&[Action::Detach, Action::Finalize]),
            waiting_for: outcome
                .waits_for_place
                .then_some("a place for an archive or a copy: as many as may be are at work"),
            bytes: outcome.bytes.map(|(bytes_done, bytes_total)| Bytes { bytes_done, bytes_total }),
            drained: None,
        }
    }

    /// Of a run of `drain_default`.
    pub(super) fn of_drain(drained: &'a Drained) -> Self {
        let rows =
            Rows { action: "drain_default", rows_moved: drained.rows, rows_left: drained.left };
        Self { drained: Some(rows), ..Self::of(&drained.outcome) }
    }

    /// As the column takes it. Of keys that are texts serde_json makes JSON always.
    pub(super) fn json(&self) -> Value {
        serde_json::to_value(self).unwrap_or_default()
    }
}

impl<'a> Failure<'a> {
    fn of((partition, error): &'a (String, crate::error::Error)) -> Self {
        Self { partition, sqlstate: error.sqlstate(), error: error.recorded() }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::Detail;
    use crate::error::Error;
    use crate::partition::apply::Outcome;
    use crate::partition::range::Drained;
    use crate::partition::steps::Action;

    #[test]
    fn a_run_that_did_nothing_says_so_and_no_more() {
        let nothing = json!({"created": 0, "failed": 0, "partitions": [], "failures": []});
        assert_eq!(Detail::of(&Outcome::default()).json(), nothing);
    }

    #[test]
    fn what_was_done_is_counted_and_listed() {
        let outcome = Outcome {
            done: [
                (Action::Create, "a"),
                (Action::Detach, "b"),
                (Action::Finalize, "c"),
                (Action::Archive, "b"),
                (Action::Drop, "b"),
                (Action::Move, "d"),
            ]
            .map(|(action, name)| (action, name.to_owned()))
            .into(),
            failed: vec![("e".to_owned(), Error::NeedsWorker)],
            bytes: Some((1, 2)),
            waits_for_place: true,
            ..Outcome::default()
        };
        let wanted = json!({
            "created": 1, "failed": 1, "partitions": ["a"],
            "failures": [{
                "partition": "e",
                "sqlstate": Error::NeedsWorker.sqlstate(),
                "error": Error::NeedsWorker.recorded()
            }],
            "detached": 2, "archived": 1, "dropped": 1, "moved": 1, "retired": ["b", "c"],
            "waiting_for": "a place for an archive or a copy: as many as may be are at work",
            "bytes_done": 1, "bytes_total": 2
        });
        assert_eq!(Detail::of(&outcome).json(), wanted);
    }

    #[test]
    fn no_list_is_longer_than_a_hundred() {
        let outcome = Outcome {
            done: vec![(Action::Create, "a".to_owned()); 101],
            failed: vec![("e".to_owned(), Error::NeedsWorker); 102],
            ..Outcome::default()
        };
        let detail = Detail::of(&outcome).json();
        assert_eq!((&detail["created"], &detail["failed"]), (&json!(101), &json!(102)));
        for list in ["partitions", "failures"] {
            assert_eq!(detail[list].as_array().map(Vec::len), Some(100), "{list}");
        }
    }

    #[test]
    fn a_drain_says_what_became_of_the_rows() {
        let detail = Detail::of_drain(&Drained { rows: 3, left: 0, ..Drained::default() }).json();
        assert_eq!(detail["action"], "drain_default");
        assert_eq!((&detail["rows_moved"], &detail["rows_left"]), (&json!(3), &json!(0)));
    }
}
