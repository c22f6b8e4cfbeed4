//! Typed queries: SQL text that is constant, values that are bound.
//!
//! A constant text is planned once a session, as PL/pgSQL does: planning the catalog joins takes ten
//! times as long as running them, and a pass over the sets runs the same few for each.

use std::cell::RefCell;
use std::collections::HashMap;

use pgrx::datum::{DatumWithOid, FromDatum, IntoDatum};
use pgrx::pg_sys::PgOid;
use pgrx::spi::{self, OwnedPreparedStatement, Spi, SpiClient, SpiHeapTupleData, SpiTupleTable};

use crate::error::{Error, Result};

/// The text of a statement.
pub(crate) enum Sql {
    /// Written down in our source: its plan is kept. The server makes a kept plan anew when a table,
    /// a function or the search_path that it was made for has changed
    /// (src/backend/utils/cache/plancache.c).
    Constant(&'static str),
    /// Put together for one call, of constants and of names from `ident.rs`.
    Composed(String),
}

impl From<&'static str> for Sql {
    fn from(text: &'static str) -> Self {
        Self::Constant(text)
    }
}

impl From<String> for Sql {
    fn from(text: String) -> Self {
        Self::Composed(text)
    }
}

thread_local! {
    /// Never freed: there are as many as our source has texts.
    static PLANS: RefCell<HashMap<&'static str, &'static OwnedPreparedStatement>> = RefCell::default();
}

/// The plan of a constant text, made at its first use. A text's values have the same types wherever
/// it is used.
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

impl Row<'_> {
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
    sql: impl Into<Sql>,
    values: &[DatumWithOid<'_>],
    mut each: impl FnMut(&Row<'_>) -> Result<T>,
) -> Result<Vec<T>> {
    Spi::connect(|client| {
        let answer = match sql.into() {
            Sql::Constant(text) => client.select(plan(client, text, values)?, None, values)?,
            Sql::Composed(text) => client.select(&text, None, values)?,
        };
        answer.map(|tuple| each(&Row(tuple))).collect()
    })
}

/// The first row, if there is one.
pub(crate) fn optional<T>(
    sql: impl Into<Sql>,
    values: &[DatumWithOid<'_>],
    each: impl FnMut(&Row<'_>) -> Result<T>,
) -> Result<Option<T>> {
    Ok(rows(sql, values, each)?.into_iter().next())
}

/// The one row that must be there.
pub(crate) fn one<T>(
    sql: impl Into<Sql>,
    values: &[DatumWithOid<'_>],
    each: impl FnMut(&Row<'_>) -> Result<T>,
) -> Result<T> {
    optional(sql, values, each)?.ok_or(Error::from(spi::Error::InvalidPosition))
}

/// Runs a statement that changes something; gives the number of rows it touched.
pub(crate) fn change(sql: impl Into<Sql>, values: &[DatumWithOid<'_>]) -> Result<usize> {
    Spi::connect_mut(|client| Ok(update(client, sql.into(), values)?.len()))
}

/// Rows of a statement that also changes something (`… RETURNING`).
pub(crate) fn changed_rows<T>(
    sql: impl Into<Sql>,
    values: &[DatumWithOid<'_>],
    mut each: impl FnMut(&Row<'_>) -> Result<T>,
) -> Result<Vec<T>> {
    Spi::connect_mut(|client| {
        update(client, sql.into(), values)?.map(|tuple| each(&Row(tuple))).collect()
    })
}

fn update<'client>(
    client: &mut SpiClient<'client>,
    sql: Sql,
    values: &[DatumWithOid<'_>],
) -> Result<SpiTupleTable<'client>> {
    Ok(match sql {
        Sql::Constant(text) => {
            let plan = plan(client, text, values)?;
            client.update(plan, None, values)?
        }
        Sql::Composed(text) => client.update(&text, None, values)?,
    })
}

/// Runs statements, or none, that take no values: the SQL of a step, whose every name came through
/// `ident.rs`.
pub(crate) fn run(sql: &str) -> Result<()> {
    if sql.is_empty() {
        return Ok(());
    }
    change(sql.to_owned(), &[]).map(|_| ())
}
