//! Runs the SQL of README.md and its neighbours and of docs/: each file in order, in one database.
//!
//! A block fenced ```` ```sql ```` must succeed, ```` ```sql error=55000 ```` must fail so, and
//! ```` ```sql skip ```` is not run. docs/reference.md is compared with the catalog, and docs/README.md names
//! every file of docs/.

mod catalog;
mod reference;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use libtest_mimic::{Arguments, Failed, Trial};
use pg_test::fixtures;
use pg_test::setup::paths;

/// One fenced block of SQL.
#[derive(Debug, PartialEq, Eq)]
struct Block {
    /// The line of the opening fence, from 1.
    line: usize,
    /// The SQLSTATE it must fail with, if it must fail.
    error: Option<String>,
    sql: String,
}

fn main() -> Result<()> {
    let root = paths::repository();
    let mut files = markdown_files(&root, false)?;
    files.extend(markdown_files(&root.join("docs"), true)?);
    files.sort();

    let check = |done: Result<()>| done.map_err(|error| Failed::from(format!("{error:#}")));
    let mut trials = vec![
        Trial::test("reference", move || check(reference::check())),
        Trial::test("index", move || check(every_document_is_in_the_index())),
    ];
    for file in files {
        let text =
            fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let name = file.strip_prefix(&root).unwrap_or(&file).display().to_string();
        let blocks = blocks(&text).with_context(|| name.clone())?;
        if !blocks.is_empty() {
            trials.push(Trial::test(name, move || check(run(&blocks))));
        }
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit()
}

fn markdown_files(directory: &Path, recurse: bool) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    if !directory.is_dir() {
        return Ok(files);
    }
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() && recurse {
            files.extend(markdown_files(&path, true)?);
        } else if path.extension().is_some_and(|extension| extension == "md") {
            files.push(path);
        }
    }
    Ok(files)
}

fn every_document_is_in_the_index() -> Result<()> {
    let docs = paths::repository().join("docs");
    let index = fs::read_to_string(docs.join("README.md")).context("cannot read docs/README.md")?;
    for file in markdown_files(&docs, true)? {
        let name = file.strip_prefix(&docs).unwrap_or(&file).display().to_string();
        let lines = index.lines().filter(|line| line.contains(&format!("({name})"))).count();
        ensure!(name == "README.md" || lines == 1, "{lines} lines of docs/README.md link {name}");
    }
    Ok(())
}

fn blocks(text: &str) -> Result<Vec<Block>> {
    let mut found = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        let Some(info) = line.trim_start().strip_prefix("```") else { continue };
        let body: Vec<&str> = lines
            .by_ref()
            .map(|(_, line)| line)
            .take_while(|line| !line.trim_start().starts_with("```"))
            .collect();
        let mut words = info.split_whitespace();
        if words.next() != Some("sql") {
            continue;
        }
        let mut block = Block { line: number + 1, error: None, sql: body.join("\n") };
        let mut skip = false;
        for word in words {
            match word.split_once('=') {
                Some(("error", code)) => block.error = Some(code.to_owned()),
                None if word == "skip" => skip = true,
                _ => bail!("line {}: {word:?} is neither skip nor error=…", number + 1),
            }
        }
        if !skip {
            found.push(block);
        }
    }
    Ok(found)
}

fn run(blocks: &[Block]) -> Result<()> {
    let cluster = fixtures::shared_cluster();
    let database = cluster.create_database_with_extension()?;
    for block in blocks {
        let script = tempfile::NamedTempFile::new()?;
        fs::write(script.path(), &block.sql)?;
        let output = cluster
            .psql(&database)
            .args(&["--quiet", "--set=ON_ERROR_STOP=1", "--set=VERBOSITY=verbose"])
            .file(script.path())?;
        let at = format!("line {}:\n{}\n-- says:\n{}", block.line, block.sql, output.text);
        match &block.error {
            None => ensure!(output.code == Some(0), "{at}"),
            Some(code) => {
                ensure!(output.text.contains(&format!("ERROR:  {code}:")), "not {code}: {at}");
            }
        }
    }
    Ok(())
}
