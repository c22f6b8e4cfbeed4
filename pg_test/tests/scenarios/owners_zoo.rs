//! One hostile owner's sets: all that an owner may hang onto a table, and the server may evaluate.

use pg_test::cluster::Ask;

use crate::owners_support::World;

/// Types, operators, triggers, casts; beside the functions that every test of owners' code has.
const PARTS: &str = r#"
CREATE TABLE mallory.says (archived boolean); INSERT INTO mallory.says VALUES (false);
CREATE OR REPLACE FUNCTION mallory.keep(old regclass) RETURNS boolean LANGUAGE plpgsql AS
    $$ BEGIN PERFORM mallory.note('archive'); RETURN (SELECT s.archived FROM mallory.says s); END $$;
CREATE DOMAIN mallory.small AS int DEFAULT mallory.zero('domain default') CHECK (VALUE >= mallory.zero('domain'));
CREATE TYPE mallory.box AS (n int);
CREATE FUNCTION mallory.box_of(v int) RETURNS mallory.box LANGUAGE plpgsql IMMUTABLE AS
    $$ BEGIN PERFORM mallory.zero('cast'); RETURN ROW(v)::mallory.box; END $$;
CREATE CAST (int AS mallory.box) WITH FUNCTION mallory.box_of(int) AS IMPLICIT;
CREATE FUNCTION mallory.time_of(v mallory.box) RETURNS timestamptz LANGUAGE plpgsql IMMUTABLE AS
    $$ BEGIN PERFORM mallory.zero('cast'); RETURN '2020-01-01'; END $$;
CREATE CAST (mallory.box AS timestamptz) WITH FUNCTION mallory.time_of(mallory.box) AS IMPLICIT;
CREATE FUNCTION mallory.later(a timestamptz, b timestamptz) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS
    $$ BEGIN PERFORM mallory.zero('operator'); RETURN true; END $$;
CREATE FUNCTION mallory.more(a int, b int) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS
    $$ BEGIN PERFORM mallory.zero('operator'); RETURN a >= b; END $$;
CREATE OPERATOR mallory.>= (LEFTARG = timestamptz, RIGHTARG = timestamptz, FUNCTION = mallory.later);
CREATE OPERATOR mallory.< (LEFTARG = timestamptz, RIGHTARG = timestamptz, FUNCTION = mallory.later);
CREATE OPERATOR mallory.>= (LEFTARG = int, RIGHTARG = int, FUNCTION = mallory.more);
CREATE COLLATION mallory.words FROM "C";
-- The server compares with a page of an index locked, and a block with EXCEPTION gives such locks back: no
-- attempt at SET ROLE here.
CREATE FUNCTION mallory.tell(tag text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    RAISE LOG 'kit|%|%|user=%|session=%|super=%|setrole=%|app=%', current_database(), tag, current_user,
        session_user, pg_catalog.current_setting('is_superuser'), 'untried',
        pg_catalog.current_setting('application_name');
END $$;
CREATE FUNCTION mallory.compare(a int, b int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS
    $$ BEGIN PERFORM mallory.tell('opclass'); RETURN pg_catalog.btint4cmp(a, b); END $$;
CREATE FUNCTION mallory.compare(a timestamptz, b timestamptz) RETURNS int LANGUAGE plpgsql IMMUTABLE AS
    $$ BEGIN PERFORM mallory.tell('opclass'); RETURN pg_catalog.timestamptz_cmp(a, b); END $$;
CREATE FUNCTION mallory.hash(a int, seed bigint) RETURNS bigint LANGUAGE plpgsql IMMUTABLE AS
    $$ BEGIN PERFORM mallory.tell('opclass'); RETURN pg_catalog.hashint4extended(a, seed); END $$;
CREATE FUNCTION mallory.row() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN PERFORM mallory.note('trigger ' || TG_NAME); RETURN coalesce(NEW, OLD); END $$;
-- In her path a look-alike of what is called without a schema.
CREATE FUNCTION mallory.now() RETURNS timestamptz LANGUAGE plpgsql STABLE AS
    $$ BEGIN PERFORM mallory.zero('look-alike'); RETURN '2020-01-01'; END $$;
CREATE TABLE mallory.template (n int, k timestamptz);
CREATE INDEX ON mallory.template ((n + mallory.zero('template index')));
CREATE INDEX ON mallory.template (n) WHERE mallory.yes('template predicate');
CREATE STATISTICS mallory.template_s ON (n + mallory.zero('template statistics')), n FROM mallory.template;
CREATE TRIGGER template BEFORE INSERT ON mallory.template FOR EACH ROW EXECUTE FUNCTION mallory.row();
CREATE VIEW mallory.looks AS SELECT mallory.zero('view') AS n;
CREATE TABLE mallory.plain (n int, k timestamptz NOT NULL, CHECK (mallory.yes('plain')));
CREATE INDEX ON mallory.plain ((n + mallory.zero('plain')));
"#;

/// Only a superuser makes an operator class: one has, of mallory's functions.
const OPCLASSES: &str = "
CREATE OPERATOR CLASS mallory.int_ops FOR TYPE int USING btree AS
    OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >, FUNCTION 1 mallory.compare(int, int);
CREATE OPERATOR CLASS mallory.time_ops FOR TYPE timestamptz USING btree AS
    OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >,
    FUNCTION 1 mallory.compare(timestamptz, timestamptz);
CREATE OPERATOR CLASS mallory.hash_ops FOR TYPE int USING hash AS
    OPERATOR 1 =, FUNCTION 2 mallory.hash(int, bigint)";

/// What hangs onto each table of hers, a set's parent or a plain one; columns `n` and `k`.
const HANGS_ON: [&str; 14] = [
    "ALTER TABLE {t} ADD CHECK (mallory.yes('check'))",
    "ALTER TABLE {t} ADD CHECK (mallory.zero_of(n, 'check of a row') = 0)",
    "CREATE INDEX ON {t} ((n + mallory.zero('index')))",
    "CREATE INDEX ON {t} (n) WHERE mallory.yes('predicate')",
    "CREATE INDEX ON {t} (n mallory.int_ops)",
    "CREATE STATISTICS {t}_stats ON (n + mallory.zero('statistics')), n FROM {t}",
    "ALTER TABLE {t} ALTER n SET STATISTICS 1000",
    "CREATE TRIGGER row_before BEFORE INSERT OR UPDATE OR DELETE ON {t} FOR EACH ROW EXECUTE FUNCTION mallory.row()",
    "CREATE TRIGGER row_after AFTER INSERT OR UPDATE OR DELETE ON {t} FOR EACH ROW EXECUTE FUNCTION mallory.row()",
    "CREATE TRIGGER statement_after AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON {t}
         FOR EACH STATEMENT EXECUTE FUNCTION mallory.row()",
    "CREATE CONSTRAINT TRIGGER deferred AFTER INSERT OR UPDATE ON {t} DEFERRABLE INITIALLY DEFERRED
         FOR EACH ROW EXECUTE FUNCTION mallory.row()",
    "ALTER TABLE {t} ADD CHECK (1::mallory.box IS NOT NULL)",
    "CREATE TRIGGER statement_before BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON {t}
         FOR EACH STATEMENT EXECUTE FUNCTION mallory.row()",
    "CREATE RULE also AS ON UPDATE TO {t} DO ALSO SELECT mallory.yes('rule')",
];

/// Policies, which her own reads go through as well.
const POLICY: &str = "CREATE POLICY seen ON {t} USING (mallory.zero_of(n, 'policy') = 0);
                      CREATE POLICY constant ON {t} USING (mallory.yes('policy'));
                      ALTER TABLE {t} ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY";

/// Columns of a set: `k` is its key.
fn columns(key: &str) -> String {
    format!(
        "n int DEFAULT mallory.zero('default'), k {key} NOT NULL, d mallory.small,
         b mallory.box DEFAULT 1, w text COLLATE mallory.words, g int GENERATED ALWAYS AS (n + mallory.zero('generated')) STORED"
    )
}

/// Name, key's type, partition key, and how it is put under management.
const SETS: [(&str, &str, &str, &str); 10] = [
    (
        "t",
        "timestamptz",
        "RANGE (k)",
        "manage_range('mallory.t', '1 day', start_at => (current_date - 3)::text, default_partition => true, template => 'mallory.template')",
    ),
    (
        "q",
        "timestamptz",
        "RANGE (k)",
        "manage_range('mallory.q', '1 day', start_at => (current_date - 3)::text)",
    ),
    ("n", "bigint", "RANGE (k)", "manage_range('mallory.n', '10', 2, default_partition => true)"),
    (
        "e",
        "bigint",
        "RANGE (k)",
        "manage_range('mallory.e', '1 day', key_encoding => 'epoch_seconds')",
    ),
    (
        "s",
        "timestamptz",
        "RANGE (k)",
        "manage_range('mallory.s', '1 day', start_at => (current_date - 3)::text, subpartition_by => 'n', subpartitions => 2)",
    ),
    ("o", "timestamptz", "RANGE (k mallory.time_ops)", "manage_range('mallory.o', '1 day')"),
    ("h", "int", "HASH (k)", "manage_hash('mallory.h', 2)"),
    ("ho", "int", "HASH (k mallory.hash_ops)", "manage_hash('mallory.ho', 2)"),
    ("hx", "int", "HASH ((k + mallory.zero('hash key')))", "manage_hash('mallory.hx', 2)"),
    ("rx", "int", "RANGE ((k + mallory.zero('range key')))", "manage_range('mallory.rx', '10')"),
];

/// Below periods of a set, whatever divides them.
const BELOW: [(&str, &str, &str); 5] = [
    ("hash", "HASH ((n + mallory.zero('key below, hash')))", "WITH (MODULUS 1, REMAINDER 0)"),
    ("range", "RANGE ((n + mallory.zero('key below, range')))", "FROM (0) TO (10)"),
    ("list", "LIST ((n + mallory.zero('key below, list')))", "IN (0)"),
    ("order", "RANGE (n mallory.int_ops)", "FROM (0) TO (10)"),
    ("spread", "HASH (n mallory.hash_ops)", "WITH (MODULUS 1, REMAINDER 0)"),
];

/// Makes all of it; the sets that are managed in the end.
pub(crate) fn populate(world: &mut World) -> i64 {
    world.mallory.run(PARTS);
    world.superuser.run(OPCLASSES);
    for (name, key, by, manage) in SETS {
        let table = format!("mallory.{name}");
        world.mallory.run(&format!("CREATE TABLE {table} ({}) PARTITION BY {by}", columns(key)));
        // Some are refused, and are what calls are made on all the same.
        let _ = world.mallory.batch_execute(&format!("SELECT count(*) FROM steward.{manage}"));
        // The same again for each that nobody has asked for yet.
        let not_managed = by.replace("mallory.zero('", "mallory.zero('unmanaged ");
        world.mallory.run(&format!(
            "CREATE TABLE {table}_free ({}) PARTITION BY {not_managed}",
            columns(key)
        ));
    }
    // What an older version took; jobs that no call has made begin when this session has ended.
    world.fresh("postgres").run(
        "INSERT INTO steward.job (kind, target) VALUES ('partition', 'mallory.hx'::regclass) ON CONFLICT DO NOTHING;
         INSERT INTO steward.hash_policy (parent, partitions) VALUES ('mallory.hx'::regclass, 2) ON CONFLICT DO NOTHING",
    );
    for set in ["t", "q"] {
        for (month, (name, by, bound)) in (1..).zip(BELOW) {
            let period = format!("mallory.{set}_{name}");
            world.mallory.run(&format!(
                "CREATE TABLE {period} PARTITION OF mallory.{set}
                     FOR VALUES FROM ('2020-0{month}-01') TO ('2020-0{month}-02') PARTITION BY {by};
                 CREATE TABLE {period}_0 PARTITION OF {period} FOR VALUES {bound}"
            ));
        }
    }
    world.mallory.run(
        "INSERT INTO mallory.t (n, k) SELECT i, current_date - i FROM generate_series(0, 3) i;
         INSERT INTO mallory.t (n, k) SELECT 1, '2019-01-01'::timestamptz + make_interval(days => i) FROM generate_series(0, 3) i;
         INSERT INTO mallory.q (n, k) SELECT i, current_date - i FROM generate_series(0, 3) i;
         INSERT INTO mallory.n (n, k) SELECT i, i FROM generate_series(1, 55) i;
         INSERT INTO mallory.s (n, k) SELECT i, current_date - i FROM generate_series(0, 3) i",
    );
    for (name, ..) in SETS {
        for hang in HANGS_ON {
            // Not each goes with each: a hash set's partitions hold no trigger for each row, say.
            let _ = world.mallory.batch_execute(&hang.replace("{t}", &format!("mallory.{name}")));
        }
        let partitions: Vec<String> = world.mallory.column(&format!(
            "SELECT relid::text FROM pg_partition_tree('mallory.{name}') WHERE isleaf AND level > 0 LIMIT 8"
        ));
        for partition in &partitions {
            for hang in &HANGS_ON[2..6] {
                let _ = world.mallory.batch_execute(&hang.replace("{t}", partition));
            }
            // Not everywhere: what a policy keeps from being read is seen through other sets.
            if ["n", "q", "h"].contains(&name) {
                world.mallory.run(&POLICY.replace("{t}", partition));
            }
        }
    }
    world.mallory.run(&POLICY.replace("{t}", "mallory.t_default"));
    world.mallory.run(&POLICY.replace("{t}", "mallory.s"));
    world.mallory.run(
        "SELECT steward.set_retention('mallory.t', '1 day', archive_function => 'mallory.keep(regclass)');
         SELECT steward.set_retention('mallory.n', '20', archive_function => 'mallory.keep(regclass)');
         SELECT steward.set_retention('mallory.s', '1 day', 'detach');
         SELECT steward.set_tiering('mallory.q', '1 day', 'cold')",
    );
    // Not to be managed, for its order is of her making.
    world.mallory.run("CREATE TABLE mallory.o_all PARTITION OF mallory.o FOR VALUES FROM (MINVALUE) TO (MAXVALUE)");
    // Each goes off for her.
    world.mallory.run(
        "INSERT INTO mallory.o (k) VALUES (now()); INSERT INTO mallory.o (n, k) VALUES (1, now());
         UPDATE mallory.o SET n = 2 WHERE n = 1;
         SELECT * FROM mallory.hx; SELECT * FROM mallory.rx; SELECT * FROM mallory.template;
         SELECT * FROM mallory.t; SELECT * FROM mallory.n",
    );
    world.superuser.value("SELECT count(*) FROM steward.job")
}
