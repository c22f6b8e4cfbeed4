//! How much memory the server's processes have for themselves.

use std::fs;

use pg_test::cluster::Cluster;

use crate::findings::Findings;

/// Far more than a session or worker needs in a zoo of a few hundred tables.
const MOST_KB: u64 = 400 * 1024;

/// Looks at every process of the server's that is there just now.
pub(crate) fn look(cluster: &Cluster, findings: &Findings) {
    let Ok(mut client) = cluster.connect("postgres") else { return };
    let Ok(rows) =
        client.query("SELECT pid, backend_type, application_name FROM pg_stat_activity", &[])
    else {
        return;
    };
    for row in rows {
        let (pid, kind, application): (i32, String, String) = (row.get(0), row.get(1), row.get(2));
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let own = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
        let kilobytes: u64 =
            own.and_then(|text| text.split_whitespace().next()?.parse().ok()).unwrap_or_default();
        if kilobytes > MOST_KB {
            findings.add(
                "",
                &format!("a process of kind {kind} has more than {MOST_KB} kB"),
                &format!("{application}: {kilobytes} kB"),
            );
        }
    }
}
