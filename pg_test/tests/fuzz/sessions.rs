//! A session that calls, as somebody, under some settings; then as somebody else under others.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use pg_test::cluster::{Cluster, sqlstate};
use postgres::Client;

use crate::chance::Chance;
use crate::pool::Pool;
use crate::round::Round;
use crate::shapes::{Statement, shape};
use crate::verdict::{is_ours, judge, told};

/// Every session's, so that DDL finds it.
pub(crate) const APPLICATION: &str = "fuzz session";

/// No statement takes longer than its statement_timeout and this, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// How many statements of a session's are told with a failure.
const REMEMBERED: usize = 24;

const USERS: [&str; 12] = [
    "postgres", "postgres", "postgres", "postgres", "app", "app", "app", "app", "app", "other",
    "watcher", "nobody",
];

const SETTINGS: &[&str] = &[
    "DateStyle = 'german'",
    "DateStyle = 'SQL, DMY'",
    "IntervalStyle = 'sql_standard'",
    "IntervalStyle = 'iso_8601'",
    "TimeZone = 'Pacific/Apia'",
    "TimeZone = '<+0530>-5:30'",
    "TimeZone = 'UTC+3'",
    "TimeZone = '100'",
    "TimeZone = 'Europe/Madrid'",
    "TimeZone = 'America/St_Johns'",
    "search_path = ''",
    "search_path = evil, pg_catalog",
    "search_path = pg_temp, evil, steward",
    "row_security = off",
    "default_transaction_read_only = on",
    "default_transaction_isolation = 'serializable'",
    "default_transaction_isolation = 'repeatable read'",
    "default_transaction_deferrable = on",
    "session_replication_role = replica",
    "statement_timeout = '1ms'",
    "statement_timeout = '20ms'",
    "statement_timeout = '150ms'",
    "lock_timeout = '1ms'",
    "lock_timeout = '30ms'",
    "pg_steward.lock_timeout = '10ms'",
    // Not debug5, under which a subtransaction that is rolled back tells so: a cancel at that moment leaves it
    // behind, and ends the session (xact.c, CleanupSubTransaction), PL/pgSQL's just as ours.
    "client_min_messages = debug4",
    "client_min_messages = error",
    "standard_conforming_strings = off",
    "backslash_quote = on",
    "escape_string_warning = on",
    "quote_all_identifiers = on",
    "transform_null_equals = on",
    "array_nulls = off",
    "extra_float_digits = -15",
    "bytea_output = 'escape'",
    "default_tablespace = 'cold'",
    "default_table_access_method = 'heap'",
    "default_toast_compression = 'lz4'",
    "max_stack_depth = '100kB'",
    "work_mem = '64kB'",
    "jit = on; SET jit_above_cost = 0",
    "plan_cache_mode = force_generic_plan",
    "enable_seqscan = off",
    "enable_partition_pruning = off",
    "constraint_exclusion = on",
    "check_function_bodies = off",
    "synchronous_commit = off",
    "idle_in_transaction_session_timeout = '1s'",
    "ROLE app",
    "SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
    "debug_print_plan = off",
    "force_parallel_mode = on",
    "debug_parallel_query = on",
    "xmlbinary = hex",
    "lc_messages = 'C'",
    "lc_monetary = 'C'",
    "application_name = 'fuzz session %m %s'",
];

/// One connection: who it is, what it has set, and what it said last.
struct Episode<'a> {
    round: &'a Round<'a>,
    client: Client,
    pid: i32,
    who: String,
    said: VecDeque<String>,
}

/// What a statement came to.
enum Said {
    Well,
    Refused,
    /// The connection is no more.
    Gone,
}

/// Calls until the round is over; gives the number of calls.
pub(crate) fn call_until_the_end(round: &Round<'_>, number: u64) -> usize {
    let mut chance = round.chance(number);
    let mut pool = Pool::default();
    let mut calls = 0;
    while round.goes_on() {
        let Some(mut episode) = Episode::begin(round, &mut chance) else { continue };
        // The pool is the superuser's: names are no secret here.
        if let Ok(mut client) = round.cluster.connect(round.database) {
            pool.look(&mut client);
        }
        for _ in 0..5 + chance.below(40) {
            let statements = shape(&mut chance, |chance| round.surface.call(chance, &pool));
            calls += statements.iter().filter(|statement| statement.call.is_some()).count();
            if !round.goes_on() || !episode.say_all(&mut chance, &statements) {
                break;
            }
        }
    }
    calls
}

impl<'a> Episode<'a> {
    fn begin(round: &'a Round<'a>, chance: &mut Chance) -> Option<Self> {
        let user = chance.pick(&USERS);
        let (client, pid) = connect(round.cluster, round.database, user)?;
        let mut episode = Self { round, client, pid, who: user.to_owned(), said: VecDeque::new() };
        episode.set_up(&format!("SET application_name = '{APPLICATION}'"));
        episode.set_up("SET statement_timeout = '4s'");
        if chance.one_in(4) {
            episode.set_up("CREATE TEMP TABLE passing (k timestamptz) PARTITION BY RANGE (k)");
        }
        for _ in 0..chance.below(4) {
            episode.set_up(&format!("SET {}", chance.pick(SETTINGS)));
        }
        Some(episode)
    }

    /// What not everybody may set, or not every major has, is left.
    fn set_up(&mut self, sql: &str) {
        if self.client.simple_query(sql).is_ok() {
            self.remember(sql);
        }
    }

    fn remember(&mut self, sql: &str) {
        if self.said.len() == REMEMBERED {
            self.said.remove(5);
        }
        self.said.push_back(format!("{sql};"));
    }

    /// Says all, but mostly no further call once one has failed: what is refused for that tells nothing.
    /// False: this connection is gone.
    fn say_all(&mut self, chance: &mut Chance, statements: &[Statement]) -> bool {
        let mut all_well = true;
        for statement in statements {
            if !all_well && statement.call.is_some() && !chance.one_in(8) {
                continue;
            }
            match self.say(statement) {
                Said::Well => {}
                Said::Refused => all_well = false,
                Said::Gone => return false,
            }
        }
        true
    }

    fn say(&mut self, statement: &Statement) -> Said {
        let started = Instant::now();
        let outcome = self.client.simple_query(&statement.sql);
        let took = started.elapsed();
        self.remember(&statement.sql);
        if took > PATIENCE {
            self.found("", &format!("a statement that took {} s", took.as_secs()), "", statement);
        }
        if statement.call.is_some() {
            self.round.findings.count(outcome.as_ref().err().map_or("00000", sqlstate));
        }
        let Err(error) = outcome else { return Said::Well };
        let Some(refusal) = error.as_db_error() else { return self.is_gone(&error, statement) };
        let state = sqlstate(&error);
        let is_dropped_under_it = state == "XX000"
            && !is_ours(refusal)
            && ["could not open relation with OID", "cache lookup failed for"]
                .iter()
                .any(|start| refusal.message().starts_with(start))
            && self.round.was_just_dropped();
        if is_dropped_under_it {
            return Said::Refused;
        }
        match (&statement.call, judge(refusal, &statement.sql, self.round.listed)) {
            (Some(call), Some(wrong))
                if !call.is_helper || state.starts_with("XX") || is_ours(refusal) =>
            {
                let kind = format!("{wrong}: {} ({})", refusal.message(), call.of);
                self.found(state, &kind, &told(refusal), statement);
            }
            (None, Some("an internal error")) => {
                self.found(
                    state,
                    &format!("an internal error: {}", refusal.message()),
                    &told(refusal),
                    statement,
                );
            }
            _ => {}
        }
        // A session that is ended is told so with severity FATAL.
        if refusal.severity() == "FATAL" { Said::Gone } else { Said::Refused }
    }

    /// Without a word: somebody ended this session while it was idle, or the server is in trouble.
    fn is_gone(&self, error: &postgres::Error, statement: &Statement) -> Said {
        // One that waits too long within a transaction is ended, too.
        let ended = self.round.was_ended(self.pid)
            || self.said.iter().any(|said| said.contains("idle_in_transaction_session_timeout"));
        if !ended {
            self.found("", &format!("a connection lost: {error}"), "", statement);
        }
        Said::Gone
    }

    fn found(&self, state: &str, kind: &str, told: &str, statement: &Statement) {
        let said: Vec<&str> = self.said.iter().map(String::as_str).collect();
        let example = format!(
            "  {told}\n  in: {}\n  as {} in {}, which said before:\n{}\n",
            statement.sql,
            self.who,
            self.round.name(),
            said.join("\n")
        );
        self.round.findings.add(state, kind, &example);
    }
}

fn connect(cluster: &Cluster, database: &str, user: &str) -> Option<(Client, i32)> {
    let Ok(mut client) = cluster.connect_as(database, user) else {
        // Too many for the moment, or somebody has just ended it.
        std::thread::sleep(Duration::from_millis(100));
        return None;
    };
    let pid = client.query_one("SELECT pg_backend_pid()", &[]).ok()?.try_get(0).ok()?;
    Some((client, pid))
}
