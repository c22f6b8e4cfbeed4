//! What the tests on owners' code share: a cluster with its roles, functions of mallory's that say in the
//! server log who they run as, and what the log has of them.

use std::fs;
use std::sync::OnceLock;

use pg_test::cluster::{Ask, Cluster};
use pg_test::fixtures;
use postgres::Client;

/// The cluster of these tests: roles are a cluster's, databases a test's.
pub(crate) fn cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(|| {
        let conf = "max_worker_processes = 48\npg_steward.max_concurrent_jobs = 12\nallow_in_place_tablespaces = on";
        let cluster = fixtures::cluster().conf(conf).start().unwrap();
        let mut client = cluster.connect("postgres").unwrap();
        client.run(ROLES);
        client.run("CREATE TABLESPACE cold LOCATION ''");
        client.run("GRANT CREATE ON TABLESPACE cold TO mallory");
        cluster
    })
}

const ROLES: &str = "CREATE ROLE mallory LOGIN; CREATE ROLE victim LOGIN;
                     CREATE ROLE monitor LOGIN IN ROLE pg_monitor";

/// Mallory's trap. The lines survive a rollback. What calls her IMMUTABLE functions with constants is
/// the server: when it reads a partition key, and when it plans.
const TRAP: &str = r#"
CREATE FUNCTION mallory.note(tag text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE set_role text;
BEGIN
    BEGIN
        SET LOCAL ROLE postgres;
        -- Rolled back with the block: the session goes on as it was.
        RAISE EXCEPTION USING ERRCODE = 'KIT01';
    EXCEPTION
        WHEN SQLSTATE 'KIT01' THEN set_role := 'ok';
        WHEN OTHERS THEN set_role := SQLSTATE;
    END;
    RAISE LOG 'kit|%|%|user=%|session=%|super=%|setrole=%|app=%', current_database(), tag, current_user,
        session_user, pg_catalog.current_setting('is_superuser'), set_role,
        pg_catalog.current_setting('application_name');
END $$;
-- SET is refused to what is not VOLATILE: a call between them.
CREATE FUNCTION mallory.zero(tag text) RETURNS int LANGUAGE plpgsql IMMUTABLE AS
    $$ DECLARE x text; BEGIN SELECT mallory.note(tag)::text INTO x; RETURN 0; END $$;
CREATE FUNCTION mallory.yes(tag text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS
    $$ BEGIN RETURN mallory.zero(tag) = 0; END $$;
CREATE FUNCTION mallory.zero_of(value int, tag text) RETURNS int LANGUAGE plpgsql IMMUTABLE AS
    $$ BEGIN RETURN mallory.zero(tag); END $$;
CREATE FUNCTION mallory.keep(old regclass) RETURNS boolean LANGUAGE plpgsql AS
    $$ BEGIN PERFORM mallory.note('archive ' || old); RETURN true; END $$;
"#;

/// One line of a trap.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Heard {
    pub(crate) tag: String,
    pub(crate) user: String,
    pub(crate) session: String,
    pub(crate) is_superuser: String,
    pub(crate) set_role: String,
    pub(crate) application: String,
}

impl Heard {
    pub(crate) fn is_of_a_worker(&self) -> bool {
        self.application.starts_with("pg_steward")
    }
}

/// A database with the extension and mallory's trap, a superuser's connection and hers.
pub(crate) struct World {
    pub(crate) database: String,
    pub(crate) superuser: Client,
    pub(crate) mallory: Client,
}

impl World {
    pub(crate) fn new() -> Self {
        let database = cluster().create_database_with_extension().unwrap();
        let mut superuser = cluster().connect(&database).unwrap();
        superuser.run(
            "SET client_min_messages = error;
             CREATE SCHEMA mallory AUTHORIZATION mallory; CREATE SCHEMA victim AUTHORIZATION victim",
        );
        let mut mallory = cluster().connect_as(&database, "mallory").unwrap();
        mallory.run("SET client_min_messages = error");
        mallory.run(TRAP);
        // So that nothing but whose rights it is called with keeps it from running.
        mallory.run("GRANT USAGE ON SCHEMA mallory TO PUBLIC");
        Self { database, superuser, mallory }
    }

    /// A session that has opened nothing yet: what the server has read into its caches it does not
    /// read again.
    pub(crate) fn fresh(&self, role: &str) -> Client {
        let mut client = cluster().connect_as(&self.database, role).unwrap();
        client.run("SET client_min_messages = error; SET statement_timeout = '30s'");
        client
    }

    /// The lines of this database's traps so far.
    pub(crate) fn heard(&self) -> Vec<Heard> {
        let log = fs::read(cluster().log_file()).unwrap();
        let start = format!("LOG:  kit|{}|", self.database);
        String::from_utf8_lossy(&log)
            .lines()
            .filter_map(|line| line.split_once(&start))
            .map(|(_, fields)| parse(fields))
            .collect()
    }

    /// Only mallory was ever heard, and she got no more than she had; and mallory's code would have run as
    /// the superuser, had he asked for it.
    #[track_caller]
    pub(crate) fn assert_only_mallory(&self, trapped: &str) {
        let mut heard = self.heard();
        heard.retain(|line| !line.application.starts_with("control"));
        assert!(!heard.is_empty(), "her code never ran: the test shows nothing");
        heard.retain(|line| line.user != "mallory" || line.set_role == "ok");
        heard.sort();
        heard.dedup();
        assert!(heard.is_empty(), "ran with the rights of another: {heard:#?}");

        let mut control = self.fresh("postgres");
        control.run("SET application_name = 'control'");
        control.run(&format!("SELECT * FROM {trapped}"));
        let mut heard = self.heard();
        heard.retain(|line| line.application == "control");
        assert!(
            heard.iter().any(|line| line.user == "postgres" && line.set_role == "ok"),
            "the trap is none: {heard:#?}"
        );
    }
}

fn parse(fields: &str) -> Heard {
    let fields: Vec<&str> = fields.split('|').collect();
    let [tag, user, session, is_superuser, set_role, application] = fields[..] else {
        panic!("not a line of a trap: {fields:?}")
    };
    let value = |field: &str| field.split_once('=').unwrap().1.to_owned();
    Heard {
        tag: tag.to_owned(),
        user: value(user),
        session: value(session),
        is_superuser: value(is_superuser),
        set_role: value(set_role),
        application: value(application),
    }
}
