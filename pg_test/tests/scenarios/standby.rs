//! What pg_steward is on a standby: all eyes, no hands.

use pg_test::cluster::Ask;
use pg_test::fixtures;

#[test]
fn a_standby_reads_everything_and_changes_nothing() {
    let primary = fixtures::cluster().start().unwrap();
    let mut client = primary.connect("postgres").unwrap();
    client.run(
        "CREATE EXTENSION pg_steward;
         CREATE TABLE bets (at timestamptz NOT NULL) PARTITION BY RANGE (at);
         SELECT steward.manage_range('bets', premake => 2)",
    );
    let standby = primary.standby().unwrap();
    primary.wait_for_replay(&standby).unwrap();

    let mut reader = standby.connect("postgres").unwrap();
    assert_eq!(reader.value::<String>("SELECT role FROM steward.node"), "standby");
    assert_eq!(
        reader.column::<String>("SELECT partition::text FROM steward.partitions ORDER BY 1"),
        client.column::<String>("SELECT partition::text FROM steward.partitions ORDER BY 1"),
    );
    reader.refused("55000", "CALL steward.maintain('bets')");
    reader.refused("55000", "SELECT steward.manage_range('bets')");
}
