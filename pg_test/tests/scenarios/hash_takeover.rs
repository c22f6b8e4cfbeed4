//! Hash sets that have partitions already, of another modulus than the one that is asked for.

use pg_test::cluster::Ask;

use crate::errors_common::assert_says;
use crate::range_support::Database;

/// Moduli and remainders that have a partition, `modulus/remainder` each.
const CLASSES: &str = "SELECT format('%s/%s', modulus, remainder) FROM steward.partitions
    WHERE parent = 'o'::regclass ORDER BY modulus, remainder";

impl Database {
    /// A hash set made by hand, of partitions `(modulus, remainder)`.
    fn hashed(&mut self, classes: &[(u32, u32)]) {
        self.client.run("CREATE TABLE o (id int) PARTITION BY HASH (id)");
        for (modulus, remainder) in classes {
            self.client.run(&format!(
                "CREATE TABLE by_hand_{modulus}_{remainder} PARTITION OF o
                     FOR VALUES WITH (modulus {modulus}, remainder {remainder})"
            ));
        }
    }

    fn classes(&mut self) -> Vec<String> {
        self.client.column(CLASSES)
    }

    fn hash_holes(&mut self) -> Vec<String> {
        self.client.value("SELECT holes FROM steward.partition_sets")
    }
}

#[test]
fn a_set_of_a_smaller_modulus_is_taken_as_it_is_and_completed_with_the_greater() {
    let mut db = Database::new();
    db.hashed(&[(4, 0), (4, 1), (4, 2), (4, 3)]);
    db.client.run("INSERT INTO o SELECT generate_series(1, 1000)");
    let made: i64 = db.client.value("SELECT count(*) FROM steward.manage_hash('o', 8)");
    assert_eq!((made, db.hash_holes().len()), (0, 0), "it lacks nothing");
    assert_eq!(db.client.value::<i64>("SELECT count(*) FROM steward.plan('o')"), 0);

    // What is lost is made with modulus 8: two for one.
    db.client.run("ALTER TABLE o DETACH PARTITION by_hand_4_1");
    assert_eq!(db.hash_holes(), ["modulus 8, remainder 1", "modulus 8, remainder 5"]);
    db.maintain("o");
    assert_eq!(db.classes(), ["4/0", "4/2", "4/3", "8/1", "8/5"]);
    db.client.run("INSERT INTO o SELECT generate_series(1, 1000)");

    // The number can be said again, rows or not; another one moves rows.
    db.client.run("SELECT steward.alter_hash('o', partitions => 8)");
    db.client.refused("55000", "SELECT steward.alter_hash('o', partitions => 16)");
    assert_eq!(db.classes(), ["4/0", "4/2", "4/3", "8/1", "8/5"]);
    assert_eq!(db.client.value::<i32>("SELECT partitions FROM steward.hash_policy"), 8);
}

#[test]
fn the_number_of_a_set_that_was_taken_as_it_is_can_be_said_again() {
    let mut db = Database::new();
    db.hashed(&[(4, 0), (4, 1), (4, 2), (4, 3)]);
    db.client.run(
        "INSERT INTO o SELECT generate_series(1, 1000);
         SELECT steward.manage_hash('o', 8);
         SELECT steward.alter_hash('o', partitions => 8);
         SELECT steward.alter_hash('o', name_format => '{parent}_{remainder}')",
    );
    assert_eq!(db.classes(), ["4/0", "4/1", "4/2", "4/3"]);
}

#[test]
fn two_and_four_go_on_with_eight() {
    let mut db = Database::new();
    db.hashed(&[(2, 0), (4, 1)]);
    let made: Vec<String> =
        db.client.column("SELECT partition FROM steward.manage_hash('o', 8) ORDER BY ordinal");
    assert_eq!(made, ["public.o_p3", "public.o_p7"]);
    assert_eq!(db.classes(), ["2/0", "4/1", "8/3", "8/7"]);
    db.client.run("INSERT INTO o SELECT generate_series(1, 1000)");
}

#[test]
fn what_is_no_multiple_is_refused_with_the_number_that_does() {
    for (classes, wanted, number) in [
        (&[(4, 3)][..], 6, 4),
        (&[(4, 0), (8, 1)], 4, 8),
        (&[(2, 0), (6, 1)], 16, 6),
        (&[(32, 0)], 16, 32),
    ] {
        let mut db = Database::new();
        db.hashed(classes);
        let refusal =
            db.client.refused("22023", &format!("SELECT steward.manage_hash('o', {wanted})"));
        assert_says(&refusal, "\"public.o\"", &format!("partitions => {number},"));
        assert_eq!(db.client.value::<i64>("SELECT count(*) FROM steward.jobs"), 0);
        db.client.run(&format!("SELECT steward.manage_hash('o', {number})"));
        assert_eq!(db.hash_holes(), Vec::<String>::new());
        db.client.run("INSERT INTO o SELECT generate_series(1, 1000)");
    }
}
