//! What a kind of work gives the engine, and what the engine makes of it.

use serde_json::Value;

use crate::error::{Error, Result};
use crate::pg::transaction::Transactions;

/// A kind of work, each with a room of its own: `steward.job.kind`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Partitioned tables are kept complete, and what is old leaves them.
    Partition,
}

impl Kind {
    /// As it is stored.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Partition => "partition",
        }
    }

    /// Errors: it is of a version that knows more (0A000).
    pub(crate) fn parse(text: &str) -> Result<Self> {
        match text {
            "partition" => Ok(Self::Partition),
            _ => Err(Error::UnknownKind { kind: text.to_owned() }),
        }
    }
}

/// How a run stands, or ended: `steward.job_run.status`. `skipped` is for later versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Succeeded,
    Failed,
    Deferred,
    Cancelled,
    TimedOut,
}

impl Status {
    /// As it is stored.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Deferred => "deferred",
            Self::Cancelled => "cancelled",
            Self::TimedOut => "timed_out",
        }
    }
}

/// When a look at a job is made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Look {
    /// The instant, in microseconds since 2000-01-01 UTC.
    pub(crate) at: i64,
    /// What has failed and waits is tried again where it is due by then.
    pub(crate) retry_at: i64,
}

/// What a look at a job has found to do.
pub(crate) enum Planned {
    /// Nothing; this is how the run ends.
    Nothing(Ended),
    /// This.
    Task(Box<dyn Task>),
}

/// Work that has been planned.
pub(crate) trait Task {
    /// Whether some of it cannot be done in a procedure's transaction.
    fn needs_worker(&self) -> bool {
        false
    }

    /// Does it, in transactions of its own; `progress` shows in `job_runs.detail` how far it has come. Err: it
    /// could not even begin, or not go on; what single parts failed with is in [`Ended::error`].
    fn run(
        &self,
        transactions: &Transactions<'_>,
        progress: &dyn Fn(Value) -> Result<()>,
    ) -> Result<Ended>;
}

/// How a run ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// What went wrong, or why it was deferred.
    pub(crate) error: Option<Error>,
    /// Nothing was done, for a reason that is no failure.
    pub(crate) deferred: bool,
    /// When the job runs next.
    pub(crate) next: Next,
    /// `job_runs.detail`.
    pub(crate) detail: Value,
}

/// When a job runs next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Then, in microseconds since 2000-01-01 UTC; past failures are forgotten.
    At(i64),
    /// After a pause that grows with each failure in a row, but no later than the work is due again in any case.
    Retry {
        /// When that is; None: nobody knows.
        at_the_latest: Option<i64>,
    },
    /// As it was.
    Unchanged,
}

impl Ended {
    /// It could not be planned, or not be gone on with.
    pub(crate) fn failed(error: Error) -> Self {
        Self {
            error: Some(error),
            deferred: false,
            next: Next::Retry { at_the_latest: None },
            detail: Value::Object(serde_json::Map::new()),
        }
    }

    /// As `steward.job_run` has it. `deadline_passed`: max_runtime is over.
    pub(crate) fn status(&self, deadline_passed: bool) -> Status {
        match &self.error {
            None => Status::Succeeded,
            Some(_) if self.deferred => Status::Deferred,
            Some(error) if error.is_cancel() && deadline_passed => Status::TimedOut,
            Some(error) if error.is_cancel() => Status::Cancelled,
            Some(_) => Status::Failed,
        }
    }

    /// What a caller is told.
    pub(crate) fn result(self) -> Result<()> {
        match self.error {
            Some(error) if !self.deferred => Err(error),
            _ => Ok(()),
        }
    }
}
