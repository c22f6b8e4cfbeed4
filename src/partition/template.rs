//! The table that gives new partitions what their parent cannot.

use super::table::{self, Table};
use crate::error::{Error, Result};
use crate::pg::{Oid, ident, query};

/// The template that was named, checked. `'-'::regclass`, which is OID 0, names none.
pub(super) fn chosen_template(table: &Table, template: Option<Oid>) -> Result<Option<Oid>> {
    let chosen = template.filter(|oid| ident::oid_number(*oid) != 0);
    if let Some(template) = chosen {
        check_template(table, template)?;
    }
    Ok(chosen)
}

/// Whether a table may be `parent`'s template.
fn check_template(parent: &Table, template: Oid) -> Result<()> {
    let facts = query::optional(
        "SELECT c.relkind::pg_catalog.text, c.relowner,
                pg_catalog.pg_get_userbyid(c.relowner)::pg_catalog.text,
                pg_catalog.pg_get_userbyid($2)::pg_catalog.text
           FROM pg_catalog.pg_class c WHERE c.oid = $1",
        &[template.into(), parent.owner.into()],
        |row| {
            Ok((
                row.required::<String>(1)?,
                row.required::<Oid>(2)?,
                row.required::<String>(3)?,
                row.required::<String>(4)?,
            ))
        },
    )?;
    let missing = || Error::NoSuchRelation { oid: ident::oid_number(template) };
    let (kind, template_owner, template_owner_name, owner) = facts.ok_or_else(missing)?;
    let template = table::name(template)?.ok_or_else(missing)?.to_string();
    if kind != "r" {
        return Err(Error::TemplateKind { template });
    }
    // What the template's owner writes into its indexes runs with the rights of the set's owner.
    if template_owner != parent.owner {
        return Err(Error::TemplateOwner {
            relation: parent.display(),
            template,
            template_owner: template_owner_name,
            owner,
        });
    }
    Ok(())
}
