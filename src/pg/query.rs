//! Typed queries on the server's catalogs and on our own tables: the text is constant, values are bound.
//! So it names no relation of a user's, and calls nothing of theirs; what does is in `user_sql.rs`.
//!
//! A text is planned once a session, as PL/pgSQL does: planning the catalog joins takes ten times as long
//! as running them, and a pass over the sets runs the same few for each.

use std::cell::RefCell;
use std::collections::HashMap;

use pgrx::datum::{DatumWithOid, FromDatum, IntoDatum};
use pgrx::pg_sys::PgOid;
use pgrx::spi::{self, OwnedPreparedStatement, Spi, SpiClient, SpiHeapTupleData};

use crate::error::{Error, Result};

thread_local! {
    /// Never freed: there are as many as our source has texts.
    static PLANS: RefCell<HashMap<&'static str, &'static OwnedPreparedStatement>> = RefCell::default();
}

/// The plan of a text, made at its first use. A text's values have the same types wherever it is used.
/// The server makes a kept plan anew when a table, a function or the search_path that it was made for has
/// changed (src/backend/utils/cache/plancache.c).
fn plan(
    client: &SpiClient<'_>,
    text: &'static str,
    values: &[DatumWithOid<'_>],
) -> Result<&'static OwnedPreparedStatement> {
    if let Some(known) = PLANS.with_borrow(|plans| plans.get(text).copied()) {
        return Ok(known);
    }
    let types: Vec<PgOid> = values.iter().map(|value| PgOid::from(value.oid())).collect();
    let made: &'static _ = Box::leak(Box::new(client.prepare(text, &types)?.keep()));
    PLANS.with_borrow_mut(|plans| plans.insert(text, made));
    Ok(made)
}

/// One row of an answer; columns count from 1.
pub(crate) struct Row<'a>(SpiHeapTupleData<'a>);

impl<'a> Row<'a> {
    pub(super) fn new(tuple: SpiHeapTupleData<'a>) -> Self {
        Self(tuple)
    }

    /// A column that may be NULL.
    pub(crate) fn optional<T: FromDatum + IntoDatum>(&self, column: usize) -> Result<Option<T>> {
        Ok(self.0.get(column)?)
    }

    /// A column that cannot be NULL.
    pub(crate) fn required<T: FromDatum + IntoDatum>(&self, column: usize) -> Result<T> {
        self.optional(column)?.ok_or(Error::UnexpectedNull { column })
    }
}

/// All rows, each turned into a value at once: nothing of the answer outlives the call.
pub(crate) fn rows<T>(
    sql: &'static str,
    values: &[DatumWithOid<'_>],
    mut each: impl FnMut(&Row<'_>) -> Result<T>,
) -> Result<Vec<T>> {
    Spi::connect(|client| {
        let answer = client.select(plan(client, sql, values)?, None, values)?;
        answer.map(|tuple| each(&Row(tuple))).collect()
    })
}

/// The first row, if there is one.
pub(crate) fn optional<T>(
    sql: &'static str,
    values: &[DatumWithOid<'_>],
    each: impl FnMut(&Row<'_>) -> Result<T>,
) -> Result<Option<T>> {
    Ok(rows(sql, values, each)?.into_iter().next())
}

/// The one row that must be there.
pub(crate) fn one<T>(
    sql: &'static str,
    values: &[DatumWithOid<'_>],
    each: impl FnMut(&Row<'_>) -> Result<T>,
) -> Result<T> {
    optional(sql, values, each)?.ok_or(Error::from(spi::Error::InvalidPosition))
}

/// Runs a statement that changes something; gives the number of rows it touched.
pub(crate) fn change(sql: &'static str, values: &[DatumWithOid<'_>]) -> Result<usize> {
    Spi::connect_mut(|client| {
        let plan = plan(client, sql, values)?;
        Ok(client.update(plan, None, values)?.len())
    })
}

/// Rows of a statement that also changes something (`… RETURNING`).
pub(crate) fn changed_rows<T>(
    sql: &'static str,
    values: &[DatumWithOid<'_>],
    mut each: impl FnMut(&Row<'_>) -> Result<T>,
) -> Result<Vec<T>> {
    Spi::connect_mut(|client| {
        let plan = plan(client, sql, values)?;
        client.update(plan, None, values)?.map(|tuple| each(&Row(tuple))).collect()
    })
}
