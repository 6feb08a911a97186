//! Numbers of messages for the Spanish-language API, whose callers expect an integer. The message itself is in its device's outbox.

use enlace_contract::name::DeviceKey;
use jiff::Timestamp;
use sqlx::any::AnyRow;

use super::instances::device;
use super::statement::Columns as _;
use super::url::Dialect;
use super::{Database, DatabaseError};

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

impl Database {
    /// Numbers messages in their order: all or, when the database fails, none.
    ///
    /// # Errors
    /// When the database fails; so for all calls.
    pub async fn enqueue(&self, new: &[NewQueued<'_>], now: Timestamp) -> Result<Vec<i64>, DatabaseError> {
        let mut ids = Vec::with_capacity(new.len());
        let mut transaction = self.begin().await?;
        for NewQueued { user_id, device, message_id } in new {
            let insert = self
                .statement(match self.dialect {
                    Dialect::Sqlite | Dialect::Postgres => {
                        "INSERT INTO enlace_queue (user_id, device_namespace, device_name, message_id, created_at) \
                         VALUES (?, ?, ?, ?, ?) RETURNING id"
                    }
                    // It returns the number by itself.
                    Dialect::MySql => {
                        "INSERT INTO enlace_queue (user_id, device_namespace, device_name, message_id, created_at) \
                         VALUES (?, ?, ?, ?, ?)"
                    }
                })
                .text(*user_id)
                .text(device.namespace())
                .text(device.name())
                .text(*message_id)
                .time(now);
            let done = transaction.run(insert).await?;
            ids.push(match (done.row(), done.inserted) {
                (Some(row), _) => row.number("id")?,
                (None, Some(id)) => id,
                (None, None) => return Err(DatabaseError::Corrupt("a row without a number".to_owned())),
            });
        }
        transaction.commit().await?;
        Ok(ids)
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

fn queued(row: &AnyRow) -> Result<Queued, DatabaseError> {
    Ok(Queued {
        id: row.number("id")?,
        user_id: row.text("user_id")?,
        device: device(row)?,
        message_id: row.text("message_id")?,
        created_at: row.time("created_at")?,
    })
}
