//! Identifiers and literals on their way into SQL text.
//!
//! This is the only place where a name becomes SQL. Values travel as parameters (see `query.rs`);
//! the two literals that DDL cannot take as parameters, partition bounds and storage options, pass
//! through [`literal`].

use std::fmt;

use pgrx::pg_sys;
use pgrx::spi;

/// A name as SQL wants it: quoted only where PostgreSQL would quote it.
pub(crate) fn name(name: &str) -> String {
    spi::quote_identifier(name)
}

/// A string literal, escaped.
pub(crate) fn literal(value: &str) -> String {
    spi::quote_literal(value)
}

/// A relation by schema and name; displays qualified and quoted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Qualified {
    /// Schema, unquoted.
    pub(crate) schema: String,
    /// Relation name, unquoted.
    pub(crate) name: String,
}

impl Qualified {
    /// Joins the two parts.
    pub(crate) fn new(schema: impl Into<String>, name: impl Into<String>) -> Self {
        Self { schema: schema.into(), name: name.into() }
    }
}

impl fmt::Display for Qualified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&spi::quote_qualified_identifier(&self.schema, &self.name))
    }
}

/// The number inside an Oid, for messages about objects that have no name any more.
pub(crate) fn oid_number(oid: pg_sys::Oid) -> u32 {
    oid.to_u32()
}
