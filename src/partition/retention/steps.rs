//! From facts and decisions to steps.

use std::collections::HashMap;
use std::ffi::CStr;

use super::catalog::{self, RetiredPartition};
use super::plan::{self, Case, Phase, Standing};
use super::{references, relocation, tiering};
use crate::error::{Error, Result, WhyReferenced};
use crate::partition::range::{Past, Period, Retention, RetentionAction};
use crate::partition::steps::{Action, Reference, Step, Work};
use crate::partition::table::name;
use crate::pg::ident::{self, Qualified};
use crate::pg::{Oid, encoding, identity, transaction};

/// Adds to a set's work what its retention and tiering ask for, oldest period first. An archive
/// function that has failed is asked again when that is due at `retry_at`.
pub(crate) fn extend(work: &mut Work, retry_at: i64) -> Result<()> {
    let Some(past) = work.past.take() else { return Ok(()) };
    let mut due_again_at = work.due_again_at;
    if let Some(next) = past.next_at {
        due_again_at = due_again_at.min(next);
    }
    // The names and the state of now, when the set's lock was had.
    let found = transaction::with_latest_snapshot(|| -> Result<_> {
        let leaving = match past.retention.is_some() || past.is_pending {
            true => catalog::leaving(work.parent)?,
            false => Vec::new(),
        };
        let expired: Vec<&Period> = expired(&past)
            // One that is half detached already stands among those that are leaving.
            .filter(|period| !leaving.iter().any(|each| each.oid == period.oid))
            .collect();
        let mut steps = Vec::new();
        if !(leaving.is_empty() && expired.is_empty()) {
            let missing = || Error::NoSuchRelation { oid: ident::oid_number(work.parent) };
            let set = name(work.parent)?.ok_or_else(missing)?;
            let referenced = catalog::referenced(work.parent)?;
            let drafting = StepBuilder { work, past: &past, set, retry_at, referenced };
            steps.extend(drafting.leaving(&leaving, &mut due_again_at)?);
            steps.extend(drafting.expired(&expired)?);
        }
        steps.extend(tiering::steps(work, &past)?);
        Ok(steps)
    })?;
    work.steps.extend(found);
    work.due_again_at = due_again_at;
    work.past = Some(past);
    Ok(())
}

/// How the statement ends that detaches by itself, in two transactions.
const CONCURRENTLY: &str = " CONCURRENTLY;";

/// A period with something to be done to it.
struct Subject<'a> {
    oid: Oid,
    name: &'a Qualified,
    upper: &'a str,
    case: Case,
    /// Statements that bring it to where it is kept.
    relocation: relocation::Statements,
    foreign_table: bool,
    /// What points to the set.
    references: Vec<Reference>,
}

struct StepBuilder<'a> {
    work: &'a Work,
    past: &'a Past,
    set: Qualified,
    retry_at: i64,
    /// Tables that the set's foreign keys point to.
    referenced: Vec<String>,
}

impl StepBuilder<'_> {
    /// Steps for periods that have been on their way already.
    fn leaving(&self, found: &[RetiredPartition], due_again_at: &mut i64) -> Result<Vec<Step>> {
        let mut relocation = relocation::Relocation::default();
        let foreign = catalog::foreign_tables(found.iter().map(|each| each.oid).collect())?;
        let mut steps = Vec::new();
        for each in found {
            let case = self.case_of(each);
            if let Some(ask_at) = each.ask_at.filter(|_| !case.may_ask && case.expired) {
                *due_again_at = (*due_again_at).min(ask_at);
            }
            let mut subject = Subject {
                oid: each.oid,
                name: &each.name,
                upper: &each.upper,
                case,
                relocation: relocation::Statements::default(),
                foreign_table: foreign.contains(&each.oid),
                references: Vec::new(),
            };
            if each.fate == Some(RetentionAction::Detach) {
                subject.relocation = relocation.of(each.oid, each.to_schema.as_deref())?;
                subject.case.relocates = !subject.relocation.is_empty();
            }
            steps.extend(self.steps(&subject, None)?);
        }
        Ok(steps)
    }

    fn case_of(&self, each: &RetiredPartition) -> Case {
        let retention = self.past.retention.as_ref();
        let same = retention.is_some_and(|policy| Some(policy.fate) == each.fate);
        Case {
            standing: each.standing,
            fate: each.fate,
            expired: same && plan::leaves(each.ends, false, self.past.horizon, self.past.position),
            needs_archive: retention.is_some_and(|policy| policy.archive_function.is_some()),
            archived: each.archived,
            may_ask: each.ask_at.is_none_or(|at| at <= self.retry_at),
            relocates: false,
        }
    }

    /// Steps for partitions whose time has come.
    fn expired(&self, expired: &[&Period]) -> Result<Vec<Step>> {
        let Some(policy) = &self.past.retention else { return Ok(Vec::new()) };
        let oids: Vec<Oid> = expired.iter().map(|period| period.oid).collect();
        let foreign = catalog::foreign_tables(oids.clone())?;
        let alone = catalog::referencing(oids.clone())?;
        let (references, kept) = match references::of(&self.set, self.work.parent, self.work.owner)?
        {
            Ok(references) => (references, None),
            Err(error) => (Vec::new(), Some(error)),
        };
        let others = match (policy.fate, &policy.to_schema) {
            (RetentionAction::Detach, None) => HashMap::new(),
            (fate, _) => catalog::others(oids, self.work.owner, fate == RetentionAction::Drop)?,
        };
        let owner = identity::role_name(self.work.owner)?;
        let mut relocation = relocation::Relocation::default();
        let mut steps = Vec::new();
        for period in expired {
            let relocation = match policy.fate {
                RetentionAction::Detach => {
                    relocation.of(period.oid, policy.to_schema.as_deref())?
                }
                RetentionAction::Drop => relocation::Statements::default(),
            };
            let subject = Subject {
                oid: period.oid,
                name: &period.name,
                upper: &period.upper,
                case: Case {
                    standing: Standing::Attached,
                    fate: Some(policy.fate),
                    expired: true,
                    needs_archive: policy.archive_function.is_some(),
                    archived: false,
                    may_ask: true,
                    relocates: !relocation.is_empty(),
                },
                relocation,
                foreign_table: foreign.contains(&period.oid),
                references: references.clone(),
            };
            let blocked = kept.clone().or_else(|| alone_referenced(&alone, period)).or_else(|| {
                others.get(&period.oid).map(|partition_owner| Error::PartitionOwner {
                    partition: period.name.to_string(),
                    partition_owner: partition_owner.clone(),
                    owner: owner.clone(),
                })
            });
            steps.extend(self.steps(&subject, blocked)?);
            if kept.is_some() {
                // They are all blocked, by the same: once is enough.
                steps.truncate(1);
                break;
            }
        }
        Ok(steps)
    }

    fn steps(&self, subject: &Subject<'_>, blocked: Option<Error>) -> Result<Vec<Step>> {
        let phases = plan::phases(subject.case);
        let Some((first, rest)) = phases.split_first() else { return Ok(Vec::new()) };
        let mut steps = vec![self.step(subject, *first)?];
        match blocked {
            // What cannot leave is not dropped either.
            Some(error) => {
                for step in &mut steps {
                    step.block(error.clone());
                }
            }
            None => {
                for phase in rest {
                    steps.push(self.step(subject, *phase)?);
                }
            }
        }
        Ok(steps)
    }

    fn step(&self, subject: &Subject<'_>, phase: Phase) -> Result<Step> {
        let drafted = match phase {
            Phase::Detach if self.detaches_at_once(subject) => self.detach_at_once(subject),
            Phase::Detach => self.detach(subject),
            Phase::Finalize => self.finalize(subject),
            Phase::Archive => self.archive(subject),
            Phase::Drop => self.drop_table(subject),
            Phase::Relocate => relocate(subject),
        };
        let step = Step::new(self.work.parent, drafted.action, subject.name.clone(), drafted.sql);
        Ok(Step {
            lock: drafted.lock,
            reason: drafted.reason,
            blocked: drafted.blocked,
            subject: Some(subject.oid),
            alone: phase == Phase::Detach && !self.detaches_at_once(subject),
            references: match phase {
                Phase::Detach => subject.references.clone(),
                _ => Vec::new(),
            },
            leaving: subject.case.standing != Standing::Detached,
            as_others: match phase {
                Phase::Relocate => subject.relocation.as_others.clone(),
                _ => Vec::new(),
            },
            then: match phase {
                Phase::Archive => {
                    format!("{}\n{}", sealing(subject.name), sealing_for_replicas(subject.name))
                }
                _ => String::new(),
            },
            ..step
        })
    }

    fn too_old(&self, subject: &Subject<'_>) -> String {
        let keep = self.past.retention.as_ref().map_or("", |policy: &Retention| &policy.keep);
        let unit = match keep.parse::<i128>() {
            Ok(_) => " keys",
            Err(_) => "",
        };
        format!("it ends at {} and {keep}{unit} are kept", subject.upper)
    }

    fn detach(&self, subject: &Subject<'_>) -> Draft {
        Draft {
            action: Action::Detach,
            sql: format!(
                "ALTER TABLE {} DETACH PARTITION {}{CONCURRENTLY}",
                self.set, subject.name
            ),
            lock: format!(
                "SHARE UPDATE EXCLUSIVE on {0}, ACCESS EXCLUSIVE on {1} when nobody uses it any \
                 more{2}; waits for transactions that have used {0}",
                self.set,
                subject.name,
                self.also("SHARE ROW EXCLUSIVE")
            ),
            reason: self.too_old(subject),
            blocked: None,
        }
    }

    /// There is one, or is by the time that something leaves.
    fn has_default(&self) -> bool {
        let makes_it = |step: &Step| step.action == Action::Create && step.begins.is_none();
        self.past.has_default || self.work.steps.iter().any(makes_it)
    }

    /// Where there is a default partition the server refuses CONCURRENTLY (tablecmds.c,
    /// ATExecDetachPartition). Where a foreign key points to the set nothing may be written between its look for rows
    /// that do and the end.
    fn detaches_at_once(&self, subject: &Subject<'_>) -> bool {
        self.has_default() || !subject.references.is_empty()
    }

    fn detach_at_once(&self, subject: &Subject<'_>) -> Draft {
        Draft {
            action: Action::Detach,
            sql: format!("ALTER TABLE {} DETACH PARTITION {};", self.set, subject.name),
            lock: format!(
                "ACCESS EXCLUSIVE on {}{} and on {}{}{}",
                self.set,
                if self.has_default() { ", on its default partition" } else { "" },
                subject.name,
                self.also("SHARE ROW EXCLUSIVE"),
                subject
                    .references
                    .iter()
                    .map(|each| format!(", SHARE on {}", each.name))
                    .collect::<String>()
            ),
            reason: match subject.references.as_slice() {
                [] => {
                    format!("{}; at once, for there is a default partition", self.too_old(subject))
                }
                references => {
                    let names: Vec<String> =
                        references.iter().map(|each| each.name.to_string()).collect();
                    format!(
                        "{}; if no row of {} points into it",
                        self.too_old(subject),
                        names.join(", ")
                    )
                }
            },
            blocked: None,
        }
    }

    fn finalize(&self, subject: &Subject<'_>) -> Draft {
        Draft {
            action: Action::Finalize,
            sql: format!("ALTER TABLE {} DETACH PARTITION {} FINALIZE;", self.set, subject.name),
            lock: format!(
                "SHARE UPDATE EXCLUSIVE on {}, ACCESS EXCLUSIVE on {}{}; waits for snapshots that \
                 are older",
                self.set,
                subject.name,
                self.also("SHARE ROW EXCLUSIVE")
            ),
            reason: "its DETACH ... CONCURRENTLY was broken off half way".into(),
            blocked: None,
        }
    }

    /// A foreign key leaves triggers on the table that it points to: they are made anew for a table that
    /// has left its set, and go with it (tablecmds.c, DetachPartitionFinalize; trigger.c,
    /// RemoveTriggerById).
    fn also(&self, mode: &str) -> String {
        self.referenced.iter().map(|table| format!(", {mode} on {table}")).collect()
    }

    fn drop_table(&self, subject: &Subject<'_>) -> Draft {
        let kind = if subject.foreign_table { "FOREIGN TABLE" } else { "TABLE" };
        Draft {
            action: Action::Drop,
            sql: format!("DROP {kind} {};", subject.name),
            lock: format!(
                "none on {}, ACCESS EXCLUSIVE on {}{}",
                self.set,
                subject.name,
                self.also("ACCESS EXCLUSIVE")
            ),
            reason: match subject.case.needs_archive {
                true => "it is archived".into(),
                false => "it has left the set".into(),
            },
            blocked: None,
        }
    }

    fn archive(&self, subject: &Subject<'_>) -> Draft {
        let signature = self
            .past
            .retention
            .as_ref()
            .and_then(|policy| policy.archive_function.as_deref())
            .unwrap_or_default();
        let found = catalog::archive_function(&self.set.to_string(), signature, self.work.owner);
        let (function, blocked) = match found {
            Ok(function) => (function.name.to_string(), None),
            Err(error) => (signature.to_owned(), Some(error)),
        };
        let table = ident::literal(&subject.name.to_string());
        let mut reason = "nothing is dropped unless it says true".to_owned();
        if let Some(error) = &blocked {
            reason.push_str(&format!("; blocked: {error}"));
        }
        Draft {
            action: Action::Archive,
            sql: format!("SELECT {function}({table}::pg_catalog.regclass);"),
            lock: format!("none on {}, SHARE ROW EXCLUSIVE on {}", self.set, subject.name),
            reason,
            blocked,
        }
    }
}

struct Draft {
    action: Action,
    sql: String,
    lock: String,
    reason: String,
    blocked: Option<Error>,
}

fn relocate(subject: &Subject<'_>) -> Draft {
    Draft {
        action: Action::Move,
        sql: subject.relocation.sql(),
        lock: format!("none on the set, ACCESS EXCLUSIVE on {}", subject.name),
        reason: "it is kept as a table of its own".into(),
        blocked: subject.relocation.blocked.clone(),
    }
}

/// The trigger that refuses what would be written into an archived table.
pub(super) const SEAL: &CStr = c"pg_steward_archived";

fn alone_referenced(referencing: &HashMap<Oid, String>, period: &Period) -> Option<Error> {
    Some(Error::RetainedReferenced {
        relation: period.name.to_string(),
        referencing: referencing.get(&period.oid)?.clone(),
        why: WhyReferenced::ToItAlone,
    })
}

/// What makes it; `pg/trigger.rs` does both, by the table's OID.
pub(super) fn sealing(table: &Qualified) -> String {
    let seal = encoding::decode_name(SEAL);
    format!(
        "CREATE OR REPLACE TRIGGER {seal} BEFORE INSERT OR UPDATE ON {table} FOR EACH ROW \
         EXECUTE FUNCTION steward.refuse_write();"
    )
}

/// What makes it fire for rows, too, that a subscription applies.
pub(super) fn sealing_for_replicas(table: &Qualified) -> String {
    format!("ALTER TABLE {table} ENABLE ALWAYS TRIGGER {};", encoding::decode_name(SEAL))
}

/// What finishes a step that detaches CONCURRENTLY, where that was broken off half way.
pub(super) fn finalizing(step: &Step) -> Step {
    let detach = step.sql.strip_suffix(CONCURRENTLY).unwrap_or(&step.sql);
    Step { sql: format!("{detach} FINALIZE;"), ..step.clone() }
}

/// The partitions that retention takes out of the set.
pub(super) fn expired(past: &Past) -> impl Iterator<Item = &Period> {
    let asked_for = past.retention.is_some();
    past.periods.iter().filter(move |period| {
        asked_for && plan::leaves(period.ends, period.is_last, past.horizon, past.position)
    })
}
