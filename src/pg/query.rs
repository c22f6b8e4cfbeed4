//! Typed queries on the server's catalogs and on our own tables: the text is constant, values are bound.
//! So it names no relation of a user's, and calls nothing of theirs; what does is in `user_sql.rs`.
//!
//! A text is planned once a session, as PL/pgSQL does: planning the catalog joins takes ten times as long
//! as running them, and a pass over the sets runs the same few for each.

use std::cell::RefCell;
use std::collections::HashMap;

use pgrx::datum::{
    AnyNumeric, DatumWithOid, FromDatum, Interval, IntoDatum, JsonB, TimestampWithTimeZone,
};
use pgrx::pg_sys::{self, PgOid};
use pgrx::spi::{self, OwnedPreparedStatement, Spi, SpiClient, SpiHeapTupleData};

use super::encoding::{self, Text};
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
    values: &[Value<'_>],
) -> Result<&'static OwnedPreparedStatement> {
    if let Some(known) = PLANS.with_borrow(|plans| plans.get(text).copied()) {
        return Ok(known);
    }
    let types: Vec<PgOid> = values.iter().map(|value| PgOid::from(value.0.oid())).collect();
    let made: &'static _ = Box::leak(Box::new(client.prepare(text, &types)?.keep()));
    PLANS.with_borrow_mut(|plans| plans.insert(text, made));
    Ok(made)
}

/// A value that is bound to a `$n`: text in the server's encoding.
#[repr(transparent)]
pub(crate) struct Value<'a>(DatumWithOid<'a>);

impl<'a> Value<'a> {
    pub(super) fn all<'v>(values: &'v [Self]) -> &'v [DatumWithOid<'a>] {
        // SAFETY: the one is laid out as the other.
        unsafe { &*(std::ptr::from_ref(values) as *const [DatumWithOid<'a>]) }
    }
}

impl From<&str> for Value<'_> {
    fn from(text: &str) -> Self {
        let bytes = encoding::encode(text);
        // SAFETY: a text is laid out as a bytea is; the value is a copy.
        Self(unsafe { DatumWithOid::new(bytes.as_ref(), pg_sys::TEXTOID) })
    }
}

impl From<Option<&str>> for Value<'_> {
    fn from(text: Option<&str>) -> Self {
        text.map_or(Self(DatumWithOid::null::<Text>()), Self::from)
    }
}

impl From<Option<String>> for Value<'_> {
    fn from(text: Option<String>) -> Self {
        text.as_deref().into()
    }
}

impl From<Vec<String>> for Value<'_> {
    fn from(texts: Vec<String>) -> Self {
        Self(texts.into_iter().map(Text::from).collect::<Vec<_>>().into())
    }
}

impl From<Vec<pg_sys::Oid>> for Value<'_> {
    fn from(oids: Vec<pg_sys::Oid>) -> Self {
        Self(oids.into())
    }
}

impl From<String> for Value<'_> {
    fn from(text: String) -> Self {
        text.as_str().into()
    }
}

impl From<&String> for Value<'_> {
    fn from(text: &String) -> Self {
        text.as_str().into()
    }
}

impl From<JsonB> for Value<'_> {
    fn from(json: JsonB) -> Self {
        let text = encoding::encode_name(&json.0.to_string());
        // SAFETY: the text lives through the call, and what is raised comes back through the guard.
        unsafe {
            let value = pg_sys::OidFunctionCall1Coll(
                pg_sys::Oid::from(pg_sys::F_JSONB_IN),
                pg_sys::InvalidOid,
                pg_sys::Datum::from(text.as_ptr()),
            );
            Self(DatumWithOid::new(value, pg_sys::JSONBOID))
        }
    }
}

/// What a column can be read as.
pub(crate) trait Column: Sized {
    /// How pgrx reads it.
    type Stored: FromDatum + IntoDatum;

    fn read(stored: Self::Stored) -> Self;
}

impl Column for String {
    type Stored = Text;

    fn read(stored: Text) -> Self {
        stored.0
    }
}

impl Column for Vec<String> {
    type Stored = Vec<Text>;

    fn read(stored: Vec<Text>) -> Self {
        stored.into_iter().map(|text| text.0).collect()
    }
}

/// What has no letters in it.
macro_rules! plain {
    ($($plain:ty),*) => {$(
        impl Column for $plain {
            type Stored = Self;

            fn read(stored: Self) -> Self {
                stored
            }
        }

        impl From<$plain> for Value<'_> {
            fn from(value: $plain) -> Self {
                Self(value.into())
            }
        }

        impl From<Option<$plain>> for Value<'_> {
            fn from(value: Option<$plain>) -> Self {
                Self(value.into())
            }
        }
    )*};
}
plain!(bool, i16, i32, i64, pg_sys::Oid, AnyNumeric, Interval, TimestampWithTimeZone);

/// One row of an answer; columns count from 1.
pub(crate) struct Row<'a>(SpiHeapTupleData<'a>);

impl<'a> Row<'a> {
    pub(super) fn new(tuple: SpiHeapTupleData<'a>) -> Self {
        Self(tuple)
    }

    /// A column that may be NULL.
    pub(crate) fn optional<T: Column>(&self, column: usize) -> Result<Option<T>> {
        Ok(self.0.get(column)?.map(T::read))
    }

    /// A column that cannot be NULL.
    pub(crate) fn required<T: Column>(&self, column: usize) -> Result<T> {
        self.optional(column)?.ok_or(Error::UnexpectedNull { column })
    }
}

/// All rows, each turned into a value at once: nothing of the answer outlives the call.
pub(crate) fn rows<T>(
    sql: &'static str,
    values: &[Value<'_>],
    mut each: impl FnMut(&Row<'_>) -> Result<T>,
) -> Result<Vec<T>> {
    Spi::connect(|client| {
        let answer = client.select(plan(client, sql, values)?, None, Value::all(values))?;
        answer.map(|tuple| each(&Row(tuple))).collect()
    })
}

/// The first row, if there is one.
pub(crate) fn optional<T>(
    sql: &'static str,
    values: &[Value<'_>],
    each: impl FnMut(&Row<'_>) -> Result<T>,
) -> Result<Option<T>> {
    Ok(rows(sql, values, each)?.into_iter().next())
}

/// The one row that must be there.
pub(crate) fn one<T>(
    sql: &'static str,
    values: &[Value<'_>],
    each: impl FnMut(&Row<'_>) -> Result<T>,
) -> Result<T> {
    optional(sql, values, each)?.ok_or(Error::from(spi::Error::InvalidPosition))
}

/// Runs a statement that changes something; gives the number of rows it touched.
pub(crate) fn change(sql: &'static str, values: &[Value<'_>]) -> Result<usize> {
    Spi::connect_mut(|client| {
        let plan = plan(client, sql, values)?;
        Ok(client.update(plan, None, Value::all(values))?.len())
    })
}

/// Rows of a statement that also changes something (`… RETURNING`).
pub(crate) fn changed_rows<T>(
    sql: &'static str,
    values: &[Value<'_>],
    mut each: impl FnMut(&Row<'_>) -> Result<T>,
) -> Result<Vec<T>> {
    Spi::connect_mut(|client| {
        let plan = plan(client, sql, values)?;
        client.update(plan, None, Value::all(values))?.map(|tuple| each(&Row(tuple))).collect()
    })
}
