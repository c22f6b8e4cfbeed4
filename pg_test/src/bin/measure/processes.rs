//! What a server's processes use, as the kernel counts it (proc(5)).

use std::fs;

use anyhow::{Context, Result};
use pg_test::cluster::Cluster;

/// Clock ticks a second in /proc/*/stat: USER_HZ, which is 100 on every Linux that Debian runs on.
const TICKS: f64 = 100.0;

/// A running server: the postmaster and its children.
pub(crate) struct Server {
    postmaster: u32,
}

/// The fields of /proc/PID/stat that count here.
struct Stat {
    parent: u32,
    /// Ticks of children that have ended, user and system.
    ended_children: u64,
}

impl Server {
    pub(crate) fn of(cluster: &Cluster) -> Result<Self> {
        Ok(Self { postmaster: cluster.postmaster_pid()? })
    }

    /// Every process of it.
    fn pids(&self) -> Vec<u32> {
        let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
        let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        pids.filter(|pid| {
            *pid == self.postmaster || stat(*pid).is_some_and(|stat| stat.parent == self.postmaster)
        })
        .collect()
    }

    /// How many processes it has.
    pub(crate) fn processes(&self) -> usize {
        self.pids().len()
    }

    /// CPU time used so far, also by processes that have ended since.
    pub(crate) fn cpu_seconds(&self) -> Result<f64> {
        let postmaster = stat(self.postmaster).context("the server is gone")?;
        let mut sum = postmaster.ended_children as f64 / TICKS;
        for pid in self.pids() {
            // To the nanosecond: an idle process uses less than a tick.
            let path = format!("/proc/{pid}/schedstat");
            let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
            let first = text.split_whitespace().next().and_then(|first| first.parse().ok());
            let nanoseconds: u64 = first.with_context(|| format!("{path} says {text:?}"))?;
            sum += nanoseconds as f64 / 1e9;
        }
        Ok(sum)
    }

    /// Memory in bytes, without shared_buffers and the like, which are full of whatever was read last;
    /// what else several processes share counts once (proportional set size).
    pub(crate) fn memory_bytes(&self) -> Result<f64> {
        let mut sum = 0.0;
        for pid in self.pids() {
            let path = format!("/proc/{pid}/smaps_rollup");
            let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
            sum += pss_kibibytes(&text)
                .with_context(|| format!("{path} names no Pss_Anon and Pss_File"))?
                * 1024.0;
        }
        Ok(sum)
    }
}

fn pss_kibibytes(rollup: &str) -> Option<f64> {
    let kibibytes = |name: &str| -> Option<f64> {
        let mut lines = rollup.lines();
        lines.find_map(|line| line.strip_prefix(name)?.trim().strip_suffix(" kB")?.parse().ok())
    };
    Some(kibibytes("Pss_Anon:")? + kibibytes("Pss_File:")?)
}

fn stat(pid: u32) -> Option<Stat> {
    parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

fn parse(line: &str) -> Option<Stat> {
    // "pid (name) state ppid …", and a name may hold anything.
    let (_, after_name) = line.rsplit_once(')')?;
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    let ticks = |index: usize| fields.get(index)?.parse::<u64>().ok();
    Some(Stat { parent: fields.get(1)?.parse().ok()?, ended_children: ticks(13)? + ticks(14)? })
}

#[cfg(test)]
mod tests {
    use super::{parse, pss_kibibytes};

    #[test]
    fn the_kernels_own_words() {
        let line =
            "42 (postgres: a) b) S 7 42 42 0 -1 4194560 900 0 0 0 11 5 300 20 20 0 1 0 9 8 7";
        let stat = parse(line).unwrap();
        assert_eq!((stat.parent, stat.ended_children), (7, 320));
        let rollup =
            "55 - 7f [rollup]\nRss:  1200 kB\nPss:    640 kB\nPss_Anon:  30 kB\nPss_File:  12 kB\n";
        assert_eq!(pss_kibibytes(rollup), Some(42.0));
    }
}
