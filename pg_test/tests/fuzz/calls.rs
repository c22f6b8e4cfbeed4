//! The calls: every function and procedure that schema steward has, as pg_proc tells, and every view.

use anyhow::Result;
use postgres::Client;

use crate::arguments;
use crate::chance::Chance;
use crate::pool::Pool;

/// A function or procedure.
pub(crate) struct Routine {
    name: String,
    is_procedure: bool,
    names: Vec<String>,
    types: Vec<String>,
    defaults: usize,
    /// Whether everybody may call it.
    public: bool,
}

/// What there is to be called and read.
pub(crate) struct Surface {
    routines: Vec<Routine>,
    views: Vec<String>,
}

/// What one can call: a trigger's function is not.
const ROUTINES: &str = "
SELECT p.proname::text, p.prokind = 'p',
       ARRAY(SELECT coalesce(p.proargnames[i], '') FROM generate_series(1, greatest(p.pronargs, cardinality(p.proargnames))) i
              WHERE p.proargmodes IS NULL OR p.proargmodes[i] IN ('i', 'b', 'v') ORDER BY i),
       ARRAY(SELECT format_type(t, NULL) FROM unnest(p.proargtypes) WITH ORDINALITY u(t, n) ORDER BY n),
       p.pronargdefaults::int, p.proacl IS NULL
  FROM pg_proc p
 WHERE p.pronamespace = 'steward'::regnamespace AND p.prorettype NOT IN ('trigger'::regtype, 'event_trigger'::regtype)
 ORDER BY p.oid";
const VIEWS: &str = "SELECT format('steward.%I', relname) FROM pg_class WHERE relnamespace = 'steward'::regnamespace AND relkind IN ('v', 'r') ORDER BY 1";

/// One call, or one reading of a view.
#[derive(Clone)]
pub(crate) struct Call {
    /// The name of what is called.
    pub(crate) of: String,
    /// The statement.
    pub(crate) sql: String,
    /// Whether it is a CALL, which stands by itself.
    pub(crate) is_procedure: bool,
    /// A helper: see [`Routine::is_helper`].
    pub(crate) is_helper: bool,
}

impl Surface {
    /// Reads it from a database that has the extension.
    pub(crate) fn read(client: &mut Client) -> Result<Self> {
        let rows = client.query(ROUTINES, &[])?;
        let routines = rows
            .iter()
            .map(|row| Routine {
                name: row.get(0),
                is_procedure: row.get(1),
                names: row.get(2),
                types: row.get(3),
                defaults: usize::try_from(row.get::<_, i32>(4)).unwrap_or_default(),
                public: row.get(5),
            })
            .collect();
        let views = client.query(VIEWS, &[])?.iter().map(|row| row.get(0)).collect();
        Ok(Self { routines, views })
    }

    /// Some call.
    pub(crate) fn call(&self, chance: &mut Chance, pool: &Pool) -> Call {
        if chance.one_in(10) {
            return self.reading(chance);
        }
        loop {
            let routine = chance.pick_ref(&self.routines);
            if !routine.is_helper() || chance.one_in(6) {
                return routine.call(chance, pool);
            }
        }
    }

    fn reading(&self, chance: &mut Chance) -> Call {
        let view = chance.pick_ref(&self.views);
        let sql = match chance.below(6) {
            0 => format!("SELECT count(*) FROM {view}"),
            1 => format!("SELECT v::text FROM {view} v ORDER BY 1 LIMIT 3"),
            2 => format!("SELECT * FROM {view} OFFSET 1 LIMIT 1"),
            _ => format!("TABLE {view}"),
        };
        Call { of: view.clone(), sql, is_procedure: false, is_helper: false }
    }
}

impl Routine {
    fn call(&self, chance: &mut Chance, pool: &Pool) -> Call {
        let arguments = self.arguments(chance, pool);
        let call = format!("steward.{}({arguments})", self.name);
        let sql = match (self.is_procedure, chance.below(8)) {
            (true, _) => format!("CALL {call}"),
            (false, 0) => format!("SELECT {call}"),
            (false, 1) => format!("SELECT ({call}).* FROM generate_series(1, 2)"),
            (false, 2) => format!("SELECT count(*) FROM {call}"),
            (false, 3) => format!("SELECT * FROM {call} LIMIT 1"),
            (false, 4) => {
                format!("SELECT x::text FROM pg_catalog.generate_series(1, 2) i, LATERAL {call} x")
            }
            (false, _) => format!("SELECT * FROM {call}"),
        };
        // `(f()).*` is for composite answers only.
        let sql = match sql.contains(").*") && !self.answers_rows() {
            true => format!("SELECT {call} FROM generate_series(1, 2)"),
            false => sql,
        };
        Call {
            of: self.name.clone(),
            sql,
            is_procedure: self.is_procedure,
            is_helper: self.is_helper(),
        }
    }

    /// Called by others of ours, which see to its arguments: only superusers may call it, or it is a part of
    /// import_pg_partman(). It must neither crash nor raise an internal error; what else the server says of
    /// values that make no sense is not documented.
    fn is_helper(&self) -> bool {
        !self.public || self.name.starts_with("pg_partman_")
    }

    fn answers_rows(&self) -> bool {
        matches!(
            self.name.as_str(),
            "manage_range" | "alter_range" | "manage_hash" | "alter_hash" | "plan"
        )
    }

    fn arguments(&self, chance: &mut Chance, pool: &Pool) -> String {
        let required = self.types.len() - self.defaults;
        let by_name = chance.one_in(2) && self.names.iter().all(|name| !name.is_empty());
        let most = required + chance.below(self.defaults + 1);
        let mut given = Vec::new();
        for (place, sql_type) in self.types.iter().enumerate() {
            let optional = place >= required;
            let name = self.names.get(place).map_or("", String::as_str);
            if optional && (if by_name { !chance.one_in(3) } else { place >= most }) {
                continue;
            }
            let value = arguments::literal(chance, pool, name, sql_type);
            given.push(if by_name { format!("\"{name}\" => {value}") } else { value });
        }
        given.join(", ")
    }
}
