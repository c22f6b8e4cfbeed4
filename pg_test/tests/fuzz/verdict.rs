//! What may come back from a call.
//!
//! Whose an error is, the server tells in its fields (protocol-error-fields): the source file is one of
//! ours where it ends in `.rs`; PL/pgSQL of ours that raises says so by its routine and the context's first
//! line. A position, of the statement as it was sent, means that the server did not understand the caller's
//! own text, or a literal in it, and came to no call.

use std::collections::BTreeSet;
use std::fs;

use anyhow::{Context, Result, ensure};
use pg_test::setup::paths;
use postgres::error::{DbError, ErrorPosition};

/// What archive functions of the zoo raise, which docs/errors.md has as "any".
const OF_THE_ZOO: [&str; 2] = ["22012", "P4242"];

/// The SQLSTATEs that docs/errors.md lists.
pub(crate) struct Listed(BTreeSet<String>);

impl Listed {
    /// Reads them from the documentation of this checkout.
    pub(crate) fn read() -> Result<Self> {
        let path = paths::repository().join("docs/errors.md");
        let text =
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let listed = Self::of(&text);
        ensure!(listed.0.len() > 20, "{} lists only {:?}", path.display(), listed.0);
        Ok(listed)
    }

    /// What stands in the first column of its tables.
    fn of(text: &str) -> Self {
        let cells = text.lines().filter_map(|line| line.strip_prefix("| ")?.split(" |").next());
        let words = cells.flat_map(|cell| cell.split([',', ' ', '`']));
        Self(words.filter(|word| is_sqlstate(word)).map(str::to_owned).collect())
    }

    /// Whether a SQLSTATE is one of them. What the zoo's own functions raise is no state of ours.
    pub(crate) fn has(&self, sqlstate: &str) -> bool {
        self.0.contains(sqlstate) || sqlstate == "00000" || OF_THE_ZOO.contains(&sqlstate)
    }
}

fn is_sqlstate(word: &str) -> bool {
    word.len() == 5
        && word.bytes().all(|byte| byte.is_ascii_digit() || byte.is_ascii_uppercase())
        && word.bytes().any(|byte| byte.is_ascii_digit())
}

/// What is wrong with an error that a statement of ours got; None: nothing.
pub(crate) fn judge(error: &DbError, sql: &str, listed: &Listed) -> Option<&'static str> {
    let state = error.code().code();
    if state.starts_with("XX") {
        return Some("an internal error");
    }
    if is_ours(error) {
        return match (listed.has(state), error.hint()) {
            (false, _) => Some("its SQLSTATE is not in docs/errors.md"),
            (_, None) => Some("it gives no hint"),
            _ => None,
        };
    }
    (!is_the_callers(error, sql) && !listed.has(state))
        .then_some("a SQLSTATE of the server's that is not in docs/errors.md")
}

/// Raised by our code, or passed on by it.
pub(crate) fn is_ours(error: &DbError) -> bool {
    let raised_by_us = error.routine() == Some("exec_stmt_raise")
        && error.where_().is_some_and(|context| {
            context.starts_with("PL/pgSQL function steward.")
                || context.starts_with("PL/pgSQL function import_pg_partman")
        });
    raised_by_us || error.file().is_some_and(|file| file.ends_with(".rs"))
}

/// About the text that the caller has sent.
fn is_the_callers(error: &DbError, sql: &str) -> bool {
    match error.position() {
        Some(ErrorPosition::Original(_)) => true,
        // PL/pgSQL sends PERFORM as SELECT.
        Some(ErrorPosition::Internal { query, .. }) => {
            sql.contains(query.strip_prefix("SELECT").unwrap_or(query).trim())
        }
        // Refused before anything was called: "current transaction is aborted", no such plan or cursor.
        None => matches!(error.code().code(), "25P02" | "26000" | "34000"),
    }
}

/// Everything that an error says.
pub(crate) fn told(error: &DbError) -> String {
    let mut text = format!("{} {}: {}", error.severity(), error.code().code(), error.message());
    for (label, part) in [
        ("detail", error.detail()),
        ("hint", error.hint()),
        ("where", error.where_()),
        ("file", error.file()),
        ("routine", error.routine()),
    ] {
        if let Some(part) = part {
            text.push_str(&format!("\n    {label}: {part}"));
        }
    }
    text
}

#[test]
fn sqlstates_are_read_from_first_cells() {
    let listed = Listed::of(
        "| SQLSTATE | m |\n| 23514, 23505, … | `42P01` |\n| any, `P4242` say | x |\ntext 22023",
    );
    assert_eq!(listed.0.iter().collect::<Vec<_>>(), ["23505", "23514", "P4242"]);
}
