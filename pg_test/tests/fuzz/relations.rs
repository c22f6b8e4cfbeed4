//! A zoo of relations.

/// Roles of the whole cluster: an owner of sets, another one, somebody who watches, and nobody.
pub(crate) const ROLES: &str = "
CREATE ROLE app LOGIN; CREATE ROLE other LOGIN; CREATE ROLE nobody LOGIN;
CREATE ROLE watcher LOGIN IN ROLE pg_monitor;";

/// What a database has before its zoo.
pub(crate) const GROUND: &str = r#"
CREATE EXTENSION pg_steward;
CREATE SCHEMA zoo; GRANT ALL ON SCHEMA zoo TO app, other;
CREATE SCHEMA attic; GRANT ALL ON SCHEMA attic TO app;
CREATE SCHEMA evil; GRANT ALL ON SCHEMA evil TO PUBLIC;
CREATE SCHEMA "Größe ""x"" %I $1"; GRANT ALL ON SCHEMA "Größe ""x"" %I $1" TO app;
CREATE FUNCTION evil.lower(text) RETURNS text LANGUAGE sql AS 'SELECT ''evil''';
CREATE FUNCTION evil.format(text, VARIADIC text[]) RETURNS text LANGUAGE sql AS 'SELECT ''evil''';
CREATE FUNCTION evil.now() RETURNS timestamptz LANGUAGE sql AS 'SELECT timestamptz ''1970-01-01''';
CREATE FUNCTION evil.eq(oid, oid) RETURNS boolean LANGUAGE sql AS 'SELECT false';
CREATE OPERATOR evil.= (LEFTARG = oid, RIGHTARG = oid, FUNCTION = evil.eq);
CREATE TABLE evil.pg_class (oid oid, relname name); CREATE TABLE evil.range_policy (parent regclass);
CREATE TABLE zoo.plain (k timestamptz NOT NULL, a int, b text); CREATE UNLOGGED TABLE zoo.template (k timestamptz NOT NULL, a int, b text);
ALTER TABLE zoo.plain OWNER TO app; ALTER TABLE zoo.template OWNER TO app;
CREATE FUNCTION zoo.keeps(regclass) RETURNS boolean LANGUAGE sql AS 'SELECT true';
CREATE FUNCTION zoo.refuses(regclass) RETURNS boolean LANGUAGE sql AS 'SELECT NULL::boolean';
CREATE FUNCTION zoo.raises(regclass) RETURNS boolean LANGUAGE plpgsql AS 'BEGIN RAISE division_by_zero; END';
CREATE FUNCTION zoo.raises_own(regclass) RETURNS boolean LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''mine'' USING ERRCODE = ''P4242''; END';
CREATE FUNCTION zoo.dallies(regclass) RETURNS boolean LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.3); RETURN true; END';
CREATE FUNCTION zoo.writes(regclass) RETURNS boolean LANGUAGE plpgsql AS 'BEGIN EXECUTE ''DELETE FROM '' || $1; RETURN true; END';
CREATE FUNCTION zoo.drops(regclass) RETURNS boolean LANGUAGE plpgsql AS 'BEGIN EXECUTE ''DROP TABLE '' || $1; RETURN true; END';
CREATE FUNCTION zoo.not_boolean(regclass) RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE FUNCTION zoo.set_of(regclass) RETURNS SETOF boolean LANGUAGE sql AS 'SELECT true';
ALTER FUNCTION zoo.keeps(regclass) OWNER TO app; ALTER FUNCTION zoo.refuses(regclass) OWNER TO app;
ALTER FUNCTION zoo.raises(regclass) OWNER TO app; ALTER FUNCTION zoo.raises_own(regclass) OWNER TO app;
ALTER FUNCTION zoo.dallies(regclass) OWNER TO app; ALTER FUNCTION zoo.writes(regclass) OWNER TO app;
ALTER FUNCTION zoo.drops(regclass) OWNER TO app;
CREATE FUNCTION zoo.noop() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE VIEW zoo.v AS SELECT * FROM zoo.plain; CREATE MATERIALIZED VIEW zoo.m AS SELECT * FROM zoo.plain;
CREATE SEQUENCE zoo.s; CREATE INDEX plain_k ON zoo.plain (k); CREATE TYPE zoo.c AS (a int);
CREATE TYPE zoo.mood AS ENUM ('sad', 'ok'); CREATE DOMAIN zoo.day AS date CHECK (VALUE > '1900-01-01');
CREATE FOREIGN DATA WRAPPER nowhere; CREATE SERVER nowhere FOREIGN DATA WRAPPER nowhere; CREATE FOREIGN TABLE zoo.f (k timestamptz NOT NULL) SERVER nowhere;
"#;

/// A kind of partitioned table: `%` stands for its name, which is qualified. Each is made and dropped again and again.
pub(crate) struct Kind {
    /// Its name in schema zoo, or in the one whose name is odd.
    pub(crate) name: &'static str,
    /// Who owns it.
    pub(crate) owner: &'static str,
    make: &'static str,
}

impl Kind {
    /// What makes it.
    pub(crate) fn sql(&self) -> String {
        // `%%` is a percent sign.
        let parts: Vec<String> =
            self.make.split("%%").map(|part| part.replace('%', self.name)).collect();
        format!("SET ROLE {}; {}; RESET ROLE", self.owner, parts.join("%"))
    }

    /// What puts it under management; nothing, where it cannot be.
    pub(crate) fn managed(&self) -> String {
        let Some((_, call)) = MANAGED.iter().find(|(name, _)| *name == self.name) else {
            return String::new();
        };
        let parts: Vec<String> =
            call.split("%%").map(|part| part.replace('%', self.name)).collect();
        format!(
            "SET ROLE {}; SELECT count(*) FROM steward.{}; RESET ROLE",
            self.owner,
            parts.join("%")
        )
    }
}

/// Puts kinds under management as their owners would: a call on anything else is mostly refused.
const MANAGED: &[(&str, &str)] = &[
    (
        "zoo.by_day",
        "manage_range('%', '1 day', 2); SELECT steward.set_retention('%', '2 days', archive_function => 'zoo.keeps(regclass)')",
    ),
    (
        "zoo.with_default",
        "manage_range('%', '1 day', 1); SELECT steward.set_retention('%', '5 days', 'detach', 'attic')",
    ),
    ("zoo.by_date", "manage_range('%', '1 week')"),
    (
        "zoo.by_wall",
        "manage_range('%', '1 month', start_at => '2026-01-01'); SELECT steward.set_tiering('%', '2 months', 'cold')",
    ),
    ("zoo.by_small", "manage_range('%', '100')"),
    (
        "zoo.by_int",
        "manage_range('%', '10', default_partition => true); SELECT steward.set_retention('%', '20')",
    ),
    ("zoo.by_big", "manage_range('%', '1000', name_format => '{parent}_{lower}')"),
    ("zoo.by_numeric", "manage_range('%', '10')"),
    ("zoo.by_uuid", "manage_range('%', '1 day', key_encoding => 'uuidv7')"),
    ("zoo.by_text", "manage_range('%', '1 day', key_encoding => 'ulid')"),
    ("zoo.by_bytea", "manage_range('%', '1 hour', key_encoding => 'ulid')"),
    ("zoo.by_domain", "manage_range('%', '1 month')"),
    ("zoo.hashed", "manage_hash('%', 4)"),
    ("zoo.hashed_two", "manage_hash('%', 3)"),
    ("zoo.hashed_rows", "manage_hash('%', 4)"),
    (
        "zoo.subpartitioned",
        "manage_range('%', '1 month', subpartition_by => 'a', subpartitions => 2)",
    ),
    ("zoo.forced", "manage_range('%', '1 day')"),
    ("zoo.checked", "manage_range('%', '1 month')"),
    (
        "zoo.triggered",
        "manage_range('%', '15 minutes', 2); SELECT steward.set_retention('%', '30 minutes', archive_function => 'zoo.dallies(regclass)')",
    ),
    ("zoo.referenced", "manage_range('%', '1 day'); SELECT steward.set_retention('%', '1 day')"),
    ("zoo.to_the_end", "manage_range('%', '1 day')"),
    ("zoo.uneven", "manage_range('%', '1 month', template => 'zoo.template')"),
    (
        "\"Größe \"\"x\"\" %I $1\".inside",
        "manage_range('\"Größe \"\"x\"\" %%I $1\".inside', '100')",
    ),
];

const fn kind(name: &'static str, owner: &'static str, make: &'static str) -> Kind {
    Kind { name, owner, make }
}

/// The kinds.
pub(crate) const KINDS: &[Kind] = &[
    kind("zoo.by_day", "app", "CREATE TABLE % (k timestamptz NOT NULL, a int, b text, note text) PARTITION BY RANGE (k)"),
    kind("zoo.with_default", "app", "CREATE TABLE % (k timestamptz, a int, b text) PARTITION BY RANGE (k);
          CREATE TABLE %_default PARTITION OF % DEFAULT;
          INSERT INTO % SELECT now() - i * interval '7 hours', i FROM generate_series(-20, 20) i; INSERT INTO % VALUES (NULL), ('infinity')"),
    kind("zoo.by_date", "other", "CREATE TABLE % (k date NOT NULL, a int, b text) PARTITION BY RANGE (k)"),
    kind("zoo.by_wall", "postgres", "CREATE TABLE % (k timestamp NOT NULL, a int GENERATED ALWAYS AS IDENTITY, b text) PARTITION BY RANGE (k)"),
    kind("zoo.by_small", "app", "CREATE TABLE % (k smallint NOT NULL, a int) PARTITION BY RANGE (k)"),
    kind("zoo.by_int", "app", "CREATE TABLE % (k int GENERATED BY DEFAULT AS IDENTITY, a int) PARTITION BY RANGE (k)"),
    kind("zoo.by_big", "app", "CREATE TABLE % (k bigserial, a int, b text, PRIMARY KEY (k)) PARTITION BY RANGE (k)"),
    kind("zoo.by_numeric", "other", "CREATE TABLE % (k numeric NOT NULL, a int) PARTITION BY RANGE (k)"),
    kind("zoo.by_uuid", "app", "CREATE TABLE % (k uuid NOT NULL, a int) PARTITION BY RANGE (k)"),
    kind("zoo.by_text", "app", "CREATE TABLE % (k text COLLATE \"C\" NOT NULL, a int) PARTITION BY RANGE (k)"),
    kind("zoo.by_bytea", "app", "CREATE TABLE % (k bytea NOT NULL, a int) PARTITION BY RANGE (k)"),
    kind("zoo.by_interval", "app", "CREATE TABLE % (k interval, a int) PARTITION BY RANGE (k)"),
    kind("zoo.by_float", "app", "CREATE TABLE % (k float8, a int) PARTITION BY RANGE (k)"),
    kind("zoo.by_domain", "app", "CREATE TABLE % (k zoo.day, a int) PARTITION BY RANGE (k)"),
    kind("zoo.by_mood", "app", "CREATE TABLE % (k zoo.mood, a int) PARTITION BY RANGE (k)"),
    kind("zoo.two_keys", "app", "CREATE TABLE % (k timestamptz, a int) PARTITION BY RANGE (k, a)"),
    kind("zoo.expression", "app", "CREATE TABLE % (k timestamptz, a int) PARTITION BY RANGE ((k AT TIME ZONE 'UTC'))"),
    kind("zoo.by_list", "app", "CREATE TABLE % (k timestamptz, a int) PARTITION BY LIST (a); CREATE TABLE %_1 PARTITION OF % FOR VALUES IN (1, NULL)"),
    kind("zoo.hashed", "app", "CREATE TABLE % (k timestamptz, a int NOT NULL, b text) PARTITION BY HASH (a)"),
    kind("zoo.hashed_two", "other", "CREATE TABLE % (k timestamptz, a int, b text) PARTITION BY HASH (a, b);
          CREATE TABLE %_x PARTITION OF % FOR VALUES WITH (MODULUS 3, REMAINDER 1)"),
    kind("zoo.hashed_rows", "app", "CREATE TABLE % (k timestamptz, a int) PARTITION BY HASH (a);
          CREATE TABLE %_0 PARTITION OF % FOR VALUES WITH (MODULUS 2, REMAINDER 0); CREATE TABLE %_1 PARTITION OF % FOR VALUES WITH (MODULUS 4, REMAINDER 1);
          CREATE TABLE %_3 PARTITION OF % FOR VALUES WITH (MODULUS 4, REMAINDER 3); INSERT INTO % SELECT now(), i FROM generate_series(1, 50) i"),
    kind("zoo.hashed_expression", "app", "CREATE TABLE % (k timestamptz, a int) PARTITION BY HASH (abs(a))"),
    kind("zoo.subpartitioned", "app", "CREATE TABLE % (k timestamptz NOT NULL, a int NOT NULL, UNIQUE (k, a)) PARTITION BY RANGE (k);
          CREATE TABLE %_old PARTITION OF % FOR VALUES FROM (MINVALUE) TO ('2020-01-01') PARTITION BY LIST (a)"),
    kind("zoo.forced", "app", "CREATE TABLE % (k timestamptz NOT NULL, a int) PARTITION BY RANGE (k); CREATE TABLE %_default PARTITION OF % DEFAULT;
          INSERT INTO % SELECT now() - i * interval '1 day', i FROM generate_series(0, 5) i;
          ALTER TABLE % ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY; ALTER TABLE %_default ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
          CREATE POLICY half ON % USING (a > 2)"),
    kind("zoo.checked", "app", "CREATE TABLE % (k timestamptz NOT NULL CHECK (k > '2000-01-01'), a int, b text DEFAULT current_user) PARTITION BY RANGE (k);
          CREATE TABLE %_default PARTITION OF % DEFAULT; INSERT INTO % VALUES (now(), 1), (now() - interval '40 days', 2);
          CREATE INDEX ON % (upper(b)); CREATE STATISTICS %_stat ON k, a FROM %; ALTER TABLE %_default ADD CHECK (a < 100)"),
    kind("zoo.triggered", "app", "CREATE TABLE % (k timestamptz NOT NULL, a int) PARTITION BY RANGE (k);
          CREATE TRIGGER t BEFORE INSERT ON % FOR EACH ROW EXECUTE FUNCTION zoo.noop()"),
    kind("zoo.referenced", "app", "CREATE TABLE % (k timestamptz NOT NULL, a int NOT NULL, PRIMARY KEY (k, a)) PARTITION BY RANGE (k);
          CREATE TABLE %_default PARTITION OF % DEFAULT; INSERT INTO % VALUES (now() - interval '3 days', 1);
          CREATE TABLE %_by (k timestamptz, a int, FOREIGN KEY (k, a) REFERENCES %); INSERT INTO %_by SELECT * FROM %"),
    kind("zoo.to_the_end", "app", "CREATE TABLE % (k timestamptz, a int) PARTITION BY RANGE (k);
          CREATE TABLE %_past PARTITION OF % FOR VALUES FROM ('4713-01-01 BC') TO ('2026-11-05 03:00:00.000001+00');
          CREATE TABLE %_end PARTITION OF % FOR VALUES FROM ('294276-12-31') TO ('infinity')"),
    kind("zoo.uneven", "app", "CREATE TABLE % (k timestamptz, a int) PARTITION BY RANGE (k);
          CREATE TABLE %_a PARTITION OF % FOR VALUES FROM ('-infinity') TO ('2026-01-01'); CREATE TABLE %_b PARTITION OF % FOR VALUES FROM ('2026-02-03 04:05') TO (MAXVALUE)"),
    kind("zoo.\"Zoë's \"\"%\"\" {parent} table, whose name is so long that nothing fits\"", "app",
         "CREATE TABLE zoo.\"Zoë's \"\"%%\"\" {parent} table, whose name is so long that nothing fits\" (k timestamptz NOT NULL, \"größe\" int) PARTITION BY RANGE (k)"),
    kind("\"Größe \"\"x\"\" %I $1\".inside", "app", "CREATE TABLE \"Größe \"\"x\"\" %%I $1\".inside (k bigint NOT NULL, a int) PARTITION BY RANGE (k)"),
];

/// Literals of relations that no call is for.
pub(crate) const ODD: &[&str] = &[
    "0",
    "'-'",
    "4294967295",
    "2147483647",
    "16384",
    "'zoo.plain'",
    "'zoo.v'",
    "'zoo.m'",
    "'zoo.s'",
    "'zoo.plain_k'",
    "'zoo.c'",
    "'zoo.f'",
    "'zoo.template'",
    "'pg_class'",
    "'pg_authid'",
    "'pg_toast.pg_toast_1255'",
    "'pg_catalog.pg_stat_activity'",
    "'information_schema.tables'",
    "'steward.range_policy'",
    "'steward.job'",
    "'steward.partition_sets'",
    "'steward.job_job_id_seq'",
    "'steward.step'",
    "'pg_class_oid_index'",
    "'steward.restored'",
    "'evil.pg_class'",
    "'pg_temp.passing'",
];
