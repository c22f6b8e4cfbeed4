//! Connections, and short ways to ask them something in a test.

use anyhow::{Context, Result};
use postgres::error::DbError;
use postgres::types::FromSqlOwned;
use postgres::{Client, Config, NoTls};

use super::server::Cluster;

impl Cluster {
    /// A connection as the superuser `postgres`.
    pub fn connect(&self, database: &str) -> Result<Client> {
        self.connect_as(database, "postgres")
    }

    /// A connection as any role that may log in.
    pub fn connect_as(&self, database: &str, user: &str) -> Result<Client> {
        Config::new()
            .host_path(self.socket_dir())
            .dbname(database)
            .user(user)
            .application_name("pg_test")
            .connect(NoTls)
            .with_context(|| format!("cannot connect to database {database:?} as {user:?}"))
    }
}

/// Short questions for tests: they panic where something is not as the test says.
pub trait Ask {
    /// The single value of a query's single row.
    fn value<T: FromSqlOwned>(&mut self, sql: &str) -> T;

    /// The first column of each row.
    fn column<T: FromSqlOwned>(&mut self, sql: &str) -> Vec<T>;

    /// Runs statements that must succeed, by the simple protocol (so CALLs that commit work).
    fn run(&mut self, sql: &str);

    /// Runs statements that must fail with this SQLSTATE, and returns the error.
    fn refused(&mut self, code: &str, sql: &str) -> DbError;
}

impl Ask for Client {
    #[track_caller]
    fn value<T: FromSqlOwned>(&mut self, sql: &str) -> T {
        match self.query_one(sql, &[]).and_then(|row| row.try_get(0)) {
            Ok(value) => value,
            Err(error) => panic!("{}\nin: {sql}", describe(&error)),
        }
    }

    #[track_caller]
    fn column<T: FromSqlOwned>(&mut self, sql: &str) -> Vec<T> {
        let rows = self.query(sql, &[]);
        match rows.and_then(|rows| rows.iter().map(|row| row.try_get(0)).collect()) {
            Ok(values) => values,
            Err(error) => panic!("{}\nin: {sql}", describe(&error)),
        }
    }

    #[track_caller]
    fn run(&mut self, sql: &str) {
        if let Err(error) = self.batch_execute(sql) {
            panic!("{}\nin: {sql}", describe(&error));
        }
    }

    #[track_caller]
    fn refused(&mut self, code: &str, sql: &str) -> DbError {
        let Err(error) = self.batch_execute(sql) else { panic!("not refused: {sql}") };
        let Some(refusal) = error.as_db_error() else { panic!("{error}\nin: {sql}") };
        assert_eq!(refusal.code().code(), code, "{}\nin: {sql}", describe(&error));
        refusal.clone()
    }
}

/// The SQLSTATE of an error from the server, or `""`.
pub fn sqlstate(error: &postgres::Error) -> &str {
    error.code().map_or("", postgres::error::SqlState::code)
}

/// An error with everything the server said: SQLSTATE, message, detail, hint.
pub fn describe(error: &postgres::Error) -> String {
    let Some(said) = error.as_db_error() else { return error.to_string() };
    let mut text = format!("{} {}: {}", said.severity(), said.code().code(), said.message());
    for (label, part) in
        [("detail", said.detail()), ("hint", said.hint()), ("where", said.where_())]
    {
        if let Some(part) = part {
            text.push_str(&format!("\n  {label}: {part}"));
        }
    }
    text
}
