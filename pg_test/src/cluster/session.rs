//! A session that runs its statements in a thread, to see whether one waits for a lock.
//!
//! ```no_run
//! # use std::time::Duration;
//! # fn test(cluster: &pg_test::cluster::Cluster) -> anyhow::Result<()> {
//! const SOON: Duration = Duration::from_secs(10);
//! let mut holder = cluster.session("postgres")?;
//! holder.run("BEGIN; LOCK TABLE t IN ACCESS EXCLUSIVE MODE");
//! let mut other = cluster.session("postgres")?;
//! other.start("INSERT INTO t VALUES (1)");
//! other.wait_until_blocked(SOON); // the lock is really held
//! holder.run("COMMIT");
//! other.finish(SOON)?;
//! # Ok(()) }
//! ```

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError, channel};
use std::thread;
use std::time::Duration;

use anyhow::Result;
use postgres::{Client, SimpleQueryMessage};

use super::client::describe;
use super::server::Cluster;
use super::wait::wait_until;

/// What a statement came to.
pub type Outcome = std::result::Result<Vec<SimpleQueryMessage>, postgres::Error>;

/// Long enough for any statement that is not blocked.
const PATIENCE: Duration = Duration::from_secs(60);

/// One backend with at most one statement under way.
pub struct Session {
    statements: Sender<String>,
    outcomes: Receiver<Outcome>,
    early: Option<Outcome>,
    watcher: Client,
    pid: i32,
}

impl Cluster {
    /// A session of the superuser whose statements may block without blocking the test.
    pub fn session(&self, database: &str) -> Result<Session> {
        self.session_as(database, "postgres")
    }

    /// The same as any role that may log in.
    pub fn session_as(&self, database: &str, user: &str) -> Result<Session> {
        let mut client = self.connect_as(database, user)?;
        let pid = client.query_one("SELECT pg_backend_pid()", &[])?.get(0);
        let (statements, todo) = channel::<String>();
        let (done, outcomes) = channel();
        thread::spawn(move || {
            for sql in todo {
                if done.send(client.simple_query(&sql)).is_err() {
                    break;
                }
            }
        });
        let watcher = self.connect(database)?;
        Ok(Session { statements, outcomes, early: None, watcher, pid })
    }
}

impl Session {
    /// The backend's process id.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Sends statements and returns at once; [`Session::finish`] has what they came to.
    #[track_caller]
    pub fn start(&mut self, sql: &str) {
        if self.statements.send(sql.to_owned()).is_err() {
            panic!("the session's thread is gone");
        }
    }

    /// Runs statements to their end; panics if they fail.
    #[track_caller]
    pub fn run(&mut self, sql: &str) -> Vec<SimpleQueryMessage> {
        self.start(sql);
        match self.finish(PATIENCE) {
            Ok(messages) => messages,
            Err(error) => panic!("{}\nin: {sql}", describe(&error)),
        }
    }

    /// What the statements under way came to; panics if they are not done before the deadline.
    #[track_caller]
    pub fn finish(&mut self, deadline: Duration) -> Outcome {
        if let Some(outcome) = self.early.take() {
            return outcome;
        }
        match self.outcomes.recv_timeout(deadline) {
            Ok(outcome) => outcome,
            Err(RecvTimeoutError::Timeout) => panic!("a statement was not done in {deadline:?}"),
            Err(RecvTimeoutError::Disconnected) => panic!("the session's thread is gone"),
        }
    }

    /// Whether the statements under way are done.
    pub fn is_done(&mut self) -> bool {
        if self.early.is_none() {
            match self.outcomes.try_recv() {
                Ok(outcome) => self.early = Some(outcome),
                Err(TryRecvError::Empty) => return false,
                Err(TryRecvError::Disconnected) => panic!("the session's thread is gone"),
            }
        }
        true
    }

    /// Whether the backend waits for a heavyweight lock right now.
    pub fn is_blocked(&mut self) -> bool {
        self.watcher
            .query_one(
                "SELECT cardinality(pg_catalog.pg_blocking_pids($1)) > 0
                 AND EXISTS (SELECT FROM pg_catalog.pg_stat_activity
                             WHERE pid = $1 AND wait_event_type = 'Lock')",
                &[&self.pid],
            )
            .is_ok_and(|row| row.get(0))
    }

    /// Waits until the statement under way waits for a lock; panics if it does not, or ends.
    #[track_caller]
    pub fn wait_until_blocked(&mut self, deadline: Duration) {
        wait_until(deadline, "the session waits for a lock", || {
            assert!(!self.is_done(), "the statement was done: it did not wait for a lock");
            self.is_blocked()
        });
    }

    /// Sends statements again and again until they wait for a lock, for one that others hold or wait
    /// for only now and then; panics if they never do, or fail. [`Session::finish`] has what the last
    /// came to.
    #[track_caller]
    pub fn start_until_blocked(&mut self, sql: &str, deadline: Duration) {
        let mut under_way = false;
        wait_until(deadline, "the session waits for a lock", || {
            if !under_way {
                self.start(sql);
                under_way = true;
            }
            if !self.is_done() {
                return self.is_blocked();
            }
            if let Err(error) = self.finish(deadline) {
                panic!("{}\nin: {sql}", describe(&error));
            }
            under_way = false;
            false
        });
    }
}
