//! Statements that take no notice of statement_timeout, nor of anything else.

use std::thread;
use std::time::{Duration, Instant};

use crate::round::Round;

/// How long the last statement of a round may take, whose statement_timeout is a few seconds.
const PATIENCE: Duration = Duration::from_secs(60);

const LONGEST: &str = "
SELECT pid, query FROM pg_stat_activity
 WHERE application_name LIKE 'fuzz session%' AND datname = current_database() AND state <> 'idle'
 ORDER BY query_start LIMIT 1";

/// Waits until the round is over and its sessions have ended; kills those that do not, with the whole server.
pub(crate) fn end_what_does_not_end(round: &Round<'_>) {
    let mut late_since = None;
    while !round.callers_are_done() {
        thread::sleep(Duration::from_millis(100));
        if round.goes_on() || late_since.get_or_insert_with(Instant::now).elapsed() < PATIENCE {
            continue;
        }
        late_since = None;
        let Ok(mut client) = round.cluster.connect(round.database) else { continue };
        let Ok(Some(row)) = client.query_opt(LONGEST, &[]) else { continue };
        let (pid, query): (i32, String) = (row.get(0), row.get(1));
        let example = format!("  {query}\n  in {}", round.name());
        round.findings.add("", "a statement that takes no notice of its timeout", &example);
        round.note_end(pid);
        if let Err(error) = round.cluster.kill(pid) {
            eprintln!("process {pid} cannot be killed: {error:#}");
        }
    }
}
