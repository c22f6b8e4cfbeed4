//! What is there to be named: the relations and jobs of this moment, and some that are not there.

use postgres::Client;

use crate::arguments::quoted;
use crate::chance::Chance;
use crate::relations::ODD;

/// What sessions and DDL choose from. It is looked at anew now and then, so some of it is gone already.
#[derive(Default)]
pub(crate) struct Pool {
    /// Partitioned tables of the zoo, qualified and quoted.
    pub(crate) sets: Vec<String>,
    /// Leaves below them.
    pub(crate) partitions: Vec<String>,
    /// Everything that has a row in pg_class, by OID.
    oids: Vec<String>,
    jobs: Vec<String>,
}

const SETS: &str = "SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind = 'p' AND NOT c.relispartition AND n.nspname NOT LIKE 'pg\\_%' ORDER BY c.oid";
const PARTITIONS: &str = "SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relispartition AND c.relkind IN ('r', 'p', 'f') AND n.nspname NOT LIKE 'pg\\_%' ORDER BY random() LIMIT 60";
const OIDS: &str = "SELECT oid::text FROM pg_class WHERE oid >= 16384 ORDER BY random() LIMIT 60";
const JOBS: &str = "SELECT job_id::text FROM steward.jobs ORDER BY job_id LIMIT 60";

impl Pool {
    /// Looks again. What cannot be seen just now stays as it was.
    pub(crate) fn look(&mut self, client: &mut Client) {
        for (what, sql) in [
            (&mut self.sets, SETS),
            (&mut self.partitions, PARTITIONS),
            (&mut self.oids, OIDS),
            (&mut self.jobs, JOBS),
        ] {
            if let Ok(rows) = client.query(sql, &[]) {
                *what = rows.iter().map(|row| row.get(0)).collect();
            }
        }
    }

    /// A literal for a relation that a caller may well mean.
    pub(crate) fn relation(&self, chance: &mut Chance) -> String {
        let of = if chance.one_in(6) { &self.partitions } else { &self.sets };
        if of.is_empty() {
            "'zoo.by_day'".to_owned()
        } else {
            quoted(chance.pick_ref::<String>(of))
        }
    }

    /// A literal for one that nobody means.
    pub(crate) fn odd_relation(&self, chance: &mut Chance) -> String {
        if chance.one_in(3) && !self.oids.is_empty() {
            return chance.pick_ref::<String>(&self.oids).clone();
        }
        chance.pick(ODD).to_owned()
    }

    /// A job's number.
    pub(crate) fn job(&self, chance: &mut Chance) -> String {
        if self.jobs.is_empty() {
            "1".to_owned()
        } else {
            chance.pick_ref::<String>(&self.jobs).clone()
        }
    }
}
