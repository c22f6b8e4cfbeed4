//! What helps, beside the message: facts, and the way out.

use pgrx::PgSqlErrorCode as Code;

use super::{Error, WhyReferenced};
use crate::pg::ident;

impl Error {
    /// Facts that help, beside the message.
    pub(crate) fn detail(&self) -> Option<String> {
        match self {
            Self::NotOwner { relation, owner } => {
                Some(format!("Table {relation} belongs to {owner}."))
            }
            Self::AlertResolved { resolved_at, .. } => {
                Some(format!("It was over at {resolved_at}."))
            }
            Self::StepsFailed { first, .. } | Self::JobsFailed { first, .. } => first.detail(),
            Self::Sql(error) => error.detail.clone(),
            _ => None,
        }
    }

    /// The way out.
    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            Self::NotPartitioned { relation, plain_table: true } => Some(format!(
                "Make it partitioned first: CREATE TABLE ... (LIKE {relation} INCLUDING ALL) \
                 PARTITION BY RANGE (...), or by HASH, then move the rows and swap the names."
            )),
            Self::NotPartitioned { .. } => {
                Some("Name a table that was created with PARTITION BY RANGE or BY HASH.".into())
            }
            Self::Temporary { .. } => {
                Some("Background workers cannot see another session's temporary tables.".into())
            }
            Self::OtherStrategy { strategy: "RANGE", wanted, .. } => Some(format!(
                "This call is for tables created with PARTITION BY {wanted}; manage_range() is for \
                 this one."
            )),
            Self::OtherStrategy { strategy: "HASH", wanted, .. } => Some(format!(
                "This call is for tables created with PARTITION BY {wanted}; manage_hash() is for \
                 this one."
            )),
            Self::OtherStrategy { wanted, .. } => {
                Some(format!("Name a table that was created with PARTITION BY {wanted}."))
            }
            Self::MultiColumnKey { .. } => Some(
                "Partition by one column that holds the time or the number, for example \
                 PARTITION BY RANGE (created_at)."
                    .into(),
            ),
            Self::ExpressionKey { .. } => Some(
                "Partition by a column itself, for example PARTITION BY RANGE (created_at) or \
                 HASH (tenant_id); a generated column cannot be a partition key."
                    .into(),
            ),
            Self::BoundTooFar { .. } => Some(
                "Detach the partition that ends there: numbers go to 10^40, texts to 128 bytes.".into(),
            ),
            Self::OperatorClass { .. } => Some(
                "Partition in the usual order of the type: leave the operator class out.".into(),
            ),
            Self::UnsupportedKeyType { .. } => Some(
                "Use timestamptz, timestamp, date, smallint, integer, bigint or numeric, or \
                 uuid, text or bytea with key_encoding 'uuidv7' or 'ulid'."
                    .into(),
            ),
            Self::InvalidArgument { hint, .. } => Some(hint.clone()),
            Self::UnknownTimeZone { .. } => Some(
                "Use a name of pg_timezone_names, for example 'Europe/Madrid' or 'UTC'.".into(),
            ),
            Self::TimeZoneGone { relation, .. } => Some(format!(
                "Install what has it (tzdata-legacy, where that is a package of its own), or name another: \
                 SELECT steward.alter_range({}, time_zone => 'Europe/Madrid');",
                ident::literal(relation)
            )),
            Self::NotOwner { owner, .. } => {
                Some(format!("Call it as {owner}, or as a member of that role."))
            }
            Self::TemplateOwner { template, owner, .. } => {
                Some(format!("ALTER TABLE {template} OWNER TO {owner};"))
            }
            Self::TemplateKind { .. } => {
                Some("Make one with CREATE TABLE ... (LIKE the parent).".into())
            }
            Self::AlreadyManaged { relation, call } => {
                let parent = ident::literal(relation);
                Some(format!(
                    "Change its policy with steward.{call}({parent}, ...), or call \
                     steward.unmanage({parent}) first."
                ))
            }
            Self::NotManaged { relation, call } => {
                Some(format!("Call steward.{call}({}) first.", ident::literal(relation)))
            }
            Self::NullArgument { .. } => {
                Some("Give it a value, or leave it out where it has a default.".into())
            }
            Self::LockNotAvailable { .. } => Some(
                "Try again when the sessions that hold it are done (see pg_locks), or raise \
                 pg_steward.lock_timeout."
                    .into(),
            ),
            Self::SetHoldsRows { .. } => Some(
                "The number of partitions can be changed while the set is empty. Else make a new \
                 table with as many as you want, and move the rows."
                    .into(),
            ),
            Self::OldSnapshot { .. } => Some("Call it in a READ COMMITTED transaction.".into()),
            Self::TooManyRemainders { .. } => {
                Some("A set of so many partitions has to be completed by hand.".into())
            }
            Self::NoSuchJob { .. } => Some("SELECT job_id, target FROM steward.jobs;".into()),
            Self::NoSuchAlert { .. } => {
                Some("SELECT alert_id, check_name, object FROM steward.alerts;".into())
            }
            Self::AlertResolved { .. } => Some("Nothing is left to be done; steward.alerts lists what is open.".into()),
            Self::ReadOnlyDatabase => Some(
                "Partitions are made all the same. What is too old leaves when the setting is off again."
                    .into(),
            ),
            Self::ReadOnly { .. } => Some(
                "SET default_transaction_read_only = off, or begin the transaction READ WRITE."
                    .into(),
            ),
            Self::OnStandby { .. } => Some("Call it on the primary.".into()),
            Self::InTransactionBlock { .. } => Some(
                "It commits after each step: call it outside BEGIN ... COMMIT and outside functions."
                    .into(),
            ),
            Self::TooManyMissed { .. } => Some(
                "Those behind the current period are not made. Choose a longer \
                 partition_interval or a later start_at, or make one partition by hand that ends \
                 where yours should begin."
                    .into(),
            ),
            Self::RowsInDefault { parent, .. } => {
                Some(format!("CALL steward.drain_default({});", ident::literal(parent)))
            }
            Self::ReferencedBy { referencing, .. } => Some(format!(
                "Rows that may be pointed to cannot leave: drop the foreign key of {referencing}. After \
                 drain_default() it can be added again."
            )),
            Self::DrainedLeaves { .. } => {
                Some("To keep it, call steward.clear_retention(), or set_retention() with more.".into())
            }
            Self::RetainedReferenced { referencing, why, .. } => Some(match why {
                WhyReferenced::RowsPoint => format!(
                    "It leaves when no row of {referencing} points into it any more: let those leave first, by a \
                     retention of their own, for example."
                ),
                WhyReferenced::OtherOwner => format!(
                    "To look for rows that point into it would run code of another owner: give {referencing} and \
                     its partitions to the owner of the set, or drop the foreign key."
                ),
                WhyReferenced::ByItself | WhyReferenced::ToItAlone => format!(
                    "Rows that others may point to cannot leave: drop the foreign key of {referencing}."
                ),
            }),
            Self::UnknownKind { .. } => Some(
                "A later version has made it: restart the server with that version's library, or delete the job."
                    .into(),
            ),
            Self::SlowToSee { referencing, .. } => Some(format!(
                "Everybody would wait for as long: create an index on the referencing columns of {referencing}, \
                 ANALYZE it, or raise pg_steward.lock_timeout."
            )),
            Self::KeysWithoutPeriod { .. } => Some(
                "Give them a key that says when, such as a finite time, or leave them there."
                    .into(),
            ),
            Self::RowsKept { default_partition, .. } => Some(format!(
                "Look for a rule or a row security policy on {default_partition} that keeps its \
                 owner from deleting rows."
            )),
            Self::PartitionChanged { .. } => Some("The next run looks at it anew.".into()),
            Self::NotArchived { .. } | Self::NoAnswer { .. } => Some(
                "The table stays, detached, and the function is called again later; CALL \
                 steward.maintain() calls it at once."
                    .into(),
            ),
            Self::FunctionOwner { function, owner, .. } => Some(format!(
                "It would run with the rights of {owner}: ALTER FUNCTION {function} OWNER TO {owner};"
            )),
            Self::MayNotRead { relation } => Some(format!(
                "Let the caller read it, with USAGE on its schema: GRANT SELECT ON {relation} TO ...;"
            )),
            Self::MayNotExecute { function, owner } => {
                Some(format!("GRANT EXECUTE ON FUNCTION {function} TO {};", ident::name(owner)))
            }
            Self::PartitionOwner { partition, owner, .. } => Some(format!(
                "It stays until it belongs to the owner of the set: ALTER TABLE {partition} OWNER TO {};",
                ident::name(owner)
            )),
            Self::NoSuchSchema { schema } => {
                Some(format!("CREATE SCHEMA {};", ident::name(schema)))
            }
            Self::NoSuchTablespace { .. } => {
                Some("SELECT spcname FROM pg_tablespace; lists those there are.".into())
            }
            Self::MayNotCreate { place, owner } => {
                Some(format!("Let it: GRANT CREATE ON {place} TO {owner};"))
            }
            Self::NoFreeWorker => Some(
                "DETACH ... CONCURRENTLY runs in one: try again, or raise max_worker_processes."
                    .into(),
            ),
            Self::NoFreePlace => Some(
                "Try again when one of them has ended (see steward.jobs), or raise \
                 pg_steward.max_concurrent_jobs."
                    .into(),
            ),
            Self::WorkerDied => Some("See the server log.".into()),
            Self::NeedsWorker => None,
            Self::StepsFailed { first, .. } | Self::JobsFailed { first, .. } => first.hint(),
            Self::Sql(error) => {
                error.hint.clone().or_else(|| Some(of_the_servers(error.code).to_owned()))
            }
            Self::NoSuchRelation { .. } => {
                Some("It was dropped meanwhile, or never was: pg_class has no such oid.".into())
            }
            Self::NoExtension => Some("CREATE EXTENSION pg_steward;".into()),
            Self::Query { .. } | Self::UnexpectedNull { .. } => None,
        }
    }
}

/// The way out of what the server says without one.
fn of_the_servers(code: Code) -> &'static str {
    match code {
        Code::ERRCODE_QUERY_CANCELED => {
            "Call it again; if it was statement_timeout that ended it, with a longer one."
        }
        Code::ERRCODE_T_R_SERIALIZATION_FAILURE => {
            "Somebody has changed the same thing meanwhile: try again, best in a READ COMMITTED transaction."
        }
        Code::ERRCODE_INSUFFICIENT_PRIVILEGE => {
            "Steps run as the owner of the set: GRANT it what was denied."
        }
        Code::ERRCODE_INVALID_OBJECT_DEFINITION | Code::ERRCODE_DUPLICATE_TABLE => {
            "Somebody made one at the same moment: the next try plans anew."
        }
        Code::ERRCODE_T_R_DEADLOCK_DETECTED => "Nothing of it remains: try again.",
        Code::ERRCODE_LOCK_NOT_AVAILABLE => {
            "Try again when the sessions that hold it are done (see pg_locks), or raise lock_timeout."
        }
        _ => "The server said so, or a function that it called: put that right, and call again.",
    }
}
