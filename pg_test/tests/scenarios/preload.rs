//! The preloaded library is no nuisance to those who do not use it.

use pg_test::cluster::Cluster;
use pg_test::fixtures;

/// Statements that fail in as many ways as an error has fields: position, context, detail, hint,
/// names of what is concerned.
const MISTAKES: &str = r"
CREATE TABLE t (id int CONSTRAINT positive CHECK (id > 0), at nosuchtype);
CREATE TABLE t (id int CONSTRAINT positive CHECK (id > 0));
\copy t FROM PROGRAM 'echo 1; echo no number'
COPY t FROM PROGRAM 'echo -1';
INSERT INTO t VALUES (-1);
DROP TABLE nosuch;
CREATE VIEW v AS SELECT * FROM t;
ALTER TABLE t ALTER COLUMN id TYPE text;
DROP TABLE t;
DO $$ BEGIN
    RAISE EXCEPTION 'of my own' USING ERRCODE = 'P0099', DETAIL = 'd', HINT = 'h', COLUMN = 'c';
END $$;
DROP DATABASE nosuch;
";

#[test]
fn other_peoples_errors_look_the_same_with_and_without_the_preload() {
    let with = fixtures::cluster().start().unwrap();
    let without = fixtures::cluster().preload(false).start().unwrap();
    assert_eq!(mistakes(&with), mistakes(&without), "left: preloaded, right: not");
}

/// What psql shows of them, with every field the server sends.
fn mistakes(cluster: &Cluster) -> String {
    let script = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(script.path(), MISTAKES).unwrap();
    let arguments = ["--quiet", "--set=VERBOSITY=verbose", "--set=SHOW_CONTEXT=always"];
    cluster.psql("postgres").args(&arguments).file(script.path()).unwrap().text
}
