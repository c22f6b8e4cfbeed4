//! Values for arguments: what somebody may mean, by the argument's name, and what nobody does, by its type.

use crate::chance::Chance;
use crate::pool::Pool;

/// A literal of a type, for an argument of a name.
pub(crate) fn literal(chance: &mut Chance, pool: &Pool, name: &str, sql_type: &str) -> String {
    if chance.one_in(25) {
        return format!("NULL::{sql_type}");
    }
    if !chance.one_in(3)
        && let Some(sensible) = sensible(chance, pool, name, sql_type)
    {
        return format!("{sensible}::{sql_type}");
    }
    format!("{}::{sql_type}", nasty(chance, pool, sql_type))
}

/// Text as a literal of SQL, whatever standard_conforming_strings says.
pub(crate) fn quoted(text: &str) -> String {
    let doubled = text.replace('\'', "''");
    if text.contains('\\') {
        format!("E'{}'", doubled.replace('\\', "\\\\"))
    } else {
        format!("'{doubled}'")
    }
}

fn sensible(chance: &mut Chance, pool: &Pool, name: &str, sql_type: &str) -> Option<String> {
    let picked = match (name, sql_type) {
        ("template", "regclass") => {
            chance.pick(&["'zoo.template'", "'zoo.plain'", "'-'"]).to_owned()
        }
        (_, "regclass") => return Some(pool.relation(chance)),
        (_, "oid") => return Some(format!("{}::regclass", pool.relation(chance))),
        ("job_id", _) => pool.job(chance),
        ("alert_id", _) => (1 + chance.below(6)).to_string(),
        ("archive_function", _) => {
            format!(
                "'zoo.{}(regclass)'",
                chance.pick(&[
                    "keeps",
                    "refuses",
                    "raises",
                    "raises_own",
                    "dallies",
                    "writes",
                    "drops"
                ])
            )
        }
        ("partition_interval", _) => chance
            .pick(&[
                "1 month",
                "1 day",
                "1 week",
                "3 months",
                "1 hour",
                "15 minutes",
                "10 seconds",
                "1 year",
                "10",
                "1000",
                "1000000",
                "100 years",
            ])
            .into(),
        ("keep" | "older_than", "text") => chance
            .pick(&[
                "1 day",
                "12 months",
                "2 hours",
                "1 second",
                "100",
                "1000000",
                "30 days",
                "1000 years",
            ])
            .into(),
        ("premake" | "partitions" | "subpartitions", _) => {
            chance.pick(&["1", "2", "3", "4", "6", "8", "16"]).to_owned()
        }
        ("time_zone", "text") => chance
            .pick(&["UTC", "Europe/Madrid", "America/New_York", "Pacific/Apia", "Asia/Kathmandu"])
            .into(),
        ("start_at" | "origin", "text") => chance
            .pick(&[
                "now",
                "2026-01-01",
                "yesterday",
                "2026-11-01 00:00+02",
                "0",
                "5",
                "1000",
                "2020-02-29",
                "today",
                "",
            ])
            .into(),
        ("key_encoding", _) => chance
            .pick(&[
                "epoch_seconds",
                "epoch_milliseconds",
                "epoch_microseconds",
                "epoch_nanoseconds",
                "uuidv7",
                "ulid",
                "snowflake",
                "snowflake:1420070400000",
                "",
            ])
            .into(),
        ("name_format", _) => chance
            .pick(&[
                "{parent}_%Y_%m_%d",
                "{parent}_{lower}",
                "{parent}_{remainder}",
                "p_%G_%V",
                "{parent}_%Y_%q_%H%M%S",
                "",
            ])
            .into(),
        ("subpartition_by", _) => chance.pick(&["a", "b", "k", "", "note"]).into(),
        ("action", _) => chance.pick(&["drop", "detach"]).into(),
        ("to_schema", _) => chance.pick(&["attic", "zoo", "public"]).into(),
        ("tablespace", _) => chance.pick(&["cold", "pg_default"]).into(),
        ("schedule", _) => chance.pick(&["10 seconds", "1 hour", "1 day", "1 second"]).into(),
        ("max_runtime", _) => chance.pick(&["1 second", "1 hour", "0", "24 days"]).into(),
        ("priority", _) => chance.below(101).to_string(),
        ("at", _) => {
            chance.pick(&["now", "2030-01-01", "2026-03-29 01:59:59+01", "1999-12-31"]).into()
        }
        _ => return None,
    };
    Some(if picked.starts_with('\'') { picked } else { quoted(&picked) })
}

/// What nobody means. Every value is one of the type, or the server refuses it before we see it.
fn nasty(chance: &mut Chance, pool: &Pool, sql_type: &str) -> String {
    let listed: &[&str] = match sql_type {
        "regclass" => return pool.odd_relation(chance),
        "oid" => return format!("{}::regclass", pool.odd_relation(chance)),
        "integer" => {
            &["0", "-1", "1", "2147483647", "'-2147483648'", "10001", "1001", "7", "32768", "17"]
        }
        "bigint" => {
            &["0", "-1", "1", "9223372036854775807", "'-9223372036854775808'", "4294967296", "99"]
        }
        "boolean" => &["true", "false"],
        "numeric" => &["0", "-1", "'NaN'", "'Infinity'", "1e1000", "0.0000001"],
        "interval" => &[
            "'0'",
            "'-1 second'",
            "'178000000 years'",
            "'1 month -30 days'",
            "'2147483647 days'",
            "'0.000001 s'",
            "'-178000000 years'",
            "'24:00:00'",
            "'1 day 00:00:00.5'",
        ],
        "timestamp with time zone" => &[
            "'infinity'",
            "'-infinity'",
            "'epoch'",
            "'294276-12-31 23:59:59.999999+00'",
            "'4713-01-01 00:00:00+00 BC'",
            "'0001-01-01 00:00+00 BC'",
            "'2026-10-25 01:30+00'",
        ],
        "timestamp with time zone[]" => &[
            "'{}'",
            "'{NULL}'",
            "'{infinity,-infinity}'",
            "'{2026-01-01,2026-02-01}'",
            "'{{2026-01-01},{2026-02-01}}'",
        ],
        "jsonb" => &[
            "'{}'",
            "'null'",
            "'[]'",
            "'1'",
            "'\"x\"'",
            "'{\"partition_interval\": 7, \"parent_table\": null}'",
            "'{\"partition_interval\": \"1 day\", \"control\": \"k\", \"premake\": -1, \"parent_table\": \"zoo.x\"}'",
            "'[\"zoo\", \"by_day\"]'",
            "'{\"schema\": \"zoo\", \"name\": \"by_day\", \"kind\": []}'",
        ],
        "regprocedure" => &[
            "'-'",
            "0",
            "'pg_sleep(double precision)'",
            "4294967295",
            "'steward.plan(regclass,timestamptz)'",
            "'zoo.not_boolean(regclass)'",
            "'zoo.set_of(regclass)'",
            "'sum(integer)'",
            "2147483647",
        ],
        "steward.alert" => &[
            "NULL",
            "ROW(1,'c','o',0,0,'warning','firing',1,'m',now(),NULL,NULL,NULL,NULL)",
            "ROW(NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL)",
        ],
        _ => return quoted(&text(chance)),
    };
    chance.pick(listed).to_owned()
}

/// Texts that have broken programs before.
fn text(chance: &mut Chance) -> String {
    const TEXTS: [&str; 60] = [
        "",
        " ",
        "\t",
        "0",
        "-1",
        "1",
        "-0",
        "+1",
        "1e3",
        "0x10",
        "NaN",
        "infinity",
        "-infinity",
        "null",
        "NULL",
        "9223372036854775807",
        "9223372036854775808",
        "-9223372036854775809",
        "99999999999999999999999999999999999999999",
        "1 month 15 days",
        "0 days",
        "-1 day",
        "1 microsecond",
        "1.5 days",
        "P1Y2M3DT4H5M6S",
        "@ 1 day ago",
        "1 day 1",
        "178000000 years",
        "2147483647 months",
        "1 century",
        "00:00:00.000001",
        "13 months",
        "1 year 1 second",
        "2026-02-30",
        "294277-01-01",
        "4714-01-01 BC",
        "epoch",
        "tomorrow",
        "allballs",
        "24:00",
        "2026-10-25 02:30 Europe/Madrid",
        "Mars/Olympus",
        "UTC+3",
        "<+0530>-5:30",
        "../../etc/passwd",
        "posixrules",
        "localtime",
        "right/UTC",
        "'; DROP TABLE zoo.plain; --",
        "\\",
        "%",
        "%%",
        "%n%s%s%s",
        "{parent}{parent}",
        "{",
        "{}}",
        "🐘 größe",
        "\u{202e}rtl\u{0301}",
        "$1",
        "a\nb\"c'd",
    ];
    match chance.below(12) {
        0 => "x".repeat(1 + chance.below(300)),
        1 => "é".repeat(1 + chance.below(80)),
        2 => "9".repeat(1 + chance.below(60)),
        3 => format!(
            "{} {}",
            chance.below(1_000_000),
            chance.pick(&["days", "months", "seconds", "weeks", "lightyears"])
        ),
        4 => {
            "snowflake:".to_owned()
                + chance.pick(&["", "-1", "9223372036854775807", "x", "0", "1e3"])
        }
        5 => "%Y".repeat(chance.below(40)),
        _ => chance.pick(&TEXTS).to_owned(),
    }
}
