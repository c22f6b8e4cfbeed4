//! The SQL face of retention and tiering: what is set and cleared.

use std::ffi::CStr;

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::catalog;
use crate::error::{Error, Result};
use crate::partition::access::needed;
use crate::partition::range::{OwnedRange, Retention, RetentionAction, Tiering};
use crate::pg::guc::Pinned;
use crate::pg::{Oid, Text, called, encoding, ident, identity, query};

#[pg_extern(sql = false)]
fn set_retention(
    parent: Option<Oid>,
    keep: Option<Text>,
    action: Option<Text>,
    to_schema: Option<&CStr>,
    archive_function: Option<Oid>,
) -> std::result::Result<(), ErrorReport> {
    called(|| {
        let keep = keep.as_deref();
        let action = action.as_deref();
        let _pinned = Pinned::begin();
        let set = OwnedRange::take(needed(parent, "parent")?, "set_retention()")?;
        let keep = needed(keep, "keep")?.trim().to_owned();
        let action = needed(action, "action")?;
        let fate = RetentionAction::named(action).ok_or_else(|| {
            set.invalid(
                "action",
                format!("'{action}' is neither 'drop' nor 'detach'"),
                "'drop' removes a table that has left the set, 'detach' keeps it.",
            )
        })?;
        let to_schema = to_schema.map(encoding::decode_name);
        if let Some(schema) = &to_schema {
            check_schema(&set, fate, schema)?;
        }
        let archive_function = match archive_function {
            Some(function) => Some(check_function(&set, fate, function)?),
            None => None,
        };
        set.keep(Some(&Retention { keep, fate, to_schema, archive_function }))?;
        Ok(catalog::unmark(set.oid())?)
    })
}

#[pg_extern(sql = false)]
fn clear_retention(parent: Oid) -> std::result::Result<(), ErrorReport> {
    called(|| {
        let _pinned = Pinned::begin();
        let set = OwnedRange::take(parent, "clear_retention()")?;
        set.keep(None)?;
        Ok(catalog::unmark(set.oid())?)
    })
}

#[pg_extern(sql = false)]
fn set_tiering(
    parent: Option<Oid>,
    older_than: Option<Text>,
    tablespace: Option<&CStr>,
) -> std::result::Result<(), ErrorReport> {
    called(|| {
        let older_than = older_than.as_deref();
        let _pinned = Pinned::begin();
        let set = OwnedRange::take(needed(parent, "parent")?, "set_tiering()")?;
        let older_than = needed(older_than, "older_than")?.trim().to_owned();
        let tablespace = encoding::decode_name(needed(tablespace, "tablespace")?);
        check_tablespace(&set, &tablespace)?;
        Ok(set.cool(Some(&Tiering { older_than, tablespace }))?)
    })
}

#[pg_extern(sql = false)]
fn clear_tiering(parent: Oid) -> std::result::Result<(), ErrorReport> {
    called(|| {
        let _pinned = Pinned::begin();
        Ok(OwnedRange::take(parent, "clear_tiering()")?.cool(None)?)
    })
}

fn check_schema(set: &OwnedRange, fate: RetentionAction, schema: &str) -> Result<()> {
    if fate == RetentionAction::Drop {
        return Err(set.invalid(
            "to_schema",
            "tables that are dropped go nowhere".into(),
            "Give action => 'detach' as well, or leave to_schema out.",
        ));
    }
    let may_create = query::optional(
        "SELECT pg_catalog.has_schema_privilege($2, n.oid, 'CREATE')
           FROM pg_catalog.pg_namespace n WHERE n.nspname = $1",
        &[schema.into(), set.owner().into()],
        |row| row.required::<bool>(1),
    )?;
    match may_create {
        None => Err(Error::NoSuchSchema { schema: schema.to_owned() }),
        Some(true) => Ok(()),
        Some(false) => Err(Error::MayNotCreate {
            place: format!("schema \"{schema}\""),
            owner: identity::role_name(set.owner())?,
        }),
    }
}

/// The function's name and argument type, as it is stored.
fn check_function(set: &OwnedRange, fate: RetentionAction, function: Oid) -> Result<String> {
    if fate == RetentionAction::Detach {
        return Err(set.invalid(
            "archive_function",
            "tables that are kept need no archive".into(),
            "Give action => 'drop', or leave archive_function out.",
        ));
    }
    let signature = catalog::signature(function)?.ok_or_else(|| {
        set.invalid(
            "archive_function",
            format!("there is no function with OID {}", ident::oid_number(function)),
            "It takes a regclass and returns a boolean, for example public.archive(regclass).",
        )
    })?;
    catalog::archive_function(&set.display(), &signature, set.owner())?;
    Ok(signature)
}

fn check_tablespace(set: &OwnedRange, tablespace: &str) -> Result<()> {
    // The database's own tablespace asks for no right (tablecmds.c, ATPrepSetTableSpace).
    let may_create = query::optional(
        "SELECT t.oid = d.dattablespace
                OR pg_catalog.has_tablespace_privilege($2, t.oid, 'CREATE'),
                t.spcname = 'pg_global'
           FROM pg_catalog.pg_tablespace t
           JOIN pg_catalog.pg_database d ON d.datname = pg_catalog.current_database()
          WHERE t.spcname = $1",
        &[tablespace.into(), set.owner().into()],
        |row| Ok((row.required::<bool>(1)?, row.required::<bool>(2)?)),
    )?;
    match may_create {
        None => Err(Error::NoSuchTablespace { tablespace: tablespace.to_owned() }),
        Some((_, true)) => Err(set.invalid(
            "tablespace",
            "only shared relations lie in pg_global".into(),
            "Make one with CREATE TABLESPACE.",
        )),
        Some((true, _)) => Ok(()),
        Some((false, _)) => Err(Error::MayNotCreate {
            place: format!("tablespace \"{tablespace}\""),
            owner: identity::role_name(set.owner())?,
        }),
    }
}
