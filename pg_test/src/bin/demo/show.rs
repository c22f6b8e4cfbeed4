//! Compact tables, straight from what users would query.

use anyhow::{Context, Result};
use postgres::{Client, SimpleQueryMessage};

/// A heading with a line of air above it.
pub(crate) fn heading(text: &str) {
    println!("\n── {text} {}", "─".repeat(86usize.saturating_sub(text.chars().count())));
}

/// The sets under management.
pub(crate) fn sets(client: &mut Client) -> Result<()> {
    table(
        client,
        "SELECT parent::text AS set, partition_interval AS interval, premake, time_zone,
                partitions, left(covered_from::text, 19) AS covered_from,
                left(covered_until::text, 19) AS covered_until, last_status
         FROM steward.partition_sets ORDER BY 1 DESC",
    )
}

/// Their jobs, and the latest runs.
pub(crate) fn jobs(client: &mut Client) -> Result<()> {
    table(
        client,
        "SELECT job_id, kind, target::text, enabled, last_status, consecutive_failures AS failures,
                circuit, date_trunc('second', next_run_at)::text AS next_run_at
         FROM steward.jobs ORDER BY 1",
    )?;
    table(
        client,
        "SELECT run_id, target::text, status, to_char(started_at, 'HH24:MI:SS.MS') AS started_at,
                round(extract(epoch FROM duration) * 1000, 1) AS ms, left(detail::text, 60) AS detail
         FROM steward.job_runs ORDER BY run_id DESC LIMIT 5",
    )
}

/// What a query gives, aligned; numbers to the right.
pub(crate) fn table(client: &mut Client, sql: &str) -> Result<()> {
    let messages = client.simple_query(sql).with_context(|| format!("in: {sql}"))?;
    let mut header: Vec<String> = Vec::new();
    let mut rows: Vec<Vec<String>> = Vec::new();
    for message in &messages {
        match message {
            SimpleQueryMessage::RowDescription(columns) => {
                header = columns.iter().map(|column| column.name().to_owned()).collect();
            }
            SimpleQueryMessage::Row(row) => {
                let cells = (0..row.len()).map(|i| row.get(i).unwrap_or("–").to_owned());
                rows.push(cells.collect());
            }
            _ => {}
        }
    }
    print(&header, &rows);
    Ok(())
}

fn print(header: &[String], rows: &[Vec<String>]) {
    let length = |text: &String| text.chars().count();
    let columns: Vec<(usize, bool)> = (0..header.len())
        .map(|i| {
            let cells = rows.iter().map(|row| &row[i]);
            let width = cells.clone().map(length).chain([length(&header[i])]).max();
            let numbers = cells.clone().all(|cell| cell == "–" || cell.parse::<f64>().is_ok());
            (width.unwrap_or(0), numbers && !rows.is_empty())
        })
        .collect();
    let line = |cells: &[String]| {
        let mut text = String::new();
        for (cell, &(width, right)) in cells.iter().zip(&columns) {
            let padding = " ".repeat(width - length(cell));
            if right {
                text.push_str(&format!("  {padding}{cell}"));
            } else {
                text.push_str(&format!("  {cell}{padding}"));
            }
        }
        println!("{}", text.trim_end());
    };
    line(header);
    line(&columns.iter().map(|(width, _)| "─".repeat(*width)).collect::<Vec<_>>());
    for row in rows {
        line(row);
    }
    println!();
}
