//! The facts of a managed set: its policy row and what the server's catalogs say of its parent.

use super::horizon::{Age, Retention, Tiering};
use super::plan::{Edge, Policy, Range};
use crate::calendar::label::NameKind;
use crate::calendar::{NameFormat, Zone};
use crate::error::{Error, Result};
use crate::key::Encoding;
use crate::key::{Axis, Key, KeyType, RawKey};
use crate::partition::blueprint::Subpartitions;
use crate::partition::table::{Strategy, Table};
use crate::pg::bounds::{self, RangeBounds, RawEdge, RawRange};
use crate::pg::ident::{self, Qualified};
use crate::pg::time_zone::ServerZone;
use crate::pg::{Oid, identity, query};

/// A table that is partitioned by range on one column, managed or not.
#[derive(Clone, Debug)]
pub(super) struct Parent {
    pub(super) table: Table,
    /// The key column, unquoted.
    pub(super) column: String,
    pub(super) key_type_oid: Oid,
    /// The key's type as SQL writes it.
    pub(super) key_type_name: String,
    pub(super) key_type: Option<KeyType>,
    /// What the set compares its keys under; invalid for a type that has no collations.
    pub(super) collation: Oid,
}

impl Parent {
    /// For messages and hints.
    pub(super) fn display(&self) -> String {
        self.table.display()
    }

    /// An argument that does not do, for the error.
    pub(super) fn invalid(&self, argument: &'static str, problem: String, hint: &str) -> Error {
        Error::InvalidArgument {
            relation: self.display(),
            argument,
            problem,
            hint: hint.to_owned(),
        }
    }

    /// The key column as SQL wants it.
    pub(super) fn key_sql(&self) -> String {
        ident::name(&self.column)
    }
}

/// A managed set: parent, policy, zone.
pub(super) struct Set {
    pub(super) parent: Parent,
    pub(super) policy: Policy,
    pub(super) zone: ServerZone,
    pub(super) name_format: Option<NameFormat>,
    /// Whether a default partition is wanted.
    pub(super) wants_default: bool,
    /// The template, which may be gone by now.
    pub(super) template: Option<Oid>,
    /// How each period is spread.
    pub(super) subpartitions: Option<Subpartitions>,
    pub(super) retention: Option<(Retention, Age)>,
    pub(super) tiering: Option<(Tiering, Age)>,
}

/// Reads the key of a table and makes sure that it is by range on one column. Errors say what else
/// it is.
pub(super) fn parent(table: Table) -> Result<Parent> {
    table.must_be(Strategy::Range)?;
    let missing = Error::NoSuchRelation { oid: ident::oid_number(table.oid) };
    let key = query::optional(
        "SELECT pt.partnatts, a.attname::pg_catalog.text, coalesce(nullif(t.typbasetype, 0), t.oid),
                pg_catalog.format_type(a.atttypid, NULL),
                CASE WHEN pt.partclass[0] >= 16384 THEN o.opcname::pg_catalog.text END,
                pt.partcollation[0]
           FROM pg_catalog.pg_partitioned_table pt
           JOIN pg_catalog.pg_opclass o ON o.oid = pt.partclass[0]
           LEFT JOIN pg_catalog.pg_attribute a
             ON a.attrelid = pt.partrelid AND a.attnum = pt.partattrs[0]
           LEFT JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
          WHERE pt.partrelid = $1",
        &[table.oid.into()],
        |row| {
            let columns = row.required::<i16>(1)?;
            if columns != 1 {
                return Err(Error::MultiColumnKey { relation: table.display(), columns });
            }
            let Some(column) = row.optional::<String>(2)? else {
                return Err(Error::ExpressionKey { relation: table.display() });
            };
            // Its order is none that an axis knows, and sorting bounds calls its functions.
            if let Some(operator_class) = row.optional(5)? {
                return Err(Error::OperatorClass { relation: table.display(), operator_class });
            }
            let collation = row.required::<Oid>(6)?;
            Ok((column, row.required::<Oid>(3)?, row.required::<String>(4)?, collation))
        },
    )?;
    let (column, key_type_oid, key_type_name, collation) = key.ok_or(missing)?;
    let key_type = key_type(key_type_oid);
    Ok(Parent { table, column, key_type_oid, key_type_name, key_type, collation })
}

/// Whether a table is by range on one column. Errors say what else it is.
pub(in crate::partition) fn check(table: Table) -> Result<()> {
    parent(table).map(|_| ())
}

fn key_type(oid: Oid) -> Option<KeyType> {
    use pgrx::pg_sys;
    match oid {
        pg_sys::TIMESTAMPTZOID => Some(KeyType::Timestamptz),
        pg_sys::TIMESTAMPOID => Some(KeyType::Timestamp),
        pg_sys::DATEOID => Some(KeyType::Date),
        pg_sys::INT2OID => Some(KeyType::SmallInt),
        pg_sys::INT4OID => Some(KeyType::Integer),
        pg_sys::INT8OID => Some(KeyType::BigInt),
        pg_sys::NUMERICOID => Some(KeyType::Numeric),
        pg_sys::UUIDOID => Some(KeyType::Uuid),
        pg_sys::TEXTOID | pg_sys::VARCHAROID => Some(KeyType::Text),
        pg_sys::BYTEAOID => Some(KeyType::Bytea),
        _ => None,
    }
}

impl Set {
    /// Which names a set's name_format may use.
    pub(super) fn name_kind(key: &Key) -> NameKind {
        if key.axis() == Axis::Number { NameKind::Number } else { NameKind::Time }
    }

    /// An instant as a position on the axis of a time set.
    pub(super) fn position_of(&self, at: i64) -> i128 {
        match self.policy.key.axis() {
            Axis::Wall => self.zone.wall(at.into()),
            Axis::Instant | Axis::Number => at.into(),
        }
    }

    /// A position of a time set as an instant.
    pub(super) fn instant_of(&self, position: i128) -> i64 {
        let instant = match self.policy.key.axis() {
            Axis::Wall => self.zone.instant(position),
            Axis::Instant | Axis::Number => position,
        };
        i64::try_from(instant).unwrap_or(i64::MAX)
    }

    /// How each new period is spread. Errors: the column is gone (22023).
    pub(super) fn subpartitions(&self) -> Result<Option<Subpartitions>> {
        let Some(wanted) = &self.subpartitions else { return Ok(None) };
        if hashable(self.parent.table.oid, &wanted.column)?.is_none() {
            return Err(Error::InvalidArgument {
                relation: self.parent.display(),
                argument: "subpartition_by",
                problem: format!("there is no column \"{}\" any more", wanted.column),
                hint: "Name another one with alter_range(..., subpartition_by => ...).".into(),
            });
        }
        Ok(Some(wanted.clone()))
    }

    /// Opens the set's bounds; None when the parent is gone.
    pub(super) fn bounds(&self) -> Result<Option<RangeBounds>> {
        let Parent { table, key_type_oid, .. } = &self.parent;
        identity::as_owner(table.owner, |scope| RangeBounds::open(scope, table.oid, *key_type_oid))
    }

    /// What a bound in the catalog means on the set's axis.
    pub(super) fn range(&self, raw: &RawRange) -> Result<Range> {
        Ok(Range { lower: self.edge(&raw.lower)?, upper: self.edge(&raw.upper)? })
    }

    /// Where a range has ended for good: its upper edge, rounded up where that lies between two positions.
    pub(super) fn ends(&self, raw: &RawRange) -> Result<i128> {
        let edge = self.edge(&raw.upper)?.position();
        Ok(match &raw.upper {
            RawEdge::At { raw: Some(key), .. } => self.policy.key.decode_end(key).unwrap_or(edge),
            _ => edge,
        })
    }

    /// What an edge in the catalog means on the set's axis.
    pub(super) fn edge(&self, raw: &RawEdge) -> Result<Edge> {
        match raw {
            RawEdge::MinValue => Ok(Edge::MinValue),
            RawEdge::MaxValue => Ok(Edge::MaxValue),
            RawEdge::Far => Err(Error::BoundTooFar { relation: self.parent.display() }),
            RawEdge::At { raw, literal } => {
                let decode = |raw: &RawKey| self.policy.key.decode(raw);
                let at = raw.as_ref().and_then(decode).ok_or_else(|| Error::InvalidArgument {
                    relation: self.parent.display(),
                    argument: "key_encoding",
                    problem: format!("the existing bound '{literal}' cannot be read that way"),
                    hint: "Detach the partition with that bound, or choose the key_encoding that \
                           the keys really have."
                        .into(),
                })?;
                Ok(Edge::At { at, literal: literal.clone() })
            }
        }
    }

    /// The ranges from `from` on, lowest first, and in any case the last one: what
    /// [`super::plan::plan`] wants to know. Reads only those.
    pub(super) fn tail(&self, bounds: &RangeBounds, from: i128) -> Result<Vec<Range>> {
        let mut found = Vec::new();
        for position in (0..bounds.positions()).rev() {
            let Some(raw) = bounds.at(position) else { continue };
            let range = self.range(&raw)?;
            let behind = range.upper.position() < from;
            found.push(range);
            if behind {
                break;
            }
        }
        found.reverse();
        Ok(found)
    }
}

/// Whether a table's column can be the key of a hash set: it is not generated, and of a type that can be
/// hashed. None: there is no such column.
pub(super) fn hashable(parent: Oid, column: &str) -> Result<Option<bool>> {
    query::optional(
        "SELECT a.atttypid, a.attgenerated = '' FROM pg_catalog.pg_attribute a
          WHERE a.attrelid = $1 AND a.attname = $2 AND a.attnum > 0 AND NOT a.attisdropped",
        &[parent.into(), column.into()],
        |row| Ok(bounds::can_be_hashed(row.required(1)?) && row.required(2)?),
    )
}

/// The sequences that a column owns, an identity's among them, as far as they can be read: on a standby an
/// unlogged one has no rows.
pub(super) fn sequences(parent: Oid, column: &str) -> Result<Vec<Oid>> {
    query::rows(
        "SELECT s.oid
           FROM pg_catalog.pg_depend d
           JOIN pg_catalog.pg_class s ON s.oid = d.objid AND s.relkind = 'S'
           JOIN pg_catalog.pg_attribute a
             ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid AND a.attname = $2
          WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
            AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
            AND d.refobjid = $1 AND d.deptype IN ('a', 'i')
            AND (s.relpersistence = 'p' OR NOT pg_catalog.pg_is_in_recovery())",
        &[parent.into(), column.into()],
        |row| row.required(1),
    )
}

/// Partitions that are partitioned in turn, by a key with an expression in it.
pub(super) fn divided_by_expression(parent: Oid) -> Result<Vec<Qualified>> {
    query::rows(
        "SELECT n.nspname::pg_catalog.text, c.relname::pg_catalog.text
           FROM pg_catalog.pg_inherits i
           JOIN pg_catalog.pg_partitioned_table p ON p.partrelid = i.inhrelid
           JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid
           JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
          WHERE i.inhparent = $1 AND p.partexprs IS NOT NULL ORDER BY 1, 2",
        &[parent.into()],
        |row| Ok(Qualified::new(row.required::<String>(1)?, row.required::<String>(2)?)),
    )
}

/// Unique keys and indexes of a table that lack a column, by name.
pub(super) fn unique_without(parent: Oid, column: &str) -> Result<Vec<String>> {
    query::rows(
        "SELECT x.indexrelid::pg_catalog.regclass::pg_catalog.text
           FROM pg_catalog.pg_index x
          WHERE x.indrelid = $1 AND (x.indisunique OR x.indisexclusion)
            AND NOT EXISTS (SELECT FROM pg_catalog.pg_attribute a
                             WHERE a.attrelid = $1 AND a.attname = $2
                               AND a.attnum = ANY ((x.indkey::pg_catalog.int2[])[0:x.indnkeyatts - 1]))
          ORDER BY 1",
        &[parent.into(), column.into()],
        |row| row.required(1),
    )
}

/// Parses a stored `key_encoding`.
pub(super) fn encoding(text: Option<&str>, relation: &str) -> Result<Encoding> {
    Encoding::parse(text).map_err(|error| Error::InvalidArgument {
        relation: relation.to_owned(),
        argument: "key_encoding",
        problem: error.to_string(),
        hint: error.hint().to_owned(),
    })
}
