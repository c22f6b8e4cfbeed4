//! Rows of a user's table, read where they lie: no planner, so no index expression or policy is
//! evaluated and no row is hidden, and no privilege is asked for. What is read decides about DDL and is
//! shown to nobody.

use std::cmp::Ordering;
use std::ffi::CStr;

use pgrx::pg_sys;

use super::bounds::{self, RawKey, raw_key};
use super::encoding;
use super::identity::AsOwner;
use super::query;
use crate::error::Result;

const ACCESS_SHARE: pg_sys::LOCKMODE = pg_sys::AccessShareLock as pg_sys::LOCKMODE;
const NO_LOCK: pg_sys::LOCKMODE = pg_sys::NoLock as pg_sys::LOCKMODE;

/// Whether a table has rows that are visible now. Takes ACCESS SHARE, kept until the transaction ends.
/// A table that is gone has none.
pub(crate) fn holds_rows(scope: &AsOwner, table: pg_sys::Oid) -> Result<bool> {
    scope.check()?;
    let Some(table) = Open::table(table) else { return Ok(false) };
    let mut scan = Scan::of_heap(&table);
    Ok(scan.next(pg_sys::ScanDirection::ForwardScanDirection).is_some())
}

/// The greatest value of a column of a table among the rows that are visible now; None: there is none, or
/// no such table or column. The column is of a number's type. Locks as above.
pub(crate) fn greatest(
    scope: &AsOwner,
    table: pg_sys::Oid,
    column: &str,
) -> Result<Option<RawKey>> {
    scope.check()?;
    let Some((number, key_type)) = column_of(table, column)? else { return Ok(None) };
    let Some(open) = Open::table(table) else { return Ok(None) };
    match index_on(table, number)? {
        Some((index, is_descending)) => {
            let Some(index) = Open::index(index) else { return Ok(None) };
            let direction = match is_descending {
                true => pg_sys::ScanDirection::ForwardScanDirection,
                false => pg_sys::ScanDirection::BackwardScanDirection,
            };
            let mut scan = Scan::of_index(&open, &index);
            // NULLs, which a partition other than the default one has not, would come at either end.
            while let Some(tuple) = scan.next(direction) {
                if let Some(value) = open.value(tuple, number) {
                    return Ok(decoded(key_type, value));
                }
            }
            Ok(None)
        }
        None => {
            let mut scan = Scan::of_heap(&open);
            let mut greatest: Option<pg_sys::Datum> = None;
            let order = Order { key_type, collation: pg_sys::InvalidOid };
            while let Some(tuple) = scan.next(pg_sys::ScanDirection::ForwardScanDirection) {
                let Some(value) = open.value(tuple, number) else { continue };
                if greatest.is_none_or(|greatest| order.compare(greatest, value).is_lt()) {
                    keep(key_type, &mut greatest, value);
                }
            }
            Ok(greatest.and_then(|value| decoded(key_type, value)))
        }
    }
}

/// What a sequence says of the values that it has given out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LastValue {
    /// It has given out none, or is gone.
    Never,
    Was(i64),
    /// Somebody has it locked for himself, who is not waited for.
    Locked,
}

/// The last value that a sequence has given out. Takes ACCESS SHARE, kept until the transaction ends.
///
/// Not by `pg_sequence_last_value()`, which takes ROW EXCLUSIVE and so waits for whoever changes the sequence,
/// and raises on 15 to 17 where a privilege is lacking. A sequence is a table of one frozen row that is changed
/// in place (src/backend/commands/sequence.c): here are columns of FormData_pg_sequence_data.
pub(crate) fn last_value(scope: &AsOwner, sequence: pg_sys::Oid) -> Result<LastValue> {
    const LAST_VALUE: i16 = 1;
    const IS_CALLED: i16 = 3;
    scope.check()?;
    if !bounds::can_open_now(sequence) {
        return Ok(LastValue::Locked);
    }
    let Some(open) = Open::table(sequence) else { return Ok(LastValue::Never) };
    let mut scan = Scan::of_heap(&open);
    let Some(row) = scan.next(pg_sys::ScanDirection::ForwardScanDirection) else {
        return Ok(LastValue::Never);
    };
    let is_called = open.value(row, IS_CALLED).is_some_and(|value| value.value() & 0xff != 0);
    let last = open.value(row, LAST_VALUE).filter(|_| is_called);
    Ok(last.map_or(LastValue::Never, |value| LastValue::Was(value.value() as i64)))
}

/// A range of keys by its bounds' texts, the lower one inclusive; None: it has no end there.
pub(crate) type Texts<'a> = (Option<&'a str>, Option<&'a str>);

/// How many of the rows that are visible now have their key in each of some ranges, compared as the server
/// compares bounds. Locks as above.
pub(crate) fn count_within(
    scope: &AsOwner,
    table: pg_sys::Oid,
    column: &str,
    collation: pg_sys::Oid,
    ranges: &[Texts<'_>],
) -> Result<Vec<i64>> {
    scope.check()?;
    let mut counts = vec![0; ranges.len()];
    let Some((number, key_type)) = column_of(table, column)? else { return Ok(counts) };
    let order = Order { key_type, collation };
    let mut bounds = Vec::with_capacity(ranges.len());
    for (place, (lower, upper)) in ranges.iter().enumerate() {
        let edge = |text: &Option<&str>| text.map(|text| order.value(text)).transpose();
        bounds.push((edge(lower)?, edge(upper)?, place));
    }
    bounds.sort_by(|one, other| match (one.0, other.0) {
        (Some(one), Some(other)) => order.compare(one, other),
        (one, other) => one.is_some().cmp(&other.is_some()),
    });
    let Some(open) = Open::table(table) else { return Ok(counts) };
    let mut scan = Scan::of_heap(&open);
    while let Some(tuple) = scan.next(pg_sys::ScanDirection::ForwardScanDirection) {
        let Some(key) = open.value(tuple, number) else { continue };
        // The last range that begins at or before it.
        let begun = bounds.partition_point(|(lower, ..)| {
            lower.is_none_or(|lower| order.compare(lower, key).is_le())
        });
        let Some((_, upper, place)) = begun.checked_sub(1).map(|last| &bounds[last]) else {
            continue;
        };
        if upper.is_none_or(|upper| order.compare(key, upper).is_lt()) {
            counts[*place] += 1;
        }
    }
    Ok(counts)
}

/// A column's number and its type, that below a domain.
fn column_of(table: pg_sys::Oid, column: &str) -> Result<Option<(i16, pg_sys::Oid)>> {
    query::optional(
        "SELECT a.attnum, coalesce(nullif(t.typbasetype, 0), t.oid)
           FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
          WHERE a.attrelid = $1 AND a.attname = $2 AND a.attnum > 0 AND NOT a.attisdropped",
        &[table.into(), column.into()],
        |row| Ok((row.required(1)?, row.required(2)?)),
    )
}

/// A B-tree index of a table that has the column first, in the server's own order, and all rows; and
/// whether that order is descending.
fn index_on(table: pg_sys::Oid, column: i16) -> Result<Option<(pg_sys::Oid, bool)>> {
    query::optional(
        "SELECT x.indexrelid, x.indoption[0] & 1 = 1
           FROM pg_catalog.pg_index x
           JOIN pg_catalog.pg_class c ON c.oid = x.indexrelid
           JOIN pg_catalog.pg_am am ON am.oid = c.relam AND am.amname = 'btree'
           JOIN pg_catalog.pg_opclass o ON o.oid = x.indclass[0]
          WHERE x.indrelid = $1 AND x.indkey[0] = $2 AND x.indpred IS NULL AND x.indisvalid
            AND NOT x.indcheckxmin AND o.opcfamily < 16384
          ORDER BY x.indnatts, x.indexrelid LIMIT 1",
        &[table.into(), column.into()],
        |row| Ok((row.required(1)?, row.required(2)?)),
    )
}

/// A relation that is closed when this goes; its lock stays until the transaction ends.
struct Open(pg_sys::Relation);

impl Open {
    fn table(oid: pg_sys::Oid) -> Option<Self> {
        // SAFETY: answers NULL for a relation that is gone.
        let relation = unsafe { pg_sys::try_relation_open(oid, ACCESS_SHARE) };
        Self::unless_gone(relation)
    }

    fn index(oid: pg_sys::Oid) -> Option<Self> {
        // SAFETY: as above. The relation cache entry of an index holds its expressions as text only.
        let relation = unsafe { pg_sys::try_relation_open(oid, ACCESS_SHARE) };
        Self::unless_gone(relation)
    }

    /// Not by `then_some()`, which makes its value first: dropped, it would close what was not opened.
    fn unless_gone(relation: pg_sys::Relation) -> Option<Self> {
        (!relation.is_null()).then(|| Self(relation))
    }

    /// A column of a row; None for NULL.
    fn value(&self, tuple: pg_sys::HeapTuple, number: i16) -> Option<pg_sys::Datum> {
        let mut is_null = false;
        // SAFETY: the tuple is of this relation, and the number that of one of its columns.
        let value =
            unsafe { pg_sys::heap_getattr(tuple, number.into(), (*self.0).rd_att, &mut is_null) };
        (!is_null).then_some(value)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        // While an error unwinds, the abort closes the relation.
        if !std::thread::panicking() {
            // SAFETY: opened above.
            unsafe { pg_sys::relation_close(self.0, NO_LOCK) };
        }
    }
}

/// A scan under a snapshot of the instant at which it was begun. Interruptible at each page.
struct Scan {
    scan: pg_sys::SysScanDesc,
    snapshot: pg_sys::Snapshot,
    is_ordered: bool,
}

impl Scan {
    /// In the order in which rows lie.
    fn of_heap(table: &Open) -> Self {
        // SAFETY: the relation is open; with neither index nor keys this is a sequential scan by the
        // table's own access method (src/backend/access/index/genam.c).
        unsafe {
            let snapshot = pg_sys::RegisterSnapshot(pg_sys::GetLatestSnapshot());
            let none = pg_sys::InvalidOid;
            let scan =
                pg_sys::systable_beginscan(table.0, none, false, snapshot, 0, std::ptr::null_mut());
            Self { scan, snapshot, is_ordered: false }
        }
    }

    /// In the order of a B-tree: without keys nothing is compared (nbtsearch.c, _bt_endpoint).
    fn of_index(table: &Open, index: &Open) -> Self {
        // SAFETY: both are open, and the index is one of the table's.
        unsafe {
            let snapshot = pg_sys::RegisterSnapshot(pg_sys::GetLatestSnapshot());
            let keys = std::ptr::null_mut();
            let scan = pg_sys::systable_beginscan_ordered(table.0, index.0, snapshot, 0, keys);
            Self { scan, snapshot, is_ordered: true }
        }
    }

    /// The next row, valid until the one after it is asked for.
    fn next(&mut self, direction: pg_sys::ScanDirection::Type) -> Option<pg_sys::HeapTuple> {
        pgrx::check_for_interrupts!();
        // SAFETY: the scan was begun above.
        let tuple = unsafe {
            match self.is_ordered {
                true => pg_sys::systable_getnext_ordered(self.scan, direction),
                false => pg_sys::systable_getnext(self.scan),
            }
        };
        (!tuple.is_null()).then_some(tuple)
    }
}

impl Drop for Scan {
    fn drop(&mut self) {
        // While an error unwinds, the abort ends the scan.
        if !std::thread::panicking() {
            // SAFETY: begun and registered above.
            unsafe {
                match self.is_ordered {
                    true => pg_sys::systable_endscan_ordered(self.scan),
                    false => pg_sys::systable_endscan(self.scan),
                }
                pg_sys::UnregisterSnapshot(self.snapshot);
            }
        }
    }
}

/// The order of a built-in type's values.
#[derive(Clone, Copy)]
struct Order {
    key_type: pg_sys::Oid,
    collation: pg_sys::Oid,
}

impl Order {
    /// By the server's own comparison.
    fn compare(self, one: pg_sys::Datum, other: pg_sys::Datum) -> Ordering {
        // SAFETY: the type has a default B-tree operator class, whose cache entry lives as long as the
        // process; both are values of the type.
        let compared = unsafe {
            let wanted = pg_sys::TYPECACHE_CMP_PROC_FINFO as i32;
            let entry = pg_sys::lookup_type_cache(self.key_type, wanted);
            let compare = &raw mut (*entry).cmp_proc_finfo;
            pg_sys::FunctionCall2Coll(compare, self.collation, one, other).value() as i32
        };
        compared.cmp(&0)
    }

    /// A value from the text that DDL takes for it.
    fn value(self, text: &str) -> Result<pg_sys::Datum> {
        let text = encoding::encode_name(text);
        // SAFETY: the text lives through the call, whose input function is that of the type.
        Ok(unsafe {
            let (mut input, mut parameter) = (pg_sys::InvalidOid, pg_sys::InvalidOid);
            pg_sys::getTypeInputInfo(self.key_type, &raw mut input, &raw mut parameter);
            pg_sys::OidInputFunctionCall(input, text.as_ptr().cast_mut(), parameter, -1)
        })
    }
}

/// Keeps a value that is to outlive its row, in the place of another.
fn keep(key_type: pg_sys::Oid, kept: &mut Option<pg_sys::Datum>, value: pg_sys::Datum) {
    // SAFETY: a value of the type. One that is not passed by value is a numeric, and is copied into the
    // current memory context, from which the other is freed.
    unsafe {
        if pg_sys::get_typbyval(key_type) {
            *kept = Some(value);
            return;
        }
        let copy = pg_sys::pg_detoast_datum_copy(value.cast_mut_ptr());
        if let Some(before) = kept.replace(pg_sys::Datum::from(copy)) {
            pg_sys::pfree(before.cast_mut_ptr());
        }
    }
}

/// What a value means; None: nothing on the axis of numbers.
fn decoded(key_type: pg_sys::Oid, value: pg_sys::Datum) -> Option<RawKey> {
    // SAFETY: a value of the type; the text is copied before its memory context goes.
    unsafe {
        let (mut output, mut is_varlena) = (pg_sys::InvalidOid, false);
        pg_sys::getTypeOutputInfo(key_type, &raw mut output, &raw mut is_varlena);
        let text = pg_sys::OidOutputFunctionCall(output, value);
        let literal = encoding::decode_name(CStr::from_ptr(text));
        pg_sys::pfree(text.cast());
        raw_key(key_type, value, &literal)
    }
}
