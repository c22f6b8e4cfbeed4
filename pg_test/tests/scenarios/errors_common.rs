//! What the tests of refusals share.

use pg_test::cluster::Ask;
use postgres::Client;
use postgres::error::DbError;

/// Nothing of a refused call remains: no policy, no job, no run, no partition.
#[track_caller]
pub(crate) fn assert_nothing_remains(client: &mut Client) {
    for (what, count) in [
        ("policies", "SELECT count(*) FROM steward.range_policy"),
        ("jobs", "SELECT count(*) FROM steward.job"),
        ("runs", "SELECT count(*) FROM steward.job_run"),
        ("partitions", "SELECT count(*) FROM pg_inherits"),
    ] {
        assert_eq!(client.value::<i64>(count), 0, "{what} remain");
    }
}

/// The message names `object`, and the hint holds `hint`.
#[track_caller]
pub(crate) fn assert_says(refusal: &DbError, object: &str, hint: &str) {
    assert!(refusal.message().contains(object), "{refusal} does not name {object}");
    let given = refusal.hint().unwrap_or("no hint");
    assert!(given.contains(hint), "{refusal}\nhint: {given}\nlacks: {hint}");
}

/// What stands in a hint from `start` to the first `end` after it, both included.
#[track_caller]
pub(crate) fn hinted(refusal: &DbError, start: &str, end: &str) -> String {
    let hint = refusal.hint().unwrap_or_default();
    let Some(from) = hint.find(start) else { panic!("no {start} in hint: {hint}") };
    let Some(length) = hint[from..].find(end) else { panic!("no {end} after it in hint: {hint}") };
    hint[from..from + length + end.len()].to_owned()
}

/// A set that is managed.
pub(crate) const BETS: &str = "CREATE TABLE bets (at timestamptz NOT NULL) PARTITION BY RANGE (at);
     SELECT steward.manage_range('bets', '1 day')";
