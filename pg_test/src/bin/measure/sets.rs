//! Daily sets of any size around today, named as pg_partman names partitions.

use anyhow::Result;
use postgres::Client;

use crate::bench::run;

/// Days of partitions beyond today, for both sides.
pub(crate) const AHEAD: u32 = 4;

/// With every new partition the server reads the bounds of all others again, so that making n of
/// them takes n² time: many minutes for 10,000. Larger sets are put together of such pieces.
const PIECE: u32 = 1_000;

/// Makes a set of so many days, the last one [`AHEAD`] of today, with a row of now in it. No
/// indexes: no pass looks at them.
pub(crate) fn make(client: &mut Client, name: &str, partitions: u32) -> Result<()> {
    create_parent(client, name)?;
    let end = i64::from(AHEAD) + 1;
    let first_piece = partitions.min(PIECE);
    create_partitions(client, name, name, end - i64::from(first_piece), end)?;
    let mut made = first_piece;
    while made < partitions {
        let piece = (partitions - made).min(PIECE);
        let end = end - i64::from(made);
        let holder = format!("{name}_piece");
        create_parent(client, &holder)?;
        create_partitions(client, &holder, name, end - i64::from(piece), end)?;
        adopt(client, &holder, name)?;
        made += piece;
    }
    run(client, &format!("INSERT INTO {name} VALUES (now(), 1)"))
}

fn create_parent(client: &mut Client, name: &str) -> Result<()> {
    let columns = "at timestamptz NOT NULL, customer integer";
    run(client, &format!("CREATE TABLE {name} ({columns}) PARTITION BY RANGE (at)"))
}

/// Partitions of `parent` for the days from `first` until `end`, counted from today.
fn create_partitions(
    client: &mut Client,
    parent: &str,
    prefix: &str,
    first: i64,
    end: i64,
) -> Result<()> {
    run(
        client,
        &format!(
            "DO $$ DECLARE day date; BEGIN
                 FOR n IN {first} .. {end} - 1 LOOP
                     day := current_date + n;
                     EXECUTE format('CREATE TABLE %I PARTITION OF {parent}
                                     FOR VALUES FROM (%L) TO (%L)',
                                    '{prefix}_p' || to_char(day, 'YYYY_MM_DD'), day, day + 1);
                 END LOOP;
             END $$"
        ),
    )
}

/// Hands the partitions of `holder` over to `parent` in the catalog. A bound does not say whose it
/// is, pg_inherits does (src/backend/partitioning/partdesc.c, RelationBuildPartitionDesc).
fn adopt(client: &mut Client, holder: &str, parent: &str) -> Result<()> {
    run(
        client,
        &format!(
            "SET allow_system_table_mods = on;
             UPDATE pg_inherits SET inhparent = '{parent}'::regclass
              WHERE inhparent = '{holder}'::regclass;
             UPDATE pg_depend SET refobjid = '{parent}'::regclass
              WHERE refclassid = 'pg_class'::regclass AND refobjid = '{holder}'::regclass
                AND classid = 'pg_class'::regclass AND objid <> '{holder}'::regclass;
             -- Nothing changes in it, but every session forgets what it had cached.
             UPDATE pg_class SET relhassubclass = true WHERE oid = '{parent}'::regclass;
             RESET allow_system_table_mods;
             DROP TABLE {holder}"
        ),
    )
}
