//! SQL that names a relation of a user's, put together for one call of constants and of names from
//! `ident.rs`; and a user's function. Planning the first can call the owner's functions, too, so both run
//! as the owner or not at all.

use std::ffi::CString;

use pgrx::pg_sys;
use pgrx::spi::{self, Spi};

use super::encoding;
use super::identity::AsOwner;
use super::query::{Row, Value};
use crate::error::{Error, Result};

/// What the server takes for the query that is being run, while it is: event triggers and the log see it
/// (current_query(), STATEMENT). A session has one of its own, the call; a worker has none.
pub(super) struct Shown {
    text: Option<CString>,
}

impl Shown {
    pub(super) fn new(sql: &str) -> Self {
        // SAFETY: a backend-local variable; it is NULL in a worker, and points to our text until that goes.
        let is_free = unsafe { pg_sys::debug_query_string.is_null() };
        let text = is_free.then(|| encoding::encode_name(sql));
        if let Some(text) = &text {
            // SAFETY: as above.
            unsafe { pg_sys::debug_query_string = text.as_ptr() };
        }
        Self { text }
    }
}

impl Drop for Shown {
    /// Also while an error unwinds, when the server has already written what it writes of it.
    fn drop(&mut self) {
        if self.text.is_some() {
            // SAFETY: as above.
            unsafe { pg_sys::debug_query_string = std::ptr::null() };
        }
    }
}

/// A statement as the server takes it. Errors: there is a zero byte in it.
pub(super) fn statement(sql: &str) -> Result<CString> {
    CString::new(encoding::encode(sql)).map_err(|error| Error::Query { message: error.to_string() })
}

impl AsOwner {
    /// All rows of an answer, each turned into a value at once.
    pub(crate) fn rows<T>(
        &self,
        sql: &str,
        values: &[Value<'_>],
        mut each: impl FnMut(&Row<'_>) -> Result<T>,
    ) -> Result<Vec<T>> {
        self.check()?;
        let _shown = Shown::new(sql);
        Spi::connect(|client| {
            client
                .select(&statement(sql)?, None, Value::all(values))?
                .map(|tuple| each(&Row::new(tuple)))
                .collect()
        })
    }

    /// The first row of an answer, if there is one.
    pub(crate) fn optional<T>(
        &self,
        sql: &str,
        values: &[Value<'_>],
        mut each: impl FnMut(&Row<'_>) -> Result<T>,
    ) -> Result<Option<T>> {
        self.check()?;
        let _shown = Shown::new(sql);
        Spi::connect(|client| {
            let mut answer = client.select(&statement(sql)?, Some(1), Value::all(values))?;
            answer.next().map(|tuple| each(&Row::new(tuple))).transpose()
        })
    }

    /// The one row that must be there.
    pub(crate) fn one<T>(
        &self,
        sql: &str,
        values: &[Value<'_>],
        each: impl FnMut(&Row<'_>) -> Result<T>,
    ) -> Result<T> {
        self.optional(sql, values, each)?.ok_or(Error::from(spi::Error::InvalidPosition))
    }

    /// Runs a statement that changes something; gives the number of rows it touched.
    pub(crate) fn change(&self, sql: &str) -> Result<u64> {
        self.check()?;
        let _shown = Shown::new(sql);
        let rows = Spi::connect_mut(|client| {
            Ok::<_, Error>(client.update(&statement(sql)?, None, &[])?.len())
        })?;
        u64::try_from(rows).map_err(|error| Error::Query { message: error.to_string() })
    }

    /// Runs statements, none if the text is empty.
    pub(crate) fn run(&self, sql: &str) -> Result<()> {
        match sql.is_empty() {
            true => Ok(()),
            false => self.change(sql).map(|_| ()),
        }
    }

    /// Asks a function (regclass) RETURNS boolean about a relation: both by OID, for what goes by their
    /// names may be another one a moment later. `sql` is what would ask so by name. Whether the owner may
    /// execute it, the caller has seen.
    pub(crate) fn asks(
        &self,
        function: pg_sys::Oid,
        relation: pg_sys::Oid,
        sql: &str,
    ) -> Result<Option<bool>> {
        self.check()?;
        let _shown = Shown::new(sql);
        // SAFETY: as FunctionCall1Coll (src/backend/utils/fmgr/fmgr.c) does it, but that it takes NULL for
        // an answer; the structures live in the current memory context through the call, and what the
        // function raises comes back through the guard.
        let (answer, is_null) = unsafe {
            let info = pg_sys::palloc0(size_of::<pg_sys::FmgrInfo>()).cast::<pg_sys::FmgrInfo>();
            pg_sys::fmgr_info(function, info);
            let size =
                size_of::<pg_sys::FunctionCallInfoBaseData>() + size_of::<pg_sys::NullableDatum>();
            let call = pg_sys::palloc0(size).cast::<pg_sys::FunctionCallInfoBaseData>();
            (*call).flinfo = info;
            (*call).nargs = 1;
            let argument = (&raw mut (*call).args).cast::<pg_sys::NullableDatum>();
            (*argument).value = relation.into();
            let Some(address) = (*info).fn_addr else {
                return Err(Error::Query { message: "a function without an address".into() });
            };
            let answer = pg_sys::ffi::pg_guard_ffi_boundary(|| address(call));
            (answer, (*call).isnull)
        };
        Ok((!is_null).then(|| answer.value() & 0xff != 0))
    }

    /// Runs a statement that changes something under a snapshot of this instant, also in a transaction that
    /// has had its snapshot for long; gives the number of rows it touched.
    pub(crate) fn change_latest(&self, sql: &str) -> Result<u64> {
        self.check()?;
        let text = statement(sql)?;
        Spi::connect_mut(|_| {
            // SAFETY: connected to SPI. The snapshot is copied before it is used (src/backend/executor/
            // spi.c, _SPI_execute_plan, as for the checks of foreign keys in ri_triggers.c).
            unsafe {
                let plan = pg_sys::SPI_prepare(text.as_ptr(), 0, std::ptr::null_mut());
                if plan.is_null() {
                    let code = pg_sys::SPI_result;
                    return Err(Error::Query { message: format!("SPI code {code}") });
                }
                let code = pg_sys::SPI_execute_snapshot(
                    plan,
                    std::ptr::null_mut(),
                    std::ptr::null(),
                    pg_sys::GetLatestSnapshot(),
                    std::ptr::null_mut(),
                    false,
                    true,
                    0,
                );
                match code {
                    code if code < 0 => Err(Error::Query { message: format!("SPI code {code}") }),
                    _ => Ok(pg_sys::SPI_processed),
                }
            }
        })
    }
}
