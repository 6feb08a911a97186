//! One statement, or a few in a transaction, within a time limit.
//!
//! SQL is written once, with `?` for each value; what PostgreSQL writes otherwise is put in here. A database that stands still must not hold
//! a request, nor a connection that a later request needs: a connection that was left in the middle of something is dropped, and its
//! transaction with it.

use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt as _;
use jiff::Timestamp;
use sqlx::any::{Any, AnyArguments, AnyRow};
use sqlx::pool::PoolConnection;
use sqlx::query::Query;
use sqlx::{AssertSqlSafe, Either, Executor as _, Row as _, SqlSafeStr as _, SqlStr};
use tokio::time::Instant;

use super::known::{self, Known};
use super::url::Dialect;
use super::{Database, DatabaseError, time};

/// What an operation may take, waiting for a connection included.
pub(super) const LIMIT: Duration = Duration::from_secs(5);
/// A statement that the database gave up in favour of another one is repeated; a second time is rare.
pub(super) const ATTEMPTS: usize = 4;

/// A statement with its values.
#[derive(Clone)]
pub(super) struct Statement {
    sql: SqlStr,
    values: Vec<Value>,
}

#[derive(Clone)]
enum Value {
    Text(Option<String>),
    Number(Option<i64>),
}

/// What a statement did.
pub(super) struct Outcome {
    pub(super) rows: Vec<AnyRow>,
    pub(super) affected: u64,
    /// MySQL's number of the row that was inserted; the others return it as a row.
    pub(super) inserted: Option<i64>,
}

/// Several statements that are done together or not at all. Dropped, none is.
pub(super) struct Transaction {
    lease: Lease,
    /// After the lease: what was done is to be seen when it is read anew.
    forget: Option<Forget>,
    known: Option<Arc<Known>>,
}

/// Has what is known forgotten when it is dropped: also when its statement was given up.
struct Forget(Arc<Known>);

/// A connection for one operation.
struct Lease {
    /// None when it was given back.
    connection: Option<PoolConnection<Any>>,
    deadline: Instant,
    limit: Duration,
}

impl Statement {
    pub(super) fn new(dialect: Dialect, sql: &'static str) -> Self {
        let sql = match dialect {
            Dialect::Postgres => AssertSqlSafe(numbered(sql)).into_sql_str(),
            Dialect::Sqlite | Dialect::MySql => sql.into_sql_str(),
        };
        Self { sql, values: Vec::new() }
    }

    /// A statement with a part that is repeated, once at least.
    pub(super) fn repeating(
        dialect: Dialect,
        [before, part, after]: [&'static str; 3],
        times: usize,
    ) -> Self {
        let parts = vec![part; times.max(1)].join(", ");
        let sql = format!("{before}{parts}{after}");
        let sql = if dialect == Dialect::Postgres { numbered(&sql) } else { sql };
        Self { sql: AssertSqlSafe(sql).into_sql_str(), values: Vec::new() }
    }

    pub(super) fn text<'a>(mut self, text: impl Into<Option<&'a str>>) -> Self {
        // PostgreSQL knows no NUL in a text. The same everywhere: what is stored there is found here.
        self.values.push(Value::Text(text.into().map(|text| text.replace('\0', "\u{fffd}"))));
        self
    }

    pub(super) fn number(mut self, number: impl Into<Option<i64>>) -> Self {
        self.values.push(Value::Number(number.into()));
        self
    }

    pub(super) fn time(self, time: impl Into<Option<Timestamp>>) -> Self {
        self.number(time.into().map(Timestamp::as_millisecond))
    }

    fn query(self) -> Query<'static, Any, AnyArguments> {
        let Self { sql, values } = self;
        values.into_iter().fold(sqlx::query(sql), |query, value| match value {
            Value::Text(text) => query.bind(text),
            Value::Number(number) => query.bind(number),
        })
    }
}

impl Outcome {
    /// Whether exactly one row was changed.
    pub(super) fn one(&self) -> bool {
        self.affected == 1
    }

    pub(super) fn row(&self) -> Option<&AnyRow> {
        self.rows.first()
    }

    /// The number that a counting statement returns.
    pub(super) fn count(&self) -> Result<i64, DatabaseError> {
        let row = self.row().ok_or_else(|| DatabaseError::Corrupt("a count without a row".to_owned()))?;
        Ok(row.try_get(0)?)
    }
}

impl Database {
    pub(super) fn statement(&self, sql: &'static str) -> Statement {
        Statement::new(self.dialect, sql)
    }

    /// Runs one statement.
    pub(super) async fn run(&self, statement: Statement) -> Result<Outcome, DatabaseError> {
        self.run_within(LIMIT, statement).await
    }

    pub(super) async fn run_within(
        &self,
        limit: Duration,
        statement: Statement,
    ) -> Result<Outcome, DatabaseError> {
        let _forget = Forget::after(self.known.as_ref(), &statement);
        let mut lease = self.lease(limit).await?;
        let mut attempts = 1;
        let result = loop {
            match lease.run(statement.clone().query()).await {
                Err(error) if error.is_conflict() && attempts < ATTEMPTS => attempts += 1,
                result => break result,
            }
        };
        lease.give_back();
        result
    }

    pub(super) async fn begin(&self) -> Result<Transaction, DatabaseError> {
        let mut lease = self.lease(LIMIT).await?;
        lease
            .run(sqlx::query(match self.dialect {
                // A writer from the start: one that becomes a writer later may be refused.
                Dialect::Sqlite => "BEGIN IMMEDIATE",
                Dialect::Postgres | Dialect::MySql => "BEGIN",
            }))
            .await?;
        Ok(Transaction { lease, forget: None, known: self.known.clone() })
    }

    async fn lease(&self, limit: Duration) -> Result<Lease, DatabaseError> {
        let deadline = Instant::now() + limit;
        if !self.is_prepared() {
            return Err(DatabaseError::NotPrepared);
        }
        let connection = tokio::time::timeout_at(deadline, self.pool.acquire())
            .await
            .map_err(|_| DatabaseError::Unavailable(sqlx::Error::PoolTimedOut))??;
        Ok(Lease { connection: Some(connection), deadline, limit })
    }
}

impl Forget {
    /// For a statement that could change what is known.
    fn after(known: Option<&Arc<Known>>, statement: &Statement) -> Option<Self> {
        known.filter(|_| known::changes(statement.sql.as_str())).cloned().map(Self)
    }
}

impl Drop for Forget {
    fn drop(&mut self) {
        self.0.forget();
    }
}

impl Transaction {
    pub(super) async fn run(&mut self, statement: Statement) -> Result<Outcome, DatabaseError> {
        self.forget = self.forget.take().or_else(|| Forget::after(self.known.as_ref(), &statement));
        self.lease.run(statement.query()).await
    }

    pub(super) async fn commit(mut self) -> Result<(), DatabaseError> {
        self.lease.run(sqlx::query("COMMIT")).await?;
        self.lease.give_back();
        Ok(())
    }
}

impl Lease {
    async fn run(&mut self, query: Query<'_, Any, AnyArguments>) -> Result<Outcome, DatabaseError> {
        let Some(connection) = self.connection.as_deref_mut() else {
            return Err(DatabaseError::Unavailable(sqlx::Error::PoolClosed));
        };
        let outcome = async {
            let mut outcome = Outcome { rows: Vec::new(), affected: 0, inserted: None };
            let mut steps = connection.fetch_many(query);
            while let Some(step) = steps.try_next().await? {
                match step {
                    Either::Left(done) => {
                        outcome.affected += done.rows_affected();
                        outcome.inserted = done.last_insert_id();
                    }
                    Either::Right(row) => outcome.rows.push(row),
                }
            }
            Ok::<_, DatabaseError>(outcome)
        };
        match tokio::time::timeout_at(self.deadline, outcome).await {
            Ok(outcome) => outcome,
            Err(_) => {
                self.abandon();
                Err(DatabaseError::TimedOut { limit_ms: self.limit.as_millis() })
            }
        }
    }

    /// Another operation may have it. The pool asks it for a sign of life first.
    fn give_back(&mut self) {
        drop(self.connection.take());
    }

    /// Nobody may have it: it is in the middle of something.
    fn abandon(&mut self) {
        if let Some(connection) = self.connection.take() {
            drop(connection.detach());
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.abandon();
    }
}

/// `?` to `$1`, `$2`, …; no statement here has a question mark in a literal.
fn numbered(sql: &str) -> String {
    let mut parts = sql.split('?');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for (index, part) in parts.enumerate() {
        text.push_str(&format!("${}{part}", index + 1));
    }
    text
}

/// The value of a column.
pub(super) trait Columns {
    fn text(&self, column: &str) -> Result<String, DatabaseError>;
    fn text_or_null(&self, column: &str) -> Result<Option<String>, DatabaseError>;
    fn number(&self, column: &str) -> Result<i64, DatabaseError>;
    fn time(&self, column: &str) -> Result<Timestamp, DatabaseError>;
    fn time_or_null(&self, column: &str) -> Result<Option<Timestamp>, DatabaseError>;
}

impl Columns for AnyRow {
    fn text(&self, column: &str) -> Result<String, DatabaseError> {
        Ok(self.try_get(column)?)
    }

    fn text_or_null(&self, column: &str) -> Result<Option<String>, DatabaseError> {
        Ok(self.try_get(column)?)
    }

    fn number(&self, column: &str) -> Result<i64, DatabaseError> {
        Ok(self.try_get(column)?)
    }

    fn time(&self, column: &str) -> Result<Timestamp, DatabaseError> {
        time(self.number(column)?)
    }

    fn time_or_null(&self, column: &str) -> Result<Option<Timestamp>, DatabaseError> {
        self.try_get::<Option<i64>, _>(column)?.map(time).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn postgres_gets_numbers_in_the_order_of_the_values() {
        assert_eq!(
            numbered("UPDATE t SET a = ? WHERE b = ? AND c IS NULL"),
            "UPDATE t SET a = $1 WHERE b = $2 AND c IS NULL"
        );
        assert_eq!(numbered("SELECT 1"), "SELECT 1");
    }
}
