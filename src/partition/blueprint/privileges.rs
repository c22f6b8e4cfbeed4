//! Who may use a partition by itself: nobody but its owner, and whom the template lets in.

use crate::error::Result;
use crate::partition::table::Table;
use crate::pg::ident::Qualified;
use crate::pg::{Oid, query};

/// What is granted on each new partition, and what is taken back.
pub(super) struct Privileges {
    /// Roles that default privileges would let in, quoted.
    uninvited: Vec<String>,
    /// Of the template.
    grants: Vec<Grant>,
}

struct Grant {
    privilege: String,
    grantee: String,
    grantable: bool,
}

impl Privileges {
    pub(super) fn read(parent: &Table, template: Option<Oid>) -> Result<Self> {
        Ok(Self { uninvited: uninvited(parent)?, grants: template.map_or(Ok(Vec::new()), grants)? })
    }

    /// Takes back what default privileges have given, and gives what the template does.
    pub(super) fn statements(&self, table: &Qualified) -> Vec<String> {
        let mut statements = Vec::new();
        if !self.uninvited.is_empty() {
            statements.push(format!("REVOKE ALL ON {table} FROM {}", self.uninvited.join(", ")));
        }
        for grant in &self.grants {
            let option = if grant.grantable { " WITH GRANT OPTION" } else { "" };
            let Grant { privilege, grantee, .. } = grant;
            statements.push(format!("GRANT {privilege} ON {table} TO {grantee}{option}"));
        }
        statements
    }
}

/// Whom ALTER DEFAULT PRIVILEGES lets into every new table of the owner. Access goes through the
/// parent: a grant on a partition would walk round the parent's row security.
fn uninvited(parent: &Table) -> Result<Vec<String>> {
    query::rows(
        "SELECT DISTINCT CASE WHEN acl.grantee = 0 THEN 'PUBLIC'
                              ELSE pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(acl.grantee)) END
           FROM pg_catalog.pg_default_acl d
          CROSS JOIN LATERAL pg_catalog.aclexplode(d.defaclacl) acl
          WHERE d.defaclrole = $1 AND d.defaclobjtype = 'r' AND d.defaclnamespace IN (0, $2)
            AND acl.grantee <> $1
          ORDER BY 1",
        &[parent.owner.into(), parent.schema_oid.into()],
        |row| row.required(1),
    )
}

/// What the template grants to others than its owner.
fn grants(template: Oid) -> Result<Vec<Grant>> {
    query::rows(
        "SELECT acl.privilege_type,
                CASE WHEN acl.grantee = 0 THEN 'PUBLIC'
                     ELSE pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(acl.grantee)) END,
                acl.is_grantable
           FROM pg_catalog.pg_class c CROSS JOIN LATERAL pg_catalog.aclexplode(c.relacl) acl
          WHERE c.oid = $1 AND acl.grantee <> c.relowner
          ORDER BY 2, 1",
        &[template.into()],
        |row| {
            Ok(Grant {
                privilege: row.required(1)?,
                grantee: row.required(2)?,
                grantable: row.required(3)?,
            })
        },
    )
}
