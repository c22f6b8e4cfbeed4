//! What a superuser's `import_pg_partman()` reads is read as its owner.

use pg_test::cluster::Ask;

use crate::import_support::is_version_5;
use crate::owners_support::World;

/// Sets of mallory's with pg_partman: by number, which the import looks into for rows, and by time.
fn world_with_sets() -> World {
    let mut world = World::new();
    world.superuser.run("CREATE SCHEMA partman; CREATE EXTENSION pg_partman SCHEMA partman");
    let (by_number, by_time) = match is_version_5(&mut world.superuser) {
        true => ("'10'", "'1 day'"),
        false => ("'native', '10'", "'native', 'daily'"),
    };
    world.mallory.run(
        "CREATE TABLE mallory.i (a int, k bigint NOT NULL) PARTITION BY RANGE (k);
         CREATE TABLE mallory.t (a int, k timestamptz NOT NULL) PARTITION BY RANGE (k)",
    );
    // What pg_partman's documentation has a role granted that is no superuser.
    world.superuser.run(
        "GRANT ALL ON SCHEMA partman TO mallory;
         GRANT ALL ON ALL TABLES IN SCHEMA partman TO mallory;
         GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA partman TO mallory;
         GRANT EXECUTE ON ALL PROCEDURES IN SCHEMA partman TO mallory",
    );
    world.mallory.run(&format!(
        "SELECT partman.create_parent('mallory.i', 'k', {by_number});
         SELECT partman.create_parent('mallory.t', 'k', {by_time})"
    ));
    world
}

#[test]
fn a_set_is_looked_into_as_its_owner() {
    let mut world = world_with_sets();
    for set in ["i", "t"] {
        world.mallory.run(&format!(
            "CREATE INDEX ON mallory.{set} ((a + mallory.zero('index {set}')));
             CREATE INDEX ON mallory.{set} (a) WHERE mallory.yes('predicate {set}');
             CREATE STATISTICS mallory.{set}_s ON (a + mallory.zero('statistics {set}')) FROM mallory.{set};
             SELECT FROM mallory.{set}"
        ));
    }
    let mut caller = world.fresh("postgres");
    let imported: Vec<String> = caller.column(
        "SELECT concat_ws(' ', parent_table, status, reason) FROM steward.import_pg_partman() ORDER BY 1",
    );
    for kind in ["index", "predicate", "statistics"] {
        let tag = format!("{kind} i");
        assert!(world.heard().iter().any(|line| line.tag == tag), "{tag} never ran");
    }
    world.assert_only_mallory("mallory.i");
    assert_eq!(imported, ["mallory.i imported", "mallory.t imported"]);
}

#[test]
fn pg_partmans_own_tables_are_read_as_their_owner() {
    let mut world = world_with_sets();
    world.superuser.run(
        "ALTER TABLE partman.part_config OWNER TO mallory;
         ALTER TABLE partman.part_config_sub OWNER TO mallory",
    );
    world.mallory.run(
        "CREATE INDEX ON partman.part_config ((mallory.zero_of(length(parent_table), 'of a row')));
         CREATE INDEX ON partman.part_config ((length(parent_table) + mallory.zero('index')));
         CREATE INDEX ON partman.part_config_sub (sub_parent) WHERE mallory.yes('predicate');
         SELECT FROM partman.part_config; SELECT FROM partman.part_config_sub",
    );
    // Whether it takes the sets over or says that it does not: not with the caller's rights.
    let _ = world.fresh("postgres").batch_execute("SELECT * FROM steward.import_pg_partman()");
    world.assert_only_mallory("partman.part_config");

    // A policy is code, too; it holds for the owner alone where it is forced.
    world.mallory.run(
        "CREATE POLICY seen ON partman.part_config USING (mallory.yes('policy'));
         ALTER TABLE partman.part_config ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
         SELECT FROM partman.part_config",
    );
    let _ = world.fresh("postgres").batch_execute("SELECT * FROM steward.import_pg_partman()");
    world.assert_only_mallory("partman.part_config");
}
