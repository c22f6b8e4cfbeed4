//! What the extension has, as its catalog tells: the same on every major.

use anyhow::Result;
use postgres::Client;

/// A function or a procedure.
pub(crate) struct Routine {
    pub(crate) name: String,
    /// PUBLIC may execute it.
    pub(crate) public: bool,
    pub(crate) is_procedure: bool,
    pub(crate) result: Option<String>,
    pub(crate) comment: Option<String>,
    pub(crate) arguments: Vec<Argument>,
}

/// One argument, or with OUT one column of the result.
pub(crate) struct Argument {
    pub(crate) out: bool,
    pub(crate) name: String,
    pub(crate) type_name: String,
    pub(crate) default: Option<String>,
}

/// A view, or a type with columns.
pub(crate) struct Relation {
    pub(crate) name: String,
    pub(crate) is_view: bool,
    pub(crate) comment: Option<String>,
    pub(crate) columns: Vec<Column>,
}

/// One column.
pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) type_name: String,
    pub(crate) comment: Option<String>,
}

/// A setting; numbers in `unit`.
pub(crate) struct Setting {
    pub(crate) name: String,
    pub(crate) kind: String,
    pub(crate) unit: Option<String>,
    pub(crate) default: String,
    pub(crate) range: Option<(String, String)>,
    pub(crate) context: String,
    pub(crate) comment: String,
}

/// Functions and procedures, by name.
pub(crate) fn routines(client: &mut Client) -> Result<Vec<Routine>> {
    let rows = client.query(
        "SELECT p.proname::text, has_function_privilege('public', p.oid, 'EXECUTE'), p.prokind = 'p',
                pg_get_function_result(p.oid), obj_description(p.oid, 'pg_proc'),
                array_agg(coalesce(a.mode::text, 'i') ORDER BY a.place) FILTER (WHERE a.place > 0),
                array_agg(a.name ORDER BY a.place) FILTER (WHERE a.place > 0),
                array_agg(format_type(a.type, NULL) ORDER BY a.place) FILTER (WHERE a.place > 0),
                array_agg(pg_get_function_arg_default(p.oid, a.place::integer) ORDER BY a.place)
                    FILTER (WHERE a.place > 0)
           FROM pg_depend d
           JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'pg_steward'
           JOIN pg_proc p ON p.oid = d.objid
           LEFT JOIN LATERAL unnest(coalesce(p.proallargtypes, p.proargtypes::oid[]), p.proargnames, p.proargmodes)
                             WITH ORDINALITY a (type, name, mode, place) ON true
          WHERE d.refclassid = 'pg_extension'::regclass AND d.classid = 'pg_proc'::regclass AND d.deptype = 'e'
          GROUP BY p.oid
          ORDER BY p.proname COLLATE \"C\"",
        &[],
    )?;
    let mut found = Vec::new();
    for row in rows {
        let list = |column| row.get::<_, Option<Vec<String>>>(column).unwrap_or_default();
        let (modes, names, types) = (list(5), list(6), list(7));
        let defaults: Vec<Option<String>> =
            row.get::<_, Option<Vec<Option<String>>>>(8).unwrap_or_default();
        let arguments = modes.into_iter().zip(names).zip(types).zip(defaults);
        found.push(Routine {
            name: row.get(0),
            public: row.get(1),
            is_procedure: row.get(2),
            result: row.get(3),
            comment: row.get(4),
            arguments: arguments
                .map(|(((mode, name), type_name), default)| Argument {
                    out: matches!(mode.as_str(), "o" | "t"),
                    default: default.map(|text| plain(&text, &type_name)),
                    name,
                    type_name: short(&type_name),
                })
                .collect(),
        });
    }
    Ok(found)
}

/// A default as one would write it: `'1 month'` and not `'1 month'::text`.
fn plain(default: &str, type_name: &str) -> String {
    default.strip_suffix(&format!("::{type_name}")).unwrap_or(default).to_owned()
}

/// The short name of a type.
fn short(type_name: &str) -> String {
    type_name.replace("timestamp with time zone", "timestamptz")
}

/// Views, and types with columns, by name.
pub(crate) fn relations(client: &mut Client) -> Result<Vec<Relation>> {
    let rows = client.query(
        "SELECT c.relname::text, c.relkind = 'v',
                CASE c.relkind WHEN 'v' THEN obj_description(c.oid, 'pg_class')
                               ELSE obj_description(c.reltype, 'pg_type') END,
                array_agg(a.attname::text ORDER BY a.attnum),
                array_agg(format_type(a.atttypid, a.atttypmod) ORDER BY a.attnum),
                array_agg(col_description(c.oid, a.attnum) ORDER BY a.attnum)
           FROM pg_class c
           JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
          WHERE c.relnamespace = 'steward'::regnamespace AND c.relkind IN ('v', 'c')
          GROUP BY c.oid
          ORDER BY c.relname COLLATE \"C\"",
        &[],
    )?;
    let mut found = Vec::new();
    for row in rows {
        let names: Vec<String> = row.get(3);
        let types: Vec<String> = row.get(4);
        let comments: Vec<Option<String>> = row.get(5);
        let columns = names.into_iter().zip(types).zip(comments);
        found.push(Relation {
            name: row.get(0),
            is_view: row.get(1),
            comment: row.get(2),
            columns: columns
                .map(|((name, type_name), comment)| Column {
                    name,
                    type_name: short(&type_name),
                    comment,
                })
                .collect(),
        });
    }
    Ok(found)
}

/// Settings, by name; what only debug builds have is not shown by the server.
pub(crate) fn settings(client: &mut Client) -> Result<Vec<Setting>> {
    let rows = client.query(
        "SELECT name, vartype, unit, boot_val, min_val, max_val, context, concat_ws(' ', short_desc, extra_desc)
           FROM pg_settings WHERE name LIKE 'pg\\_steward.%' ORDER BY name COLLATE \"C\"",
        &[],
    )?;
    let mut found = Vec::new();
    for row in rows {
        let (least, most): (Option<String>, Option<String>) = (row.get(4), row.get(5));
        found.push(Setting {
            name: row.get(0),
            kind: row.get(1),
            unit: row.get(2),
            default: row.get::<_, Option<String>>(3).unwrap_or_default(),
            range: least.zip(most),
            context: row.get(6),
            comment: row.get(7),
        });
    }
    Ok(found)
}
