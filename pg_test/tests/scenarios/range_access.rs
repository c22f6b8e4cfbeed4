//! Rule 7 and 8, privileges: all access goes through the parent, and work runs as its owner.

use pg_test::cluster::Ask;

use crate::range_support::Database;

/// Who may do what on a table besides its owner.
fn grants(db: &mut Database, table: &str) -> Vec<String> {
    db.client.column(&format!(
        "SELECT format('%s %s', CASE WHEN grantee = 0 THEN 'PUBLIC' ELSE grantee::regrole::text END,
                       privilege_type)
           FROM pg_class c, aclexplode(c.relacl) a
          WHERE c.oid = '{table}'::regclass AND a.grantee <> c.relowner ORDER BY 1"
    ))
}

#[test]
fn what_default_privileges_grant_on_a_partition_is_taken_back() {
    let mut db = Database::new();
    let (owner, reader) = (db.own("owner"), db.own("Reader x"));
    db.client.run(&format!(
        "CREATE ROLE {owner} LOGIN; CREATE ROLE \"{reader}\" LOGIN;
         CREATE SCHEMA s AUTHORIZATION {owner}; GRANT USAGE ON SCHEMA s TO PUBLIC;
         SET ROLE {owner};
         ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO PUBLIC;
         ALTER DEFAULT PRIVILEGES IN SCHEMA s GRANT ALL ON TABLES TO \"{reader}\" WITH GRANT OPTION;
         CREATE TABLE s.t (id bigint NOT NULL, a int) PARTITION BY RANGE (id);
         SELECT steward.manage_range('s.t', '100', premake => 1);
         INSERT INTO s.t VALUES (1); RESET ROLE"
    ));
    assert!(grants(&mut db, "s.t").iter().any(|grant| grant == "PUBLIC SELECT"));
    assert_eq!(grants(&mut db, "s.t_p0"), Vec::<String>::new());
    assert_eq!(grants(&mut db, "s.t_p100"), Vec::<String>::new());
    let mut client = db.connect_as(&reader);
    assert_eq!(client.value::<i64>("SELECT count(*) FROM s.t"), 1);
    client.refused("42501", "SELECT * FROM s.t_p0");
}

#[test]
fn row_security_of_the_parent_cannot_be_walked_round() {
    let mut db = Database::new();
    let (owner, tenant) = (db.own("owner"), db.own("tenant"));
    db.client.run(&format!(
        "CREATE ROLE {owner} LOGIN; CREATE ROLE {tenant} LOGIN;
         CREATE SCHEMA s AUTHORIZATION {owner}; GRANT USAGE ON SCHEMA s TO {tenant};
         SET ROLE {owner};
         ALTER DEFAULT PRIVILEGES GRANT SELECT, INSERT ON TABLES TO {tenant};
         CREATE TABLE s.t (id bigint NOT NULL, who text) PARTITION BY RANGE (id);
         ALTER TABLE s.t ENABLE ROW LEVEL SECURITY;
         CREATE POLICY own ON s.t USING (who = current_user);
         SELECT steward.manage_range('s.t', '100', premake => 1);
         INSERT INTO s.t VALUES (1, '{tenant}'), (2, 'somebody else'); RESET ROLE"
    ));
    let mut client = db.connect_as(&tenant);
    assert_eq!(client.value::<i64>("SELECT count(*) FROM s.t"), 1);
    for partition in ["s.t_p0", "s.t_p100"] {
        client.refused("42501", &format!("SELECT * FROM {partition}"));
        client.refused("42501", &format!("INSERT INTO {partition} VALUES (3, 'x')"));
    }
}

#[test]
fn the_set_of_an_owner_who_cannot_log_in_is_worked_on_with_no_more_than_his_rights() {
    let mut db = Database::new();
    let owner = db.own("owner");
    // An event trigger runs his function in every step: what it is called as, and whether it can
    // climb back to the superuser who started the run.
    db.client.run(&format!(
        "CREATE ROLE {owner} NOLOGIN; CREATE SCHEMA s AUTHORIZATION {owner};
         CREATE TABLE seen (who text, climbed text); GRANT INSERT ON seen TO PUBLIC;
         SET ROLE {owner};
         CREATE TABLE s.t (id bigint NOT NULL) PARTITION BY RANGE (id);
         CREATE FUNCTION s.spy() RETURNS event_trigger LANGUAGE plpgsql AS $$
         DECLARE climbed text := 'no';
         BEGIN
             BEGIN RESET ROLE; climbed := current_user; EXCEPTION WHEN OTHERS THEN climbed := SQLSTATE; END;
             INSERT INTO public.seen VALUES (current_user, climbed);
         END $$;
         RESET ROLE;
         CREATE EVENT TRIGGER spy ON ddl_command_end WHEN TAG IN ('CREATE TABLE', 'ALTER TABLE')
             EXECUTE FUNCTION s.spy();
         SELECT steward.manage_range('s.t', '100', premake => 1);
         INSERT INTO s.t VALUES (100)"
    ));
    db.maintain("s.t");
    assert_eq!(db.count("s.t"), 3);
    let seen: Vec<String> =
        db.client.column("SELECT DISTINCT format('%s %s', who, climbed) FROM seen");
    // 42501: cannot set parameter "role" within security-restricted operation.
    assert_eq!(seen, [format!("{owner} 42501")]);
    let owners: Vec<String> = db.client.column(
        "SELECT DISTINCT relowner::regrole::text FROM pg_class
          WHERE relnamespace = 's'::regnamespace AND relispartition",
    );
    assert_eq!(owners, [owner]);
    db.client.run("DROP EVENT TRIGGER spy");
}

/// Nothing that decides what is made asks for the owner's rights on the partitions that are there.
#[test]
fn a_set_whose_partitions_belong_to_another_role_is_kept_up() {
    let mut db = Database::new();
    let owner = db.own("owner");
    db.client.run(&format!(
        "CREATE TABLE keys (id bigint) PARTITION BY RANGE (id);
         SELECT steward.manage_range('keys', '10', premake => 1);
         CREATE ROLE {owner}; GRANT CREATE ON SCHEMA public TO {owner};
         INSERT INTO keys VALUES (15); ALTER TABLE keys OWNER TO {owner}"
    ));
    db.maintain("keys");
    let shown: Vec<String> = db.client.column(
        "SELECT format('%s %s', lower_bound, state) FROM steward.partitions ORDER BY lower_bound::int",
    );
    assert_eq!(shown, ["0 past", "10 current", "20 future"]);
}
