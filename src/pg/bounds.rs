//! A relation's partition bounds, straight from the relation cache.
//!
//! The cache holds them sorted and decoded (src/include/partitioning/partbounds.h,
//! PartitionBoundInfoData), once for each backend; reading the last few of ten thousand costs no
//! query. For RANGE, `indexes[i]` is the partition whose upper bound is `datums[i]`, or -1 for a
//! hole; one more entry at the end stands for what lies above the last datum.

use std::ffi::CStr;

use pgrx::{FromDatum, pg_sys};

use super::encoding;
use super::identity::AsOwner;
use crate::error::Result;
pub(super) use crate::key::RawKey;

/// One end of a range.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum RawEdge {
    /// MINVALUE.
    MinValue,
    /// A value: what it is, and the exact text that DDL takes for it.
    At {
        /// The decoded value; None for a type that no axis reads.
        raw: Option<RawKey>,
        /// The type's own output text, under DateStyle ISO and the set's zone.
        literal: String,
    },
    /// A value that is so large that nobody means it, and whose text would be without end.
    Far,
    /// MAXVALUE.
    MaxValue,
}

/// A partition of a single-column RANGE set.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RawRange {
    /// The partition.
    pub(crate) oid: pg_sys::Oid,
    /// Inclusive lower bound.
    pub(crate) lower: RawEdge,
    /// Exclusive upper bound.
    pub(crate) upper: RawEdge,
}

/// A key for which there is no partition but the default one.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Stray {
    /// What it is; None for a type that no axis reads.
    pub(crate) raw: Option<RawKey>,
    /// The type's own output text.
    pub(crate) literal: String,
    /// Where the partition before it ends, and where the next one begins.
    pub(crate) below: Option<RawEdge>,
    pub(crate) above: Option<RawEdge>,
}

/// The partitions of one open RANGE-partitioned table, readable by position, lowest range first.
/// Partitions being detached concurrently still stand in the way of new ones and are included.
pub(crate) struct RangeBounds {
    relation: pg_sys::Relation,
    bounds: pg_sys::PartitionBoundInfo,
    oids: *mut pg_sys::Oid,
    key_type: pg_sys::Oid,
    output: pg_sys::Oid,
    is_pending: bool,
}

impl RangeBounds {
    /// Opens `parent` under ACCESS SHARE, as any query on it does, and keeps that lock until the
    /// transaction ends. `key_type` is the type of its only key column. None: no such relation any
    /// more.
    ///
    /// The caller has seen in the catalog that it is a RANGE set with one column. Reading the bounds here
    /// can call the owner's code (partcache.c, RelationBuildPartitionKey), asking for them later cannot.
    pub(crate) fn open(
        scope: &AsOwner,
        parent: pg_sys::Oid,
        key_type: pg_sys::Oid,
    ) -> Result<Option<Self>> {
        scope.check()?;
        // SAFETY: try_relation_open answers NULL for a relation that is gone. The descriptor stays
        // valid while the relation is open; it is closed in Drop.
        unsafe {
            let relation =
                pg_sys::try_relation_open(parent, pg_sys::AccessShareLock as pg_sys::LOCKMODE);
            if relation.is_null() {
                return Ok(None);
            }
            let descriptor = pg_sys::RelationGetPartitionDesc(relation, false);
            let (mut output, mut varlena) = (pg_sys::InvalidOid, false);
            pg_sys::getTypeOutputInfo(key_type, &mut output, &mut varlena);
            Ok(Some(Self {
                relation,
                bounds: (*descriptor).boundinfo,
                oids: (*descriptor).oids,
                key_type,
                output,
                is_pending: (*descriptor).detached_exist,
            }))
        }
    }

    /// How many positions [`RangeBounds::at`] takes; holes count, the default partition does not.
    pub(crate) fn positions(&self) -> usize {
        // SAFETY: NULL when the table has no partitions, else valid while the relation is open.
        unsafe { self.bounds.as_ref() }
            .filter(|bounds| bounds.strategy as u8 == b'r')
            .map_or(0, |bounds| bounds.nindexes.max(0) as usize)
    }

    /// Whether a partition is being detached, or its DETACH … CONCURRENTLY was broken off.
    pub(crate) fn is_pending(&self) -> bool {
        self.is_pending
    }

    /// The default partition.
    pub(crate) fn default_partition(&self) -> Option<pg_sys::Oid> {
        // SAFETY: as above; default_index is -1 or an index into oids.
        unsafe {
            let bounds = self.bounds.as_ref()?;
            (bounds.default_index >= 0).then(|| *self.oids.add(bounds.default_index as usize))
        }
    }

    /// The partition at a position, or None for a hole.
    pub(crate) fn at(&self, position: usize) -> Option<RawRange> {
        if position >= self.positions() {
            return None;
        }
        // Views go through all of them.
        pgrx::check_for_interrupts!();
        // SAFETY: position < nindexes = ndatums + 1; indexes[position] is -1 or an index into oids.
        let oid = unsafe {
            let index = *(*self.bounds).indexes.add(position);
            (index >= 0).then(|| *self.oids.add(index as usize))?
        };
        let lower = match position.checked_sub(1) {
            Some(below) => self.edge(below),
            None => RawEdge::MinValue,
        };
        Some(RawRange { oid, lower, upper: self.edge(position) })
    }

    /// A key by its text, and the hole that it lies in, by the server's own comparison under
    /// `collation`.
    pub(crate) fn stray(&self, literal: String, collation: pg_sys::Oid) -> Result<Stray> {
        let text = encoding::encode_name(&literal);
        // SAFETY: the text is one that this type's output function has written, and lives through the
        // call; raw_key gets a value of the type.
        let (value, raw) = unsafe {
            let (mut input, mut parameter) = (pg_sys::InvalidOid, pg_sys::InvalidOid);
            pg_sys::getTypeInputInfo(self.key_type, &mut input, &mut parameter);
            let value =
                pg_sys::OidInputFunctionCall(input, text.as_ptr().cast_mut(), parameter, -1);
            (value, raw_key(self.key_type, value, &literal))
        };
        let bounds = self.positions().saturating_sub(1);
        let (mut low, mut high) = (0, bounds);
        while low < high {
            let middle = low.midpoint(high);
            match self.is_at_or_below(middle, value, collation) {
                true => low = middle + 1,
                false => high = middle,
            }
        }
        let below = low.checked_sub(1).map(|below| self.edge(below));
        let above = (low < bounds).then(|| self.edge(low));
        Ok(Stray { raw, literal, below, above })
    }

    /// Whether the bound `datums[index]` is at or below a key.
    fn is_at_or_below(&self, index: usize, value: pg_sys::Datum, collation: pg_sys::Oid) -> bool {
        match self.edge(index) {
            RawEdge::MinValue => true,
            RawEdge::MaxValue => false,
            // SAFETY: the type of a partition key has a default B-tree operator class, and the cache
            // entry lives as long as the process; index < ndatums, and its kind is a value.
            RawEdge::At { .. } | RawEdge::Far => unsafe {
                let flags = pg_sys::TYPECACHE_CMP_PROC_FINFO as i32;
                let entry = pg_sys::lookup_type_cache(self.key_type, flags);
                let bound = **(*self.bounds).datums.add(index);
                let compare = &raw mut (*entry).cmp_proc_finfo;
                (pg_sys::FunctionCall2Coll(compare, collation, bound, value).value() as i32) <= 0
            },
        }
    }

    fn edge(&self, datum: usize) -> RawEdge {
        // SAFETY: datum < ndatums for every edge of an existing partition, because nothing exists
        // below the first datum or above the last; each has one column (see `open`).
        unsafe {
            let bounds = &*self.bounds;
            if datum >= bounds.ndatums as usize {
                return RawEdge::MaxValue;
            }
            match **bounds.kind.add(datum) {
                pg_sys::PartitionRangeDatumKind::PARTITION_RANGE_DATUM_MINVALUE => {
                    RawEdge::MinValue
                }
                pg_sys::PartitionRangeDatumKind::PARTITION_RANGE_DATUM_MAXVALUE => {
                    RawEdge::MaxValue
                }
                _ => {
                    let value = **bounds.datums.add(datum);
                    if is_far(self.key_type, value) {
                        return RawEdge::Far;
                    }
                    let text = pg_sys::OidOutputFunctionCall(self.output, value);
                    let literal = encoding::decode_name(CStr::from_ptr(text));
                    pg_sys::pfree(text.cast());
                    RawEdge::At { raw: raw_key(self.key_type, value, &literal), literal }
                }
            }
        }
    }
}

impl Drop for RangeBounds {
    fn drop(&mut self) {
        // While an error unwinds, the abort closes the relation; doing it here as well would close
        // it twice.
        if !std::thread::panicking() {
            // SAFETY: opened in `open`; NoLock keeps the lock until the end of the transaction.
            unsafe {
                pg_sys::relation_close(self.relation, pg_sys::NoLock as pg_sys::LOCKMODE);
            }
        }
    }
}

/// A partition of a HASH set: rows whose hash leaves `remainder` when divided by `modulus`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RawHash {
    /// The partition.
    pub(crate) oid: pg_sys::Oid,
    pub(crate) modulus: u32,
    pub(crate) remainder: u32,
}

/// The partitions of a HASH set, by modulus and remainder. Opens it under ACCESS SHARE, which is kept
/// until the transaction ends. None: no such relation any more.
pub(crate) fn hash_partitions(
    scope: &AsOwner,
    parent: pg_sys::Oid,
) -> Result<Option<Vec<RawHash>>> {
    scope.check()?;
    // SAFETY: try_relation_open answers NULL for a relation that is gone; the descriptor is valid
    // while the relation is open. For HASH, datums[i] is a modulus and a remainder, both int4, and
    // oids[i] the partition that has them (partbounds.c, create_hash_bounds).
    unsafe {
        let relation =
            pg_sys::try_relation_open(parent, pg_sys::AccessShareLock as pg_sys::LOCKMODE);
        if relation.is_null() {
            return Ok(None);
        }
        let descriptor = pg_sys::RelationGetPartitionDesc(relation, false);
        let bounds =
            (*descriptor).boundinfo.as_ref().filter(|bounds| bounds.strategy as u8 == b'h');
        let found = bounds.map_or_else(Vec::new, |bounds| {
            let datum = |place: usize, which: usize| {
                (*(*bounds.datums.add(place)).add(which)).value() as u32
            };
            let each = |place| RawHash {
                oid: *(*descriptor).oids.add(place),
                modulus: datum(place, 0),
                remainder: datum(place, 1),
            };
            (0..bounds.ndatums.max(0) as usize).map(each).collect()
        });
        pg_sys::relation_close(relation, pg_sys::NoLock as pg_sys::LOCKMODE);
        Ok(Some(found))
    }
}

/// Whether a type has a default operator class for hashing, as the key of a HASH set needs.
pub(crate) fn can_be_hashed(key_type: pg_sys::Oid) -> bool {
    // SAFETY: a catalog look-up on two OIDs.
    unsafe { pg_sys::GetDefaultOpClass(key_type, pg_sys::HASH_AM_OID) != pg_sys::InvalidOid }
}

/// Whether the lock that reading bounds takes can be had without waiting; then it is held.
pub(crate) fn can_open_now(parent: pg_sys::Oid) -> bool {
    // SAFETY: locks an OID, whether or not it is a relation (still).
    unsafe {
        pg_sys::ConditionalLockRelationOid(parent, pg_sys::AccessShareLock as pg_sys::LOCKMODE)
    }
}

/// Whether a bound is longer than any that an axis knows: 1e131000 takes a few bytes, and 131,000 to show.
fn is_far(key_type: pg_sys::Oid, value: pg_sys::Datum) -> bool {
    const LONGEST: usize = 128; // bytes
    match key_type {
        // SAFETY: a numeric; the limits are parsed by its own input function, and compared by its own.
        pg_sys::NUMERICOID => unsafe {
            let numeric = |text: &CStr| {
                pg_sys::OidInputFunctionCall(
                    pg_sys::Oid::from(pg_sys::F_NUMERIC_IN),
                    text.as_ptr().cast_mut(),
                    pg_sys::InvalidOid,
                    -1,
                )
            };
            let is_greater = |one: pg_sys::Datum, other: pg_sys::Datum| {
                let compare = pg_sys::Oid::from(pg_sys::F_NUMERIC_CMP);
                let compared =
                    pg_sys::OidFunctionCall2Coll(compare, pg_sys::InvalidOid, one, other);
                (compared.value() as i32) > 0
            };
            let is_finite =
                is_greater(numeric(c"Infinity"), value) && is_greater(value, numeric(c"-Infinity"));
            is_finite
                && (is_greater(value, numeric(c"1e40")) || is_greater(numeric(c"-1e40"), value))
        },
        // SAFETY: a varlena of the relation cache, which is not compressed and lies in memory.
        pg_sys::TEXTOID | pg_sys::VARCHAROID | pg_sys::BYTEAOID => unsafe {
            pgrx::varlena::varsize_any(value.cast_mut_ptr()) > LONGEST
        },
        _ => false,
    }
}

/// Decodes a key by its type.
///
/// # Safety
/// `value` is a non-NULL Datum of type `key_type`.
pub(super) unsafe fn raw_key(
    key_type: pg_sys::Oid,
    value: pg_sys::Datum,
    literal: &str,
) -> Option<RawKey> {
    // SAFETY: the caller vouches for type and value; from_datum copies what it needs.
    unsafe {
        match key_type {
            pg_sys::TIMESTAMPTZOID | pg_sys::TIMESTAMPOID | pg_sys::INT8OID => {
                i64::from_datum(value, false).map(|v| RawKey::Integer(v.into()))
            }
            pg_sys::DATEOID | pg_sys::INT4OID => {
                i32::from_datum(value, false).map(|v| RawKey::Integer(v.into()))
            }
            pg_sys::INT2OID => i16::from_datum(value, false).map(|v| RawKey::Integer(v.into())),
            pg_sys::NUMERICOID => Some(RawKey::Decimal(literal.to_owned())),
            pg_sys::UUIDOID => {
                pgrx::Uuid::from_datum(value, false).map(|v| RawKey::Uuid(*v.as_bytes()))
            }
            pg_sys::TEXTOID | pg_sys::VARCHAROID => Some(RawKey::Text(literal.to_owned())),
            pg_sys::BYTEAOID => Vec::<u8>::from_datum(value, false).map(RawKey::Bytes),
            _ => None,
        }
    }
}
