//! Numbers of messages for the Spanish-language API, whose callers expect an integer. The message itself is in its device's outbox.

use enlace_contract::name::DeviceKey;
use enlace_contract::together::Work;
use jiff::Timestamp;
use sqlx::any::AnyRow;

use super::instances::device;
use super::statement::{Columns as _, LIMIT, Statement};
use super::url::Dialect;
use super::{Database, DatabaseError, for_each};

/// How many callers share a transaction.
pub(super) const MAX_TOGETHER: usize = 32;

/// A message under its number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queued {
    /// The number. It is never given twice.
    pub id: i64,
    /// The user who sent it.
    pub user_id: String,
    /// The device that sends it.
    pub device: DeviceKey,
    /// Its identifier in the device's outbox.
    pub message_id: String,
    /// When it was stored.
    pub created_at: Timestamp,
}

/// A message to be numbered.
#[derive(Clone, Copy, Debug)]
pub struct NewQueued<'a> {
    /// The user who sent it.
    pub user_id: &'a str,
    /// The device that sends it.
    pub device: &'a DeviceKey,
    /// Its identifier in the device's outbox, 255 characters at most.
    pub message_id: &'a str,
}

/// The messages of one caller that are to be numbered, and when.
pub(super) type Request = (Vec<Row>, Timestamp);

/// A row, but for its time.
pub(super) struct Row {
    user_id: String,
    device: DeviceKey,
    message_id: String,
}

/// Numbers the messages of callers that come at the same time by one transaction.
pub(super) struct Numbering(Database);

impl Database {
    /// Numbers messages in their order: all or, when the database fails, none.
    ///
    /// # Errors
    /// When the database fails; so for all calls.
    pub async fn enqueue(&self, new: &[NewQueued<'_>], now: Timestamp) -> Result<Vec<i64>, DatabaseError> {
        let rows = new.iter().map(|new| Row {
            user_id: new.user_id.to_owned(),
            device: new.device.clone(),
            message_id: new.message_id.to_owned(),
        });
        self.together(LIMIT, |shared| &shared.numbering, (rows.collect(), now)).await
    }

    /// The message of a number.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn queued(&self, id: i64) -> Result<Option<Queued>, DatabaseError> {
        let find = self.statement("SELECT * FROM enlace_queue WHERE id = ?").number(id);
        self.run(find).await?.row().map(queued).transpose()
    }

    /// Forgets messages from before a time, the oldest first and at most `limit`, which is their count unless fewer are left.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn prune_queue(&self, before: Timestamp, limit: u32) -> Result<u64, DatabaseError> {
        // MySQL takes a limit only from a table of its own.
        let delete = self
            .statement(
                "DELETE FROM enlace_queue WHERE id IN (SELECT id FROM (SELECT id FROM enlace_queue \
                 WHERE created_at < ? ORDER BY created_at, id LIMIT ?) AS oldest)",
            )
            .time(before)
            .number(i64::from(limit));
        Ok(self.run(delete).await?.affected)
    }
}

impl Work for Numbering {
    type Job = Request;
    type Answer = Result<Vec<i64>, DatabaseError>;

    async fn work(&mut self, requests: Vec<Request>) -> Vec<Self::Answer> {
        match self.number(&requests).await {
            Ok(ids) => {
                let mut ids = ids.into_iter();
                requests.iter().map(|(rows, _)| Ok(ids.by_ref().take(rows.len()).collect())).collect()
            }
            Err(error) if requests.len() == 1 || error.is_transient() => for_each(error, requests.len()),
            // What is wrong with one of them is not the others' trouble.
            Err(_) => {
                let mut answers = Vec::with_capacity(requests.len());
                for request in &requests {
                    answers.push(self.number(std::slice::from_ref(request)).await);
                }
                answers
            }
        }
    }
}

impl Numbering {
    pub(super) const fn new(database: Database) -> Self {
        Self(database)
    }

    /// Numbers of all rows, in their order.
    async fn number(&self, requests: &[Request]) -> Result<Vec<i64>, DatabaseError> {
        let rows: Vec<_> =
            requests.iter().flat_map(|(rows, now)| rows.iter().map(move |row| (row, *now))).collect();
        let count = rows.len();
        if count == 0 {
            return Ok(Vec::new());
        }
        let ids = match self.0.dialect {
            Dialect::Sqlite | Dialect::Postgres => {
                let insert = rows.into_iter().fold(insert(self.0.dialect, count), values);
                let numbered = self.0.run(insert).await?;
                let ids = numbered.rows.iter().map(|row| row.number("id"));
                let mut ids = ids.collect::<Result<Vec<_>, _>>()?;
                // One statement numbers its rows in their order; it may tell of them in another one.
                ids.sort_unstable();
                ids
            }
            // It tells the number of one row only.
            Dialect::MySql => {
                let mut transaction = self.0.begin().await?;
                let mut ids = Vec::with_capacity(count);
                for row in rows {
                    ids.extend(transaction.run(values(insert(self.0.dialect, 1), row)).await?.inserted);
                }
                transaction.commit().await?;
                ids
            }
        };
        if ids.len() == count {
            Ok(ids)
        } else {
            Err(DatabaseError::Corrupt(format!("{count} rows with {} numbers", ids.len())))
        }
    }
}

fn insert(dialect: Dialect, rows: usize) -> Statement {
    let before =
        "INSERT INTO enlace_queue (user_id, device_namespace, device_name, message_id, created_at) VALUES ";
    let after = if dialect == Dialect::MySql { "" } else { " RETURNING id" };
    Statement::repeating(dialect, [before, "(?, ?, ?, ?, ?)", after], rows)
}

fn values(statement: Statement, (row, now): (&Row, Timestamp)) -> Statement {
    statement
        .text(row.user_id.as_str())
        .text(row.device.namespace())
        .text(row.device.name())
        .text(row.message_id.as_str())
        .time(now)
}

fn queued(row: &AnyRow) -> Result<Queued, DatabaseError> {
    Ok(Queued {
        id: row.number("id")?,
        user_id: row.text("user_id")?,
        device: device(row)?,
        message_id: row.text("message_id")?,
        created_at: row.time("created_at")?,
    })
}
