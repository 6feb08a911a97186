//! Numbers of messages for the Spanish-language API, whose callers expect an integer. The message itself is in its device's outbox.

use std::collections::{HashMap, HashSet};

use enlace_contract::name::DeviceKey;
use enlace_contract::together::Work;
use jiff::Timestamp;
use sqlx::any::AnyRow;

use super::instances::device;
use super::statement::{ATTEMPTS, Columns as _, LIMIT, Statement};
use super::url::Dialect;
use super::{Database, DatabaseError, for_each};

/// How many callers share a transaction.
pub(super) const MAX_TOGETHER: usize = 32;

/// A message under its number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queued {
    /// The number. It is never given twice, and a message has one.
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
    message: Message,
}

/// What has one number.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Message {
    device: DeviceKey,
    id: String,
}

/// Messages with their numbers.
type Numbers = HashMap<Message, i64>;

/// Numbers the messages of callers that come at the same time by one transaction.
pub(super) struct Numbering(Database);

impl Database {
    /// Numbers messages in their order: all or, when the database fails, none. What has a number, as a message that was sent again with its
    /// key, keeps it.
    ///
    /// # Errors
    /// When the database fails; so for all calls.
    pub async fn enqueue(&self, new: &[NewQueued<'_>], now: Timestamp) -> Result<Vec<i64>, DatabaseError> {
        let rows = new.iter().map(|new| Row {
            user_id: new.user_id.to_owned(),
            message: Message { device: new.device.clone(), id: new.message_id.to_owned() },
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
        let all = || requests.iter().flat_map(|(rows, now)| rows.iter().map(move |row| (row, *now)));
        // A statement may have a message once only.
        let mut seen = HashSet::new();
        let new: Vec<_> = all().filter(|(row, _)| seen.insert(&row.message)).collect();
        if new.is_empty() {
            return Ok(Vec::new());
        }
        let ids = match self.0.dialect {
            Dialect::Sqlite | Dialect::Postgres => self.in_one_statement(&new).await?,
            Dialect::MySql => {
                let mut attempts = 1;
                loop {
                    match self.one_by_one(&new).await {
                        Err(error) if error.is_conflict() && attempts < ATTEMPTS => attempts += 1,
                        ids => break ids?,
                    }
                }
            }
        };
        let without = || DatabaseError::Corrupt("a message that was stored without a number".to_owned());
        all().map(|(row, _)| ids.get(&row.message).copied().ok_or_else(without)).collect()
    }

    async fn in_one_statement(&self, rows: &[(&Row, Timestamp)]) -> Result<Numbers, DatabaseError> {
        let insert = rows.iter().copied().fold(insert(self.0.dialect, rows.len()), values);
        // It may tell of its rows in another order.
        let numbered = self.0.run(insert).await?.rows;
        numbered
            .iter()
            .map(|row| {
                let message = Message { device: device(row)?, id: row.text("message_id")? };
                Ok((message, row.number("id")?))
            })
            .collect()
    }

    /// A statement of MySQL tells the number of one row only.
    async fn one_by_one(&self, rows: &[(&Row, Timestamp)]) -> Result<Numbers, DatabaseError> {
        let mut transaction = self.0.begin().await?;
        let mut ids = Numbers::with_capacity(rows.len());
        for row in rows {
            let id = transaction.run(values(insert(self.0.dialect, 1), *row)).await?.inserted;
            ids.extend(id.map(|id| (row.0.message.clone(), id)));
        }
        transaction.commit().await?;
        Ok(ids)
    }
}

/// New rows are numbered in their order; of one that is there, the number is told.
fn insert(dialect: Dialect, rows: usize) -> Statement {
    let before =
        "INSERT INTO enlace_queue (user_id, device_namespace, device_name, message_id, created_at) VALUES ";
    let after = match dialect {
        Dialect::Sqlite | Dialect::Postgres => {
            " ON CONFLICT (device_namespace, device_name, message_id) DO UPDATE SET message_id = excluded.message_id \
             RETURNING id, device_namespace, device_name, message_id"
        }
        Dialect::MySql => " ON DUPLICATE KEY UPDATE id = LAST_INSERT_ID(id)",
    };
    Statement::repeating(dialect, [before, "(?, ?, ?, ?, ?)", after], rows)
}

fn values(statement: Statement, (row, now): (&Row, Timestamp)) -> Statement {
    statement
        .text(row.user_id.as_str())
        .text(row.message.device.namespace())
        .text(row.message.device.name())
        .text(row.message.id.as_str())
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
