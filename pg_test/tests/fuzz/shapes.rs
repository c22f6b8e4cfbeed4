//! The shapes in which calls come: alone, in transactions of all kinds, in blocks, cursors, plans.

use crate::calls::Call;
use crate::chance::Chance;

/// A statement, and the call in it if there is one.
pub(crate) struct Statement {
    /// What is sent.
    pub(crate) sql: String,
    /// The call that it makes.
    pub(crate) call: Option<Call>,
}

fn plainly(sql: &str) -> Statement {
    Statement { sql: sql.to_owned(), call: None }
}

fn with(call: &Call, sql: String) -> Statement {
    Statement { sql, call: Some(call.clone()) }
}

fn itself(call: &Call) -> Statement {
    with(call, call.sql.clone())
}

const BEGINNINGS: [&str; 8] = [
    "BEGIN",
    "BEGIN",
    "BEGIN READ ONLY",
    "BEGIN ISOLATION LEVEL REPEATABLE READ",
    "BEGIN ISOLATION LEVEL SERIALIZABLE",
    "BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY DEFERRABLE",
    "BEGIN; CREATE TEMP TABLE IF NOT EXISTS mine (a int) ON COMMIT DROP",
    "BEGIN; SAVEPOINT a; SAVEPOINT b",
];

/// What is sent to make these calls; the session is outside of a transaction before and after it.
pub(crate) fn shape(
    chance: &mut Chance,
    mut next: impl FnMut(&mut Chance) -> Call,
) -> Vec<Statement> {
    let first = next(chance);
    let ending = if chance.one_in(3) { "ROLLBACK" } else { "COMMIT" };
    match chance.below(16) {
        0 | 1 => {
            let mut all = vec![plainly(chance.pick(&BEGINNINGS)), itself(&first)];
            for _ in 0..chance.below(3) {
                all.push(itself(&next(chance)));
            }
            all.push(plainly(ending));
            all
        }
        2 => vec![plainly("BEGIN"), plainly("SELECT 1/0"), itself(&first), plainly("ROLLBACK")],
        3 => {
            let after = if chance.one_in(2) { "ROLLBACK TO a" } else { "RELEASE a" };
            let second = next(chance);
            let begin = plainly("BEGIN; SAVEPOINT a");
            vec![begin, itself(&first), plainly(after), itself(&second), plainly(ending)]
        }
        4 | 5 => vec![with(&first, block(chance, &first))],
        6 if !first.is_procedure => {
            let hold = if chance.one_in(2) { "WITH HOLD " } else { "" };
            let cursor = with(&first, format!("DECLARE c CURSOR {hold}FOR {}", first.sql));
            let fetch = || with(&first, "FETCH 1 FROM c".to_owned());
            let all = || with(&first, "FETCH ALL FROM c".to_owned());
            vec![
                plainly("BEGIN"),
                cursor,
                fetch(),
                all(),
                with(&first, ending.to_owned()),
                plainly("CLOSE ALL"),
            ]
        }
        7 if !first.is_procedure => {
            let prepare = with(&first, format!("PREPARE p AS {}", first.sql));
            let execute = || with(&first, "EXECUTE p".to_owned());
            vec![prepare, execute(), execute(), plainly("DEALLOCATE ALL")]
        }
        8 if !first.is_procedure => {
            let analyze =
                chance.pick(&["(ANALYZE, COSTS OFF)", "(VERBOSE)", "(ANALYZE, FORMAT JSON)"]);
            vec![with(&first, format!("EXPLAIN {analyze} {}", first.sql))]
        }
        9 => {
            let second = next(chance);
            let both = Call {
                of: format!("{} or {}", first.of, second.of),
                is_helper: first.is_helper || second.is_helper,
                ..first.clone()
            };
            vec![with(&both, format!("{}; {}", first.sql, second.sql)), plainly("ROLLBACK")]
        }
        10 if !first.is_procedure && !first.sql.contains(").*") => vec![
            with(
                &first,
                format!("CREATE TEMP TABLE made AS SELECT count(*) FROM ({}) q", first.sql),
            ),
            plainly("DROP TABLE IF EXISTS pg_temp.made"),
        ],
        _ => vec![itself(&first)],
    }
}

/// A block of PL/pgSQL that catches what the call raises, and raises it again or goes on.
fn block(chance: &mut Chance, call: &Call) -> String {
    let sql = if call.is_procedure {
        call.sql.clone()
    } else {
        format!("PERFORM count(*) FROM ({}) q", call.sql)
    };
    let caught = chance.pick(&[
        "EXCEPTION WHEN OTHERS THEN RAISE; ",
        "EXCEPTION WHEN OTHERS THEN NULL; ",
        "EXCEPTION WHEN OTHERS OR query_canceled OR assert_failure THEN PERFORM 1; ",
        "",
    ]);
    let after = chance.pick(&["", "COMMIT; ", "ROLLBACK; "]);
    format!("DO $fuzz$ BEGIN BEGIN {sql}; {caught}END; {after}END $fuzz$")
}
