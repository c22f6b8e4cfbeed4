//! The walls of the house (ARCHITECTURE.md), enforced on the source text.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Rooms, and files that stand alone, from the ground up. Each uses its own floor and those below it.
const FLOORS: [&[&str]; 10] = [
    &["calendar"],
    &["key"],
    &["pg", "error"],
    &["settings"],
    &["alerts"],
    &["jobs"],
    &["dump"],
    &["partition"],
    &["worker"],
    &["status", "lib"],
];

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

/// What a text uses of the crate's top level, by whatever kind of path.
fn uses(text: &str) -> BTreeSet<String> {
    let name = |text: &str| -> String {
        text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
    };
    let mut found = BTreeSet::new();
    for (at, path) in text.match_indices("crate::") {
        let rest = &text[at + path.len()..];
        match rest.strip_prefix('{') {
            None => {
                found.insert(name(rest));
            }
            Some(group) => {
                let mut depth = 0;
                let mut begins = Some(0);
                for (at, c) in group.char_indices() {
                    if let Some(start) = begins.take() {
                        found.insert(name(&group[start..]));
                    }
                    match c {
                        '{' => depth += 1,
                        '}' if depth == 0 => break,
                        '}' => depth -= 1,
                        ',' if depth == 0 => begins = Some(at + 1),
                        _ => {}
                    }
                }
            }
        }
    }
    found.remove("");
    found
}

#[test]
fn uses_are_seen_in_groups_too() {
    let of = |text| uses(text).into_iter().collect::<Vec<_>>();
    assert_eq!(of("use crate::worker::run;\nlet x = crate::pg::y();"), ["pg", "worker"]);
    assert_eq!(of("use crate::{retention, settings};"), ["retention", "settings"]);
    assert_eq!(
        of("use crate::{\n    jobs::{self, Job},\n    pg::{a::{b, c}, d},\n    worker,\n};\nx, y"),
        ["jobs", "pg", "worker"]
    );
}

/// The room, or the file, that a source file belongs to.
fn room(name: &str) -> &str {
    name.split('/').next().unwrap_or_default().trim_end_matches(".rs")
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
        let pure = name.starts_with("calendar/")
            || name.starts_with("key/")
            || name.ends_with("/plan.rs")
            || ["jobs/backoff.rs", "partition/range/grid.rs", "pg/touched.rs"]
                .contains(&name.as_str());
        if pure {
            assert!(
                !has_word(&text, "pgrx") && !uses(&text).contains("pg"),
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
    let floor = |room: &str| FLOORS.iter().position(|rooms| rooms.contains(&room));
    for (name, text) in sources() {
        // `error/help.rs` is of the same house as `error.rs`.
        let Some(own) = floor(room(&name)) else { panic!("{name} stands on no floor") };
        for used in uses(&text) {
            // What is no room is an item of lib.rs, which has none but for pgrx's tests.
            let Some(other) = floor(&used) else { panic!("{name} uses crate::{used}: no room") };
            assert!(other <= own, "{name} uses the higher room {used}");
        }
    }
}

/// The compiler then keeps others out of the rest.
#[test]
fn rooms_open_nothing_but_their_mod_rs() {
    // What is in these two is a tool for everybody above, by itself.
    let open = ["calendar/mod.rs", "pg/mod.rs", "lib.rs"];
    let mut seen = 0;
    for (name, text) in sources() {
        if open.contains(&name.as_str()) {
            continue;
        }
        for line in text.lines().map(str::trim).filter(|line| line.ends_with(';')) {
            let line = line.trim_end_matches(';');
            let Some((before, module)) = line.split_once("mod ") else { continue };
            assert!(before.is_empty(), "{name} opens its {module}: {line}");
            seen += 1;
        }
    }
    assert!(seen > 50, "{seen} modules: the search is broken");
}

/// Every source file, and every room with a `/` behind it, as the house that ARCHITECTURE.md draws has them.
fn drawn() -> BTreeSet<String> {
    let text = fs::read_to_string(source_root().join("../ARCHITECTURE.md")).unwrap();
    let (_, house) = text.split_once("\nsrc/\n").unwrap();
    let mut found = BTreeSet::new();
    // Directories that what is indented further lies in; a file's own is of its name.
    let mut within: Vec<(usize, String)> = Vec::new();
    for line in house.lines().take_while(|line| line.starts_with(' ')) {
        let indent = line.len() - line.trim_start().len();
        within.retain(|(of, _)| *of < indent);
        let mut path = within.last().map(|(_, path)| path.clone()).unwrap_or_default();
        for (at, word) in line.split_whitespace().enumerate() {
            let word = word.trim_end_matches([',', ':']);
            if let Some(directory) = word.strip_suffix('/').filter(|_| at == 0) {
                path = format!("{path}{directory}/");
                within.push((indent, path.clone()));
                found.insert(path.clone());
            } else if let Some(stem) = word.strip_suffix(".rs") {
                found.insert(format!("{path}{word}"));
                if at == 0 {
                    within.push((indent, format!("{path}{stem}/")));
                }
            }
        }
    }
    found
}

#[test]
fn every_source_file_is_drawn_and_nothing_else() {
    let drawn = drawn();
    // Tests beside what they test go without saying. A room's door stands for the room.
    let there: BTreeSet<String> = sources()
        .into_iter()
        .map(|(name, _)| name.strip_suffix("mod.rs").map(str::to_owned).unwrap_or(name))
        .filter(|name| !name.ends_with("tests.rs") && !name.contains("/tests/"))
        .collect();
    let missing: Vec<_> = there.difference(&drawn).collect();
    assert!(missing.is_empty(), "ARCHITECTURE.md does not name {missing:#?}");
    let gone: Vec<_> = drawn.difference(&there).collect();
    assert!(gone.is_empty(), "ARCHITECTURE.md names what is not there: {gone:#?}");
}

/// Text comes and goes through `pg/encoding.rs`. What SQL gives and takes is `Text`, which goes through it;
/// what raises does so within `called`, which says it in the server's encoding; and pgrx's macros do not.
#[test]
fn text_comes_and_goes_in_the_servers_encoding() {
    let in_encoding = ["pg/encoding.rs", "pg/subtransaction.rs", "pg/report.rs", "pg/user_sql.rs"];
    let mut seen = 0;
    for (name, text) in sources() {
        for call in ["to_string_lossy", "from_utf8_lossy", "CString::new", ".to_str()"] {
            assert!(
                !text.contains(call) || in_encoding.contains(&name.as_str()),
                "{name} makes text of bytes, or bytes of text: {call}"
            );
        }
        for raises in ["ereport!", "error!", "warning!", "notice!", "info!", "log!"] {
            let says = |at: usize| {
                text[..at].chars().next_back().is_none_or(|c| !c.is_alphanumeric() && c != '_')
            };
            assert!(!text.match_indices(raises).any(|(at, _)| says(at)), "{name} has {raises}");
        }
        for (at, _) in text.match_indices("#[pg_extern") {
            let whole = &text[at..at + text[at..].find("\n}").unwrap()];
            let (face, body) = whole.split_once(" {\n").unwrap();
            let face = face.replace("&'static str", "");
            assert!(
                !has_word(&face, "String") && !face.contains("str>") && !face.contains("&str"),
                "{name} gives SQL text as it is, or takes it so:\n{face}"
            );
            assert!(
                !face.contains("ErrorReport") || body.trim_start().starts_with("called("),
                "{name} raises what it is not to:\n{face}"
            );
            seen += 1;
        }
    }
    assert!(seen > 20, "{seen} functions: the search is broken");
}

/// An extension's script is read in the encoding of the database, and our own words must be sayable in each.
#[test]
fn what_we_say_is_ascii() {
    let ascii = |name: &str, text: &str| {
        let offender = text.lines().find(|line| !line.is_ascii());
        assert!(offender.is_none(), "{name}: {offender:?}");
    };
    let root = source_root().join("..");
    for file in fs::read_dir(root.join("sql")).unwrap() {
        let path = file.unwrap().path();
        ascii(&path.to_string_lossy(), &fs::read_to_string(&path).unwrap());
    }
    for file in ["Cargo.toml", "pg_steward.control"] {
        ascii(file, &fs::read_to_string(root.join(file)).unwrap());
    }
    for (name, text) in sources().iter().filter(|(name, _)| !name.ends_with("tests.rs")) {
        ascii(name, text);
    }
}

#[test]
fn only_version_rs_asks_for_a_major() {
    for (name, text) in sources() {
        let asks = (15..=18).any(|major| text.contains(&format!("feature = \"pg{major}\"")));
        assert!(!asks || name == "pg/version.rs", "{name} has a cfg for a PostgreSQL major");
    }
}

/// A symbol that is declared by hand is checked by nobody when a major changes it: there they stand together.
#[test]
fn only_version_rs_declares_symbols_of_the_server() {
    let mut seen = 0;
    for (name, text) in sources() {
        for (at, word) in text.match_indices("extern \"") {
            let rest = &text[at + word.len()..];
            let is_block =
                rest.split_once('"').is_some_and(|(_, rest)| rest.trim_start().starts_with('{'));
            if is_block {
                assert_eq!(name, "pg/version.rs", "a file declares symbols of the server");
                seen += 1;
            }
        }
    }
    assert_eq!(seen, 1, "blocks of declarations");
}

#[test]
fn lib_rs_stays_short() {
    let lib = source_root().join("lib.rs");
    assert!(fs::read_to_string(lib).unwrap().lines().count() < 80);
}
