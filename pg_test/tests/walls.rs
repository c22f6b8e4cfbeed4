//! The walls of the house (ARCHITECTURE.md), enforced on the source text.

use std::fs;
use std::path::{Path, PathBuf};

/// The extension's `src`.
fn source_root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../src")
}

/// Every source file under `src`, with its path relative to it and its text without comments.
fn sources() -> Vec<(String, String)> {
    let root = source_root();
    let mut found = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path: PathBuf = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(&root).unwrap().to_string_lossy().into_owned();
                found.push((name, code(&fs::read_to_string(&path).unwrap())));
            }
        }
    }
    assert!(found.len() > 30, "only {} source files found", found.len());
    found
}

/// The text without `//` comments; good enough for a search for words.
fn code(text: &str) -> String {
    let strip = |line: &str| line.split("//").next().unwrap_or_default().to_owned();
    text.lines().map(strip).collect::<Vec<_>>().join("\n")
}

fn has_word(text: &str, word: &str) -> bool {
    let boundary = |c: Option<char>| c.is_none_or(|c| !c.is_alphanumeric() && c != '_');
    text.match_indices(word).any(|(at, _)| {
        boundary(text[..at].chars().next_back()) && boundary(text[at + word.len()..].chars().next())
    })
}

/// Fails with every file outside `allowed` that has one of the words.
fn only_in(allowed: fn(&str) -> bool, words: &[&str]) {
    let mut offenders = Vec::new();
    let mut seen = 0;
    for (name, text) in sources() {
        for word in words.iter().filter(|word| has_word(&text, word)) {
            match allowed(&name) {
                true => seen += 1,
                false => offenders.push(format!("{name}: {word}")),
            }
        }
    }
    assert!(offenders.is_empty(), "{offenders:#?}");
    assert!(seen > 0, "{words:?} stand nowhere: the search is broken");
}

#[test]
fn only_the_ground_floor_is_unsafe_or_runs_sql() {
    let in_pg = |name: &str| name.starts_with("pg/");
    only_in(in_pg, &["unsafe", "Spi", "SPI_connect_ext"]);
}

/// What opens a relation, and what plans a query, can call the code of whoever owns it.
#[test]
fn users_relations_are_opened_and_queried_as_their_owners_only() {
    only_in(
        |name| ["pg/query.rs", "pg/user_sql.rs", "pg/tests.rs"].contains(&name),
        &["Spi", "SPI_prepare", "SPI_execute_snapshot"],
    );
    // Of the catalogs' own relations, by constant OIDs.
    let catalogs = ["pg/databases.rs", "pg/extension.rs"];
    // Of users' relations: each function that does asks for the proof that its owner's rights are in force.
    let as_owner = ["pg/bounds.rs", "pg/heap.rs", "pg/trigger.rs"];
    let openers = [
        "relation_open",
        "try_relation_open",
        "table_open",
        "try_table_open",
        "index_open",
        "relation_openrv",
        "table_openrv",
        "RelationIdGetRelation",
        "RelationGetPartitionDesc",
        "RelationGetPartitionKey",
        "CreateTriggerFiringOn",
        "CreateTrigger",
    ];
    for (name, text) in sources() {
        let opens = openers.iter().any(|opener| has_word(&text, opener));
        assert!(
            !opens || catalogs.contains(&name.as_str()) || as_owner.contains(&name.as_str()),
            "{name} opens relations"
        );
        if as_owner.contains(&name.as_str()) {
            assert!(opens && text.contains("scope.check()?"), "{name} asks for no proof");
        }
        // `query.rs` takes texts that were constant when we were compiled.
        if name == "pg/query.rs" {
            assert!(!text.contains("sql: &str") && !text.contains("sql: String"), "{name}");
        }
        let makes_proof = text.contains("AsOwner {") && !text.contains("impl AsOwner {");
        assert!(name == "pg/identity.rs" || !makes_proof, "{name} makes a proof of its own");
    }
}

#[test]
fn the_pure_rooms_know_no_postgres() {
    for (name, text) in sources() {
        let pure_files =
            ["encoding.rs", "grid.rs", "key.rs", "key/end.rs", "key/fit.rs", "width.rs"]
                .map(|file| format!("partition/range/{file}"));
        let pure = name.starts_with("calendar/")
            || name.ends_with("/plan.rs")
            || pure_files.contains(&name);
        if pure {
            assert!(
                !has_word(&text, "pgrx") && !text.contains("crate::pg"),
                "{name} knows Postgres"
            );
            assert!(
                !has_word(&text, "SystemTime") && !has_word(&text, "Instant::now"),
                "{name} has a clock"
            );
        }
    }
}

#[test]
fn no_lower_floor_knows_a_higher_one() {
    // From the ground up; a room may use those below it.
    let floors = [
        "calendar",
        "pg",
        "alerts",
        "jobs",
        "dump",
        "partition",
        "retention",
        "maintenance",
        "worker",
    ];
    for (name, text) in sources() {
        let Some(floor) = floors.iter().position(|room| name.starts_with(&format!("{room}/")))
        else {
            continue;
        };
        for higher in &floors[floor + 1..] {
            let allowed = name == "pg/bounds.rs" && *higher == "partition";
            assert!(
                allowed || !text.contains(&format!("crate::{higher}::")),
                "{name} uses the higher room {higher}"
            );
        }
    }
}

#[test]
fn rooms_reach_each_other_only_through_their_mod_rs() {
    let rooms = ["alerts", "jobs", "dump", "partition", "retention", "maintenance", "worker"];
    for (name, text) in sources() {
        for room in rooms.iter().filter(|room| !name.starts_with(&format!("{room}/"))) {
            let path = format!("crate::{room}::");
            for (at, _) in text.match_indices(&path) {
                let rest = &text[at + path.len()..];
                let item: String = rest
                    .chars()
                    .take_while(|c| c.is_alphanumeric() || *c == '_' || *c == ':')
                    .collect();
                let inner =
                    ["api", "apply", "blueprint", "catalog", "plan", "policy", "run", "steps"];
                let module = item.split("::").next().unwrap_or_default();
                assert!(
                    !(item.contains("::") && inner.contains(&module)),
                    "{name} reaches into {path}{item}"
                );
            }
        }
    }
}

#[test]
fn only_version_rs_asks_for_a_major() {
    for (name, text) in sources() {
        let asks = (15..=18).any(|major| text.contains(&format!("feature = \"pg{major}\"")));
        assert!(!asks || name == "pg/version.rs", "{name} has a cfg for a PostgreSQL major");
    }
}

#[test]
fn lib_rs_stays_short() {
    let lib = source_root().join("lib.rs");
    assert!(fs::read_to_string(lib).unwrap().lines().count() < 80);
}

#[test]
fn what_a_client_is_told_is_ascii() {
    // One whose encoding has no such character, LATIN1 has no ellipsis, gets 22P05 in the place of the message.
    let mut texts = sources();
    for entry in fs::read_dir(source_root().join("../sql")).unwrap() {
        let path = entry.unwrap().path();
        texts.push((path.display().to_string(), fs::read_to_string(path).unwrap()));
    }
    for (name, text) in texts.iter().filter(|(name, _)| !name.ends_with("tests.rs")) {
        let mut said = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        let other = said.find(|line| !line.is_ascii());
        assert_eq!(other, None, "in {name}");
    }
}
