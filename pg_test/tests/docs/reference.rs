//! docs/reference.md is what the catalog's comments say, and nothing else.
//!
//! `UPDATE_GOLDEN=1` writes it anew.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;

use anyhow::{Context, Result, bail, ensure};
use pg_test::fixtures;
use pg_test::setup::paths;

use crate::catalog::{self, Argument, Relation, Routine, Setting};

/// A chapter: its heading, and the names it has.
type Subject = (&'static str, &'static [&'static str]);

/// What is for users, by subject. What is new has to be put somewhere.
const SUBJECTS: [Subject; 8] = [
    (
        "Sets of both kinds",
        &["maintain", "partition_sets", "partitions", "plan", "step", "unmanage"],
    ),
    ("Range sets", &["alter_range", "drain_default", "manage_range"]),
    ("Hash sets", &["alter_hash", "manage_hash"]),
    (
        "Retention and tiering",
        &["clear_retention", "clear_tiering", "set_retention", "set_tiering"],
    ),
    (
        "Jobs and their runs",
        &["alter_job", "job_runs", "jobs", "pause_job", "resume_job", "run_job"],
    ),
    ("Alerts, open and resolved", &["acknowledge_alert", "alert_history", "alerts"]),
    ("Import from pg_partman", &["import_pg_partman"]),
    ("Status of the database and the server", &["node", "status"]),
];

/// What views, triggers and the import call with the rights of whoever uses them, so that PUBLIC may.
const HELPERS: [&str; 23] = [
    "hash_holes",
    "hash_partitions",
    "is_subscription",
    "launcher_pid",
    "partition_tree",
    "pg_partman_bounds",
    "pg_partman_calendar",
    "pg_partman_has_rows",
    "pg_partman_leftovers",
    "pg_partman_name_format",
    "pg_partman_origin",
    "pg_partman_refusal",
    "pg_partman_rows",
    "pg_partman_sets",
    "pg_partman_template",
    "pg_partman_time_zone",
    "preloaded",
    "range_partitions",
    "range_summary",
    "refuse_write",
    "relation_bytes",
    "tree_bytes",
    "tree_rows",
];

const SETTINGS: &str = "Settings";
const INTERNAL: &str = "Internal functions";

const INTRODUCTION: &str = "\
# Reference

Every function, procedure, view and setting. In psql the same texts are shown by `\\df+ steward.*`, `\\dv+ steward.*`,
`\\d+ steward.partition_sets` and, for settings, by `SELECT * FROM pg_settings WHERE name LIKE 'pg_steward.%'`. What an SQLSTATE
means and what to do about it: [errors](errors.md).

<!-- Made from the comments in the catalog: change them in sql/ and src/settings.rs. pg_test/README.md says how this file follows. -->
";

/// Compares docs/reference.md with the catalog, or makes it anew.
pub(crate) fn check() -> Result<()> {
    let cluster = fixtures::shared_cluster();
    let mut client = cluster.connect(&cluster.create_database_with_extension()?)?;
    let routines = catalog::routines(&mut client)?;
    let relations = catalog::relations(&mut client)?;
    let settings = catalog::settings(&mut client)?;
    let actual = render(&routines, &relations, &settings)?;

    let path = paths::repository().join("docs/reference.md");
    if std::env::var_os("UPDATE_GOLDEN").is_some_and(|value| value != "0") {
        return fs::write(&path, &actual)
            .with_context(|| format!("cannot write {}", path.display()));
    }
    let expected = fs::read_to_string(&path)
        .with_context(|| format!("cannot read {} (UPDATE_GOLDEN=1 writes it)", path.display()))?;
    if let Some((number, (old, new))) =
        expected.lines().zip(actual.lines()).enumerate().find(|(_, (old, new))| old != new)
    {
        bail!(
            "docs/reference.md is not what the catalog says (UPDATE_GOLDEN=1 writes it); line {}\n\
             of the file:    {old}\nof the catalog: {new}",
            number + 1
        );
    }
    ensure!(expected == actual, "docs/reference.md ends elsewhere (UPDATE_GOLDEN=1 writes it)");
    Ok(())
}

fn render(routines: &[Routine], relations: &[Relation], settings: &[Setting]) -> Result<String> {
    all_have_a_place(routines, relations)?;
    let mut text = INTRODUCTION.to_owned();
    let mut anchors = BTreeSet::new();
    let mut index = |title: &str, names: &mut dyn Iterator<Item = &str>| -> Result<String> {
        let mut link = |title: &str| -> Result<String> {
            let anchor = anchor(title);
            let link = format!("[{title}](#{anchor})");
            ensure!(anchors.insert(anchor), "two headings have the anchor of {title:?}");
            Ok(link)
        };
        let title = link(title)?;
        let names = names.map(&mut link).collect::<Result<Vec<_>>>()?;
        let colon = if names.is_empty() { "" } else { ": " };
        Ok(format!("- {title}{colon}{}\n", names.join(", ")))
    };
    text.push('\n');
    for (title, names) in SUBJECTS {
        text.push_str(&index(title, &mut names.iter().copied())?);
    }
    text.push_str(&index(SETTINGS, &mut settings.iter().map(|setting| setting.name.as_str()))?);
    text.push_str(&index(INTERNAL, &mut std::iter::empty())?);

    for (title, names) in SUBJECTS {
        write!(text, "\n## {title}\n")?;
        for name in names {
            for routine in routines.iter().filter(|routine| routine.name == *name) {
                text.push_str(&of_routine(routine)?);
            }
            for relation in relations.iter().filter(|relation| relation.name == *name) {
                text.push_str(&of_relation(relation, relations)?);
            }
        }
    }
    write!(text, "\n## {SETTINGS}\n")?;
    for setting in settings {
        text.push_str(&of_setting(setting)?);
    }
    write!(
        text,
        "\n## {INTERNAL}\n\n\
         Views, triggers and the import call these with the rights of whoever uses them, so everybody may execute them. Do not rely\n\
         on them. What only the extension itself may execute is not listed.\n\n"
    )?;
    for routine in routines.iter().filter(|routine| is_helper(routine)) {
        let comment = described(&routine.name, routine.comment.as_deref())?;
        let first = comment.split_inclusive(". ").next().unwrap_or_default().trim_end();
        writeln!(
            text,
            "- `{}`: {}",
            routine.name,
            escaped(first.lines().next().unwrap_or_default())
        )?;
    }
    Ok(text)
}

fn is_helper(routine: &Routine) -> bool {
    routine.public && HELPERS.contains(&routine.name.as_str())
}

/// What users may call or read stands in one list, and what stands in a list is there.
fn all_have_a_place(routines: &[Routine], relations: &[Relation]) -> Result<()> {
    let mut places: Vec<&str> =
        SUBJECTS.iter().flat_map(|(_, names)| names.iter().copied()).collect();
    places.extend(HELPERS);
    let mut there: Vec<&str> = routines
        .iter()
        .filter(|routine| routine.public)
        .map(|routine| routine.name.as_str())
        .chain(relations.iter().map(|relation| relation.name.as_str()))
        .collect();
    places.sort_unstable();
    there.sort_unstable();
    let only = |these: &[&str], those: &[&str]| -> Vec<String> {
        these.iter().filter(|name| !those.contains(name)).map(|name| (*name).to_owned()).collect()
    };
    ensure!(
        places == there,
        "pg_test/tests/docs/reference.rs says where a name belongs: without a place are {:?}, a place without \
         something for PUBLIC in it have {:?}",
        only(&there, &places),
        only(&places, &there)
    );
    for (title, names) in SUBJECTS {
        ensure!(names.is_sorted(), "{title} is not in alphabetical order");
    }
    Ok(())
}

fn of_routine(routine: &Routine) -> Result<String> {
    let comment = described(&routine.name, routine.comment.as_deref())?;
    Ok(format!(
        "\n### {}\n\n```text\n{}\n```\n\n{}",
        routine.name,
        signature(routine),
        prose(comment)?
    ))
}

/// As one would write CREATE FUNCTION; on one line where it is short.
fn signature(routine: &Routine) -> String {
    let call = if routine.is_procedure { "CALL " } else { "" };
    let result = match &routine.result {
        Some(result) if !routine.is_procedure => format!(" RETURNS {result}"),
        _ => String::new(),
    };
    let arguments = &routine.arguments;
    let short = arguments.iter().map(|argument| of_argument(argument, 0, 0)).collect::<Vec<_>>();
    let line = format!("{call}steward.{}({}){result}", routine.name, short.join(", "));
    if line.len() <= 100 {
        return line;
    }
    let width = |length: fn(&Argument) -> usize| arguments.iter().map(length).max().unwrap_or(0);
    let (names, types) = (
        width(|argument| argument.name.len() + if argument.out { 4 } else { 0 }),
        width(|argument| argument.type_name.len()),
    );
    let lines: Vec<String> = arguments
        .iter()
        .map(|argument| format!("    {}", of_argument(argument, names, types)))
        .collect();
    format!("{call}steward.{}(\n{}\n){result}", routine.name, lines.join(",\n"))
}

fn of_argument(argument: &Argument, name_width: usize, type_width: usize) -> String {
    let name = format!("{}{}", if argument.out { "OUT " } else { "" }, argument.name);
    match &argument.default {
        None => format!("{name:name_width$} {}", argument.type_name),
        Some(default) => {
            format!("{name:name_width$} {:type_width$} DEFAULT {default}", argument.type_name)
        }
    }
}

fn of_relation(relation: &Relation, relations: &[Relation]) -> Result<String> {
    let kind = if relation.is_view { "View" } else { "Type" };
    let comment = described(&relation.name, relation.comment.as_deref())?;
    let mut text = format!(
        "\n### {}\n\n{kind} `steward.{}`. {}",
        relation.name,
        relation.name,
        prose(comment)?
    );
    if has_columns_of_another(relation, comment, relations)? {
        return Ok(text);
    }
    text.push_str("\n| column | type | |\n| --- | --- | --- |\n");
    for column in &relation.columns {
        let name = format!("{}.{}", relation.name, column.name);
        let comment = escaped(described(&name, column.comment.as_deref())?).replace('|', "\\|");
        writeln!(text, "| `{}` | {} | {comment} |", column.name, column.type_name)?;
    }
    Ok(text)
}

/// Whether the comment says that the columns are those of another view: then they are, and are described there.
fn has_columns_of_another(
    relation: &Relation,
    comment: &str,
    relations: &[Relation],
) -> Result<bool> {
    let Some((_, rest)) = comment.split_once("The columns are those of steward.") else {
        return Ok(false);
    };
    let other = rest.split('.').next().unwrap_or_default();
    let shape = |relation: &Relation| -> Vec<(String, String)> {
        let column = |column: &catalog::Column| (column.name.clone(), column.type_name.clone());
        relation.columns.iter().map(column).collect()
    };
    let same = relations.iter().any(|it| it.name == other && shape(it) == shape(relation));
    ensure!(same, "the columns of steward.{} are not those of {other:?}", relation.name);
    Ok(true)
}

fn of_setting(setting: &Setting) -> Result<String> {
    let value = |value: &str| match (setting.kind.as_str(), &setting.unit, value) {
        ("integer", Some(unit), _) => in_words(value, unit),
        ("string", _, "") => "empty".to_owned(),
        _ => value.to_owned(),
    };
    let range = match &setting.range {
        Some((least, most)) => format!(", {} to {}", value(least), value(most)),
        None => String::new(),
    };
    let unit = setting.unit.as_ref().map_or(String::new(), |unit| format!(" in {unit}"));
    let changed = match setting.context.as_str() {
        "sighup" => "set in `postgresql.conf` or by `ALTER SYSTEM`; a reload is enough",
        "user" => "any session can set it, as can `ALTER ROLE` and `ALTER DATABASE`",
        "postmaster" => "set in `postgresql.conf`; needs a restart",
        other => bail!("reference.rs does not know the context {other:?} of {}", setting.name),
    };
    Ok(format!(
        "\n### {}\n\nType {}{unit}{range}; default {}; {changed}.\n\n{}",
        setting.name,
        setting.kind,
        value(&setting.default),
        prose(described(&setting.name, Some(&setting.comment))?)?
    ))
}

/// A time in the largest unit that gives a whole number.
fn in_words(value: &str, unit: &str) -> String {
    const UNITS: [(&str, u64); 5] =
        [("d", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("s", 1_000), ("ms", 1)];
    let scale = UNITS.iter().find(|(name, _)| *name == unit).map(|(_, scale)| scale);
    let (Some(scale), Ok(number)) = (scale, value.parse::<u64>()) else {
        return format!("{value} {unit}");
    };
    let total = number * scale;
    match UNITS.iter().find(|(_, scale)| total > 0 && total % scale == 0) {
        Some((name, scale)) => format!("{} {name}", total / scale),
        None => "0".to_owned(),
    }
}

fn described<'a>(name: &str, comment: Option<&'a str>) -> Result<&'a str> {
    let comment = comment.unwrap_or_default();
    ensure!(!comment.trim().is_empty(), "steward.{name} has no comment");
    ensure!(comment.ends_with(['.', ')']), "the comment on steward.{name} does not end: {comment}");
    Ok(comment)
}

/// A comment as markdown: a line that begins with a blank tells of an argument; errors stand by themselves.
fn prose(comment: &str) -> Result<String> {
    let mut text = String::new();
    let mut in_list = false;
    for line in comment.lines() {
        if let Some(item) = line.strip_prefix(' ') {
            let Some((names, meaning)) = item.split_once(": ") else {
                bail!("a line on an argument is not \"name: meaning\": {line:?}");
            };
            writeln!(text, "- {}: {}", quoted_names(names), escaped(meaning))?;
            in_list = true;
            continue;
        }
        if in_list {
            text.push('\n');
            in_list = false;
        }
        let (line, errors) = match line.split_once(" Errors: ") {
            Some((line, errors)) => (line, Some(errors)),
            None => (line, None),
        };
        write!(text, "{}\n\n", escaped(line))?;
        if let Some(errors) = errors {
            write!(text, "Errors: {}\n\n", escaped(errors))?;
        }
    }
    Ok(format!("{}\n", text.trim_end()))
}

/// `a, b` and `a to b` with each name as code.
fn quoted_names(names: &str) -> String {
    let words = names.split(' ').map(|word| match word.strip_suffix(',') {
        Some(name) => format!("`{name}`,"),
        None if word == "to" => word.to_owned(),
        None => format!("`{word}`"),
    });
    words.collect::<Vec<_>>().join(" ")
}

/// Without a meaning in markdown.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        if matches!(character, '\\' | '<' | '*' | '`') {
            safe.push('\\');
        }
        safe.push(character);
    }
    safe
}

/// The anchor that GitHub gives a heading.
fn anchor(title: &str) -> String {
    let kept = |c: &char| c.is_alphanumeric() || matches!(c, '_' | '-' | ' ');
    title.to_lowercase().chars().filter(kept).map(|c| if c == ' ' { '-' } else { c }).collect()
}
