//! One error type: what happened, with its SQLSTATE, message, detail and hint.
//!
//! Messages follow PostgreSQL's style guide (chapter "Error Message Style Guide"): lower case, names
//! quoted, no full stop; details and hints are sentences.

mod help;

use pgrx::PgSqlErrorCode as Code;
use pgrx::pg_sys::panic::ErrorReport;

use crate::pg::subtransaction::SqlError;

/// Why a period cannot leave that a foreign key points to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WhyReferenced {
    /// Rows point into it.
    RowsPoint,
    /// To look would run code of whoever owns the referencing table.
    OtherOwner,
    /// The set refers to itself.
    ByItself,
    /// The key points to that partition alone.
    ToItAlone,
}

/// What can go wrong, in users' terms. Names are already readable: `public.bets`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Error {
    #[error("relation with OID {oid} does not exist")]
    NoSuchRelation { oid: u32 },
    #[error("{} is not a partitioned table", quoted(relation))]
    NotPartitioned { relation: String, plain_table: bool },
    #[error("{} is partitioned by {}, not by {}", quoted(relation), strategy.to_lowercase(), wanted.to_lowercase())]
    OtherStrategy { relation: String, strategy: &'static str, wanted: &'static str },
    #[error("{} is a temporary table", quoted(relation))]
    Temporary { relation: String },
    #[error("partition key of {} has {columns} columns", quoted(relation))]
    MultiColumnKey { relation: String, columns: i16 },
    #[error("partition key of {} is an expression", quoted(relation))]
    ExpressionKey { relation: String },
    #[error("a bound of {} is too long to be a key", quoted(relation))]
    BoundTooFar { relation: String },
    #[error("partition key of {} uses operator class {operator_class}", quoted(relation))]
    OperatorClass { relation: String, operator_class: String },
    #[error(
        "partition key of {} has type {key_type}, which pg_steward cannot read",
        quoted(relation)
    )]
    UnsupportedKeyType { relation: String, key_type: String },
    #[error("invalid {argument} for {}: {problem}", quoted(relation))]
    InvalidArgument { relation: String, argument: &'static str, problem: String, hint: String },
    #[error("argument {argument} must not be NULL")]
    NullArgument { argument: &'static str },
    #[error("time zone \"{name}\" not recognized")]
    UnknownTimeZone { name: String },
    #[error("time zone \"{name}\" of {relation} is not known any more")]
    TimeZoneGone { relation: String, name: String },
    #[error("must be owner of table {relation}")]
    NotOwner { relation: String, owner: String },
    #[error(
        "template {} belongs to {template_owner}, not to the owner of {}",
        quoted(template),
        quoted(relation)
    )]
    TemplateOwner { relation: String, template: String, template_owner: String, owner: String },
    #[error("template {} is not an ordinary table", quoted(template))]
    TemplateKind { template: String },
    #[error("{} is already managed by pg_steward", quoted(relation))]
    AlreadyManaged { relation: String, call: &'static str },
    #[error("{} is not managed by pg_steward", quoted(relation))]
    NotManaged { relation: String, call: &'static str },
    #[error("{} holds rows in {partitions} partitions", quoted(relation))]
    SetHoldsRows { relation: String, partitions: u32 },
    #[error("this transaction does not see whether {} is empty now", quoted(relation))]
    OldSnapshot { relation: String },
    #[error("{} has partitions of modulus {modulus}, more than {most}", quoted(relation))]
    TooManyRemainders { relation: String, modulus: u32, most: u32 },
    #[error("job {job_id} does not exist")]
    NoSuchJob { job_id: i64 },
    #[error("alert {alert_id} does not exist")]
    NoSuchAlert { alert_id: i64 },
    #[error("alert {alert_id} is resolved")]
    AlertResolved { alert_id: i64, resolved_at: String },
    #[error("cannot execute {action} on a standby")]
    OnStandby { action: &'static str },
    #[error("cannot execute {action} in a read-only transaction")]
    ReadOnly { action: &'static str },
    #[error("default_transaction_read_only is on in this database: nothing is taken away from it")]
    ReadOnlyDatabase,
    #[error("this database has no extension pg_steward")]
    NoExtension,
    #[error("{procedure} cannot run inside a transaction block")]
    InTransactionBlock { procedure: &'static str },
    #[error(
        "{rows} row(s) of {} belong into the new partition {partition}",
        quoted(default_partition)
    )]
    RowsInDefault { parent: String, default_partition: String, partition: String, rows: i64 },
    #[error(
        "{followed} of {rows} row(s) of {} could be moved to {partition}",
        quoted(default_partition)
    )]
    RowsKept { default_partition: String, partition: String, rows: u64, followed: u64 },
    #[error(
        "{nulls} row(s) with a NULL key and {unreadable} row(s) whose key no period holds stay in {}",
        quoted(default_partition)
    )]
    KeysWithoutPeriod { default_partition: String, nulls: i64, unreadable: i64 },
    #[error(
        "it lies wholly past what is kept ({keep}), and leaves the set at the next maintenance"
    )]
    DrainedLeaves { keep: String },
    #[error("{} lacks more than {most} partitions from {from} on", quoted(relation))]
    TooManyMissed { relation: String, from: String, most: usize },
    #[error(
        "could not lock {}, or a table that goes with it, within {milliseconds} ms",
        quoted(relation)
    )]
    LockNotAvailable { relation: String, milliseconds: i32 },
    #[error("job kind \"{kind}\" is not known")]
    UnknownKind { kind: String },
    #[error("{} is referenced by foreign keys of {}", quoted(relation), quoted(referencing))]
    ReferencedBy { relation: String, referencing: String },
    #[error("{} is referenced by foreign keys of {}", quoted(relation), quoted(referencing))]
    RetainedReferenced { relation: String, referencing: String, why: WhyReferenced },
    #[error(
        "whether {} still refers to {} could not be seen within {milliseconds} ms",
        quoted(referencing),
        quoted(partition)
    )]
    SlowToSee { partition: String, referencing: String, milliseconds: i32 },
    #[error("{} was renamed, attached or dropped meanwhile", quoted(partition))]
    PartitionChanged { partition: String },
    #[error(
        "the archive function did not say true for {}, but {}",
        quoted(partition),
        match answer { None => "NULL", Some(_) => "false" }
    )]
    NotArchived { partition: String, answer: Option<bool> },
    #[error("the archive function gave no answer for {}: its process was ended", quoted(partition))]
    NoAnswer { partition: String },
    #[error("function {function} belongs to {function_owner}")]
    FunctionOwner { relation: String, function: String, function_owner: String, owner: String },
    #[error("permission denied for table {relation}")]
    MayNotRead { relation: String },
    #[error("{owner} may not execute function {function}")]
    MayNotExecute { function: String, owner: String },
    #[error("{} belongs to {partition_owner}", quoted(partition))]
    PartitionOwner { partition: String, partition_owner: String, owner: String },
    #[error("schema \"{schema}\" does not exist")]
    NoSuchSchema { schema: String },
    #[error("tablespace \"{tablespace}\" does not exist")]
    NoSuchTablespace { tablespace: String },
    #[error("{owner} may not create in {place}")]
    MayNotCreate { place: String, owner: String },
    #[error("no free background worker")]
    NoFreeWorker,
    #[error("as many jobs as may be are at work already")]
    NoFreePlace,
    #[error("the background worker ended before it was done")]
    WorkerDied,
    #[error("this has to run in a background worker")]
    NeedsWorker,
    #[error("{failed} of {steps} steps failed; the first: {first}")]
    StepsFailed { failed: usize, steps: usize, first: Box<Error> },
    #[error("{failed} of {jobs} jobs failed; the first: {first}")]
    JobsFailed { failed: usize, jobs: usize, first: Box<Error> },
    #[error("{}", .0.message)]
    Sql(SqlError),
    #[error("internal query failed: {message}")]
    Query { message: String },
    #[error("internal query gave NULL in column {column}")]
    UnexpectedNull { column: usize },
}

/// A relation's name as messages show it: in quotes, unless it carries SQL's own.
fn quoted(name: &str) -> String {
    if name.contains('"') { name.to_owned() } else { format!("\"{name}\"") }
}

/// Everything fallible here returns this.
pub(crate) type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// The SQLSTATE a client sees and `job_runs.sqlstate` holds.
    pub(crate) fn code(&self) -> Code {
        match self {
            Self::NoSuchRelation { .. } => Code::ERRCODE_UNDEFINED_TABLE,
            Self::NotPartitioned { .. }
            | Self::Temporary { .. }
            | Self::OtherStrategy { .. }
            | Self::TemplateKind { .. } => Code::ERRCODE_WRONG_OBJECT_TYPE,
            Self::MultiColumnKey { .. }
            | Self::ExpressionKey { .. }
            | Self::OperatorClass { .. }
            | Self::BoundTooFar { .. }
            | Self::SetHoldsRows { .. }
            | Self::OldSnapshot { .. }
            | Self::PartitionChanged { .. }
            | Self::NotArchived { .. }
            | Self::WorkerDied
            | Self::NeedsWorker
            | Self::RowsKept { .. }
            | Self::AlertResolved { .. }
            | Self::OnStandby { .. } => Code::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            Self::UnsupportedKeyType { .. }
            | Self::InvalidArgument { .. }
            | Self::UnknownTimeZone { .. }
            | Self::TimeZoneGone { .. } => Code::ERRCODE_INVALID_PARAMETER_VALUE,
            Self::NotOwner { .. }
            | Self::TemplateOwner { .. }
            | Self::FunctionOwner { .. }
            | Self::MayNotExecute { .. }
            | Self::MayNotRead { .. }
            | Self::PartitionOwner { .. }
            | Self::MayNotCreate { .. } => Code::ERRCODE_INSUFFICIENT_PRIVILEGE,
            Self::AlreadyManaged { .. } => Code::ERRCODE_DUPLICATE_OBJECT,
            Self::NotManaged { .. }
            | Self::NoSuchJob { .. }
            | Self::NoSuchAlert { .. }
            | Self::NoSuchTablespace { .. }
            | Self::NoExtension => Code::ERRCODE_UNDEFINED_OBJECT,
            Self::ReadOnly { .. } | Self::ReadOnlyDatabase => {
                Code::ERRCODE_READ_ONLY_SQL_TRANSACTION
            }
            Self::NoSuchSchema { .. } => Code::ERRCODE_INVALID_SCHEMA_NAME,
            Self::NoFreeWorker | Self::NoFreePlace => Code::ERRCODE_CONFIGURATION_LIMIT_EXCEEDED,
            Self::InTransactionBlock { .. } => Code::ERRCODE_ACTIVE_SQL_TRANSACTION,
            Self::TooManyMissed { .. } | Self::TooManyRemainders { .. } => {
                Code::ERRCODE_PROGRAM_LIMIT_EXCEEDED
            }
            Self::NullArgument { .. } => Code::ERRCODE_NULL_VALUE_NOT_ALLOWED,
            Self::NoAnswer { .. } => Code::ERRCODE_ADMIN_SHUTDOWN,
            Self::LockNotAvailable { .. } => Code::ERRCODE_LOCK_NOT_AVAILABLE,
            Self::RowsInDefault { .. } => Code::ERRCODE_CHECK_VIOLATION,
            Self::DrainedLeaves { .. } => Code::ERRCODE_WARNING,
            Self::KeysWithoutPeriod { .. } => Code::ERRCODE_DATA_EXCEPTION,
            Self::UnknownKind { .. } => Code::ERRCODE_FEATURE_NOT_SUPPORTED,
            Self::SlowToSee { .. } => Code::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            Self::ReferencedBy { .. } | Self::RetainedReferenced { .. } => {
                Code::ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST
            }
            Self::StepsFailed { first, .. } | Self::JobsFailed { first, .. } => first.code(),
            Self::Sql(error) => error.code,
            Self::Query { .. } | Self::UnexpectedNull { .. } => Code::ERRCODE_INTERNAL_ERROR,
        }
    }

    /// The five characters that are written down: those of [`Error::code`], or what somebody's own
    /// function raised.
    pub(crate) fn sqlstate(&self) -> String {
        let packed = match self {
            Self::StepsFailed { first, .. } | Self::JobsFailed { first, .. } => {
                return first.sqlstate();
            }
            Self::Sql(error) => error.packed_sqlstate,
            _ => self.code() as i32,
        };
        // MAKE_SQLSTATE of src/include/utils/elog.h: six bits a character, the first lowest.
        (0..5).map(|place| char::from((((packed >> (6 * place)) & 0x3f) as u8) + b'0')).collect()
    }

    /// The message as it is written down. What somebody's own function raises may be of any length.
    pub(crate) fn recorded(&self) -> String {
        const LONGEST: usize = 9_997; // characters, and three dots
        let mut message = self.to_string();
        if let Some((end, _)) = message.char_indices().nth(LONGEST) {
            message.truncate(end);
            message.push_str("...");
        }
        message
    }

    /// Whether somebody asked us to stop: a cancel or a statement timeout.
    pub(crate) fn is_cancel(&self) -> bool {
        self.code() == Code::ERRCODE_QUERY_CANCELED
    }

    /// Whether trying again soon may help: a lock not had in time, or a deadlock broken.
    pub(crate) fn is_lock_trouble(&self) -> bool {
        matches!(
            self.code(),
            Code::ERRCODE_LOCK_NOT_AVAILABLE | Code::ERRCODE_T_R_DEADLOCK_DETECTED
        )
    }

    /// Whether the server could not read a value: class 22, data exception; or 0A000, what it says of an infinite one
    /// (numeric.c, "cannot convert infinity to integer"). Anything else, a cancel say, tells nothing of the value.
    pub(crate) fn is_about_value(&self) -> bool {
        // ERRCODE_TO_CATEGORY of src/include/utils/elog.h.
        const CATEGORY: i32 = (1 << 12) - 1;
        let category = self.code() as i32 & CATEGORY;
        category == Code::ERRCODE_DATA_EXCEPTION as i32 & CATEGORY
            || self.code() == Code::ERRCODE_FEATURE_NOT_SUPPORTED
    }

    /// In the place of an error about a value what `make` says of it; any other stays.
    pub(crate) fn about_value(self, make: impl FnOnce() -> Self) -> Self {
        if self.is_about_value() { make() } else { self }
    }

    /// Whether somebody changed, in the meantime, what a REPEATABLE READ transaction works on.
    pub(crate) fn is_overtaken(&self) -> bool {
        self.code() == Code::ERRCODE_T_R_SERIALIZATION_FAILURE
    }

    /// Says on what a lock was not had; the server's own message does not.
    pub(crate) fn naming_lock(self, relation: &str, milliseconds: i32) -> Self {
        match self.code() {
            Code::ERRCODE_LOCK_NOT_AVAILABLE => {
                Self::LockNotAvailable { relation: relation.to_owned(), milliseconds }
            }
            _ => self,
        }
    }
}

impl From<pgrx::spi::Error> for Error {
    fn from(error: pgrx::spi::Error) -> Self {
        Self::Query { message: error.to_string() }
    }
}

impl From<Error> for ErrorReport {
    #[track_caller]
    fn from(error: Error) -> Self {
        let mut report = Self::new(error.code(), error.to_string(), "pg_steward");
        if let Some(detail) = error.detail() {
            report = report.set_detail(detail);
        }
        if let Some(hint) = error.hint() {
            report = report.set_hint(hint);
        }
        report
    }
}
