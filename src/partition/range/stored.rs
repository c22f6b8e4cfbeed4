//! What is stored in a set's partitions, as far as it decides about DDL: whoever may see it, and
//! whosever the partitions are.

use super::catalog::{self, Set};
use super::plan::{Edge, Planned};
use super::policy;
use crate::error::Result;
use crate::key::RawKey;
use crate::partition::table::{self, Leaf};
use crate::pg::heap::LastValue;
use crate::pg::identity::AsOwner;
use crate::pg::{Oid, heap, ident, identity};

/// Whether a partition holds rows.
pub(super) fn holds_rows(set: &Set, partition: Oid) -> Result<bool> {
    each_leaf(set, partition, false, |scope, leaf, found| {
        Ok(found
            || match leaf.is_foreign {
                true => {
                    let sql = format!("SELECT EXISTS (SELECT FROM {})", leaf.name);
                    scope.one(&sql, &[], |row| row.required(1))?
                }
                false => heap::holds_rows(scope, leaf.oid)?,
            })
    })
}

/// The highest key in a partition of a set of numbers.
pub(super) fn highest_key(set: &Set, partition: Oid) -> Result<Option<i128>> {
    let (column, key) = (&set.parent.column, set.parent.key_sql());
    each_leaf(set, partition, None, |scope, leaf, highest: Option<i128>| {
        let found = match leaf.is_foreign {
            true => {
                let sql =
                    format!("SELECT pg_catalog.max({key})::pg_catalog.text FROM {}", leaf.name);
                let text = scope.one(&sql, &[], |row| row.optional::<String>(1))?;
                text.map(RawKey::Decimal)
            }
            false => heap::greatest(scope, leaf.oid, column)?,
        };
        Ok(highest.max(found.and_then(|raw| set.policy.key.decode(&raw))))
    })
}

/// The highest value that a sequence has given out which the key column owns. What is stored can be gone
/// again, as from an outbox, before anybody looks. While one is locked, at least where the last look has seen
/// the set: it must not begin anew meanwhile.
pub(super) fn last_given_out(set: &Set) -> Result<Option<i128>> {
    let table = &set.parent.table;
    let sequences = catalog::sequences(table.oid, &set.parent.column)?;
    let values = identity::as_owner(table.owner, |scope| {
        let read = |sequence: &Oid| heap::last_value(scope, *sequence);
        sequences.iter().map(read).collect::<Result<Vec<_>>>()
    })?;
    let mut highest = None;
    for value in values {
        highest = highest.max(match value {
            LastValue::Never => None,
            LastValue::Was(value) => Some(value.into()),
            LastValue::Locked => policy::seen(table.oid)?.position,
        });
    }
    Ok(highest)
}

/// How many rows of the default partition belong into each range that is planned: ATTACH would fail on them.
pub(super) fn waiting(set: &Set, default: Oid, planned: &[Planned]) -> Result<Vec<i64>> {
    let none = vec![0; planned.len()];
    if planned.is_empty() || !holds_rows(set, default)? {
        return Ok(none);
    }
    let text = |edge: &'_ Edge| match edge {
        Edge::At { literal, .. } => Some(literal.clone()),
        Edge::MinValue | Edge::MaxValue => None,
    };
    let texts: Vec<_> = planned.iter().map(|new| (text(&new.lower), text(&new.upper))).collect();
    let ranges: Vec<heap::Texts<'_>> =
        texts.iter().map(|(lower, upper)| (lower.as_deref(), upper.as_deref())).collect();
    each_leaf(set, default, none, |scope, leaf, mut counts| {
        let found = match leaf.is_foreign {
            true => counted_by_query(set, scope, leaf, &ranges)?,
            false => {
                let (column, collation) = (&set.parent.column, set.parent.collation);
                heap::count_within(scope, leaf.oid, column, collation, &ranges)?
            }
        };
        counts.iter_mut().zip(found).for_each(|(count, found)| *count += found);
        Ok(counts)
    })
}

fn counted_by_query(
    set: &Set,
    scope: &AsOwner,
    leaf: &Leaf,
    ranges: &[heap::Texts<'_>],
) -> Result<Vec<i64>> {
    let (key, key_type) = (set.parent.key_sql(), &set.parent.key_type_name);
    let side = |operator: &str, edge: Option<&str>| match edge {
        Some(text) => format!("{key} {operator} {}::{key_type}", ident::literal(text)),
        None => "true".to_owned(),
    };
    let count = |(lower, upper): &heap::Texts<'_>| {
        let sql = format!(
            "SELECT pg_catalog.count(*) FROM {} WHERE {} AND {}",
            leaf.name,
            side(">=", *lower),
            side("<", *upper)
        );
        scope.one(&sql, &[], |row| row.required(1))
    };
    ranges.iter().map(count).collect()
}

/// Goes through the tables at the bottom of a partition, as the set's owner.
fn each_leaf<T>(
    set: &Set,
    partition: Oid,
    start: T,
    look: impl Fn(&AsOwner, &Leaf, T) -> Result<T>,
) -> Result<T> {
    let leaves = table::leaves(vec![partition])?;
    identity::as_owner(set.parent.table.owner, |scope| {
        leaves.iter().try_fold(start, |found, leaf| look(scope, leaf, found))
    })
}
