//! Messages that go out: whose turn it is, and what becomes of them. [`storing`](super::storing) is where they come from.
//!
//! When a message of a batch fails, so do those after it.

use std::time::Duration;

use enlace_contract::messages::{Base64, Content, Media, Message, MessageError, MessagePage, MessageState};
use enlace_contract::number::CanonicalNumber;
use enlace_contract::paging;
use futures::TryStreamExt as _;
use jiff::Timestamp;
use sqlx::sqlite::SqliteRow;
use sqlx::{FromRow as _, Row as _};

use super::{Store, StoreError, time};

/// What a [`Message`] is made of: never the content or the file, which can be large.
macro_rules! columns {
    () => {
        "sequence, id, recipient, kind, state, error_reason, error_message, created_at, sent_at, updated_at"
    };
}
pub(super) use columns;

/// How long a finished message, and with it its idempotency key, is kept.
pub const RETENTION: jiff::SignedDuration = jiff::SignedDuration::from_hours(7 * 24);

/// A message whose turn has come, with its content.
#[derive(Debug)]
pub struct Due {
    /// Its id at WhatsApp.
    pub id: String,
    /// To whom, as it was asked for.
    pub to: String,
    /// The JID that was found for it before.
    pub jid: Option<String>,
    /// The batch that it belongs to.
    pub batch: Option<String>,
    /// What to send.
    pub content: Content,
}

impl Store {
    /// An account may send from now on: what waits for no account is its own, what waits for another one fails. Those that failed.
    ///
    /// All of it is on disk or nothing: whoever comes after a crash does it again.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn adopt_outbox(
        &self,
        account: &CanonicalNumber,
        now: Timestamp,
    ) -> Result<Vec<Message>, StoreError> {
        let error = account_changed();
        let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        let failed = sqlx::query(concat!(
            "UPDATE outbox SET state = 'failed', error_reason = ?2, error_message = ?3, content = NULL, media = NULL, updated_at = ?4
             WHERE state IN ('queued', 'sending') AND account <> ?1 RETURNING ",
            columns!()
        ))
        .bind(account.as_str())
        .bind(&error.reason)
        .bind(&error.message)
        .bind(now.as_millisecond())
        .fetch_all(&mut *transaction)
        .await?;
        sqlx::query("UPDATE outbox SET account = ? WHERE state IN ('queued', 'sending') AND account IS NULL")
            .bind(account.as_str())
            .execute(&mut *transaction)
            .await?;
        sqlx::query(
            "INSERT INTO memory (name, value) VALUES ('outbox-account', json_quote(?))
             ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        )
        .bind(account.as_str())
        .execute(&mut *transaction)
        .await?;
        let failed = failed.iter().map(message_of).collect::<Result<Vec<_>, _>>()?;
        transaction.commit().await?;
        Ok(failed)
    }

    /// When something was last tried with WhatsApp, if it was after a time.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn last_attempt(&self, since: Timestamp) -> Result<Option<Timestamp>, StoreError> {
        // A queued message that was changed since it was stored has been tried and put back.
        let last: Option<i64> = sqlx::query_scalar(
            "SELECT max(CASE
                 WHEN sent_at IS NOT NULL THEN sent_at
                 WHEN state = 'sending' THEN updated_at
                 WHEN state = 'queued' AND updated_at > created_at THEN updated_at
                 WHEN state = 'failed' AND error_reason NOT IN ('AccountChanged', 'EarlierFailed', 'Unreadable') THEN updated_at
             END) FROM outbox WHERE updated_at > ?",
        )
        .bind(since.as_millisecond())
        .fetch_one(&self.pool)
        .await?;
        last.filter(|last| *last > since.as_millisecond()).map(time).transpose()
    }

    /// The message whose turn it is: the oldest of an account that does not wait for another one, by its recipient and its batch. It is
    /// marked as being sent. One that this version cannot read fails, so that it does not hold the others up.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn next_due(
        &self,
        account: &CanonicalNumber,
        now: Timestamp,
        waits: impl Fn(&str, Option<&str>) -> bool,
    ) -> Result<Option<(Due, Message)>, StoreError> {
        loop {
            let Some(sequence) = self.first_of(account, &waits).await? else { return Ok(None) };
            let row = sqlx::query(
                "UPDATE outbox SET state = 'sending', updated_at = ?1 WHERE sequence = ?2 AND state IN ('queued', 'sending')
                 RETURNING *",
            )
            .bind(now.as_millisecond())
            .bind(sequence)
            .fetch_optional(&self.pool)
            .await?;
            // It was settled meanwhile, by a receipt.
            let Some(row) = row else { continue };
            let message = message_of(&row)?;
            let text: Option<String> = row.try_get("content")?;
            match join(text.as_deref().unwrap_or_default(), row.try_get("media")?) {
                Ok(content) => {
                    let due = Due {
                        id: row.try_get("id")?,
                        to: row.try_get("recipient")?,
                        jid: row.try_get("jid")?,
                        batch: row.try_get("batch")?,
                        content,
                    };
                    return Ok(Some((due, message)));
                }
                Err(error) => {
                    tracing::error!(
                        message_id = message.id,
                        error = &error as &dyn std::error::Error,
                        "a stored message cannot be read"
                    );
                    let error = MessageError {
                        reason: "Unreadable".into(),
                        message: "the stored message cannot be read by this version".into(),
                    };
                    self.fail(&message.id, &error, now).await?;
                }
            }
        }
    }

    /// The place of the oldest that waits for an account, and for no other message.
    async fn first_of(
        &self,
        account: &CanonicalNumber,
        waits: &impl Fn(&str, Option<&str>) -> bool,
    ) -> Result<Option<i64>, StoreError> {
        // Row by row: nearly always it is the first.
        let mut rows = sqlx::query_as::<_, (i64, String, Option<String>)>(
            "SELECT sequence, recipient, batch FROM outbox WHERE state IN ('queued', 'sending') AND account = ? ORDER BY sequence",
        )
        .bind(account.as_str())
        .fetch(&self.pool);
        while let Some((sequence, recipient, batch)) = rows.try_next().await? {
            if !waits(&recipient, batch.as_deref()) {
                return Ok(Some(sequence));
            }
        }
        Ok(None)
    }

    /// What the next message of an account waits after one of a batch, when it belongs to the same batch; none when it is of another or
    /// begins one.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn gap_after(
        &self,
        batch: &str,
        account: &CanonicalNumber,
    ) -> Result<Option<Duration>, StoreError> {
        let next: Option<(Option<String>, Option<i64>)> = sqlx::query_as(
            "SELECT batch, gap FROM outbox WHERE state IN ('queued', 'sending') AND account = ? ORDER BY sequence LIMIT 1",
        )
        .bind(account.as_str())
        .fetch_optional(&self.pool)
        .await?;
        let gap = next.filter(|(of, _)| of.as_deref() == Some(batch)).and_then(|(_, gap)| gap);
        Ok(gap.map(|gap| Duration::from_millis(gap.unsigned_abs())))
    }

    /// Keeps the JID that was found for a message, so that a retry goes to the same one.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn resolved(&self, id: &str, jid: &str) -> Result<(), StoreError> {
        sqlx::query("UPDATE outbox SET jid = ? WHERE id = ?").bind(jid).bind(id).execute(&self.pool).await?;
        Ok(())
    }

    /// A message goes back to wait for another attempt.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn requeue(&self, id: &str, now: Timestamp) -> Result<Option<Message>, StoreError> {
        let row = sqlx::query(concat!(
            "UPDATE outbox SET state = 'queued', updated_at = ?2 WHERE id = ?1 AND state = 'sending' RETURNING ",
            columns!()
        ))
            .bind(id)
            .bind(now.as_millisecond())
            .fetch_optional(&self.pool)
            .await?;
        row.as_ref().map(message_of).transpose()
    }

    /// A message came further: `sent`, `delivered` or `read`. Steps backwards are ignored (none is returned). A receipt also proves wrong
    /// that a message was given up for want of an answer.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn advance(
        &self,
        id: &str,
        to: MessageState,
        now: Timestamp,
    ) -> Result<Option<Message>, StoreError> {
        let before: &str = match to {
            MessageState::Sent => "('queued', 'sending')",
            MessageState::Delivered => "('queued', 'sending', 'sent')",
            MessageState::Read => "('queued', 'sending', 'sent', 'delivered')",
            MessageState::Queued | MessageState::Sending | MessageState::Failed => return Ok(None),
        };
        let sql = format!(
            "UPDATE outbox SET state = ?2, content = NULL, media = NULL, sent_at = coalesce(sent_at, ?3), updated_at = ?3,
             error_reason = NULL, error_message = NULL
             WHERE id = ?1 AND (state IN {before} OR (state = 'failed' AND error_reason = 'NotSent')) RETURNING {}",
            columns!()
        );
        let row = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(id)
            .bind(state_word(to))
            .bind(now.as_millisecond())
            .fetch_optional(&self.pool)
            .await?;
        row.as_ref().map(message_of).transpose()
    }

    /// A message will not be sent, and neither will those after it in its batch. All that failed by this.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn fail(
        &self,
        id: &str,
        error: &MessageError,
        now: Timestamp,
    ) -> Result<Vec<Message>, StoreError> {
        let after = earlier_failed();
        let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        let mut failed = Vec::new();
        for (which, error) in [
            ("id = ?1", error),
            (
                "batch = (SELECT batch FROM outbox WHERE id = ?1) AND sequence > (SELECT sequence FROM outbox WHERE id = ?1)",
                &after,
            ),
        ] {
            if which != "id = ?1" && failed.is_empty() {
                break;
            }
            let sql = format!(
                "UPDATE outbox SET state = 'failed', error_reason = ?2, error_message = ?3, content = NULL, media = NULL, updated_at = ?4
                 WHERE {which} AND state IN ('queued', 'sending') RETURNING {}",
                columns!()
            );
            let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
                .bind(id)
                .bind(&error.reason)
                .bind(&error.message)
                .bind(now.as_millisecond())
                .fetch_all(&mut *transaction)
                .await?;
            failed.extend(rows.iter().map(message_of).collect::<Result<Vec<_>, _>>()?);
        }
        transaction.commit().await?;
        Ok(failed)
    }

    /// The message of an id.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn message(&self, id: &str) -> Result<Option<Message>, StoreError> {
        let row = sqlx::query(concat!("SELECT ", columns!(), " FROM outbox WHERE id = ?"))
            .bind(id)
            .fetch_optional(&self.pool)
            .await?;
        row.as_ref().map(message_of).transpose()
    }

    /// A page of messages after a sequence number, oldest first; of one state if asked for.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn messages(
        &self,
        after: i64,
        limit: u32,
        state: Option<MessageState>,
    ) -> Result<MessagePage, StoreError> {
        let rows = sqlx::query(concat!(
            "SELECT ",
            columns!(),
            " FROM outbox WHERE sequence > ?1 AND (?3 IS NULL OR state = ?3) ORDER BY sequence LIMIT ?2 + 1"
        ))
        .bind(after)
        .bind(limit)
        .bind(state.map(state_word))
        .fetch_all(&self.pool)
        .await?;
        let mut items = rows.iter().map(message_of).collect::<Result<Vec<_>, _>>()?;
        let next = paging::cut(&mut items, limit, |message| message.sequence);
        Ok(MessagePage { items, next })
    }

    /// Removes finished messages that are older than [`RETENTION`]; those of a batch when all of it is finished.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn prune_outbox(&self, now: Timestamp) -> Result<u64, StoreError> {
        let before = now.saturating_sub(RETENTION).unwrap_or(Timestamp::MIN).as_millisecond();
        let done =
            sqlx::query(
                "DELETE FROM outbox WHERE state NOT IN ('queued', 'sending') AND updated_at < ? AND (batch IS NULL
                 OR batch NOT IN (SELECT batch FROM outbox WHERE batch IS NOT NULL AND state IN ('queued', 'sending')))",
            )
            .bind(before)
            .execute(&self.pool)
            .await?;
        Ok(done.rows_affected())
    }
}

fn account_changed() -> MessageError {
    MessageError {
        reason: "AccountChanged".into(),
        message: "this message was stored for another account than the one that is linked now: store it again if it shall go out from this one"
            .into(),
    }
}

fn earlier_failed() -> MessageError {
    MessageError {
        reason: "EarlierFailed".into(),
        message: "a message before this one in its batch failed".into(),
    }
}

fn join(text: &str, media: Option<Vec<u8>>) -> Result<Content, StoreError> {
    let mut content: Content =
        serde_json::from_str(text).map_err(|error| StoreError::Corrupt(error.to_string()))?;
    if let (Some(slot), Some(bytes)) = (media_of(&mut content), media) {
        slot.data = Base64(bytes);
    }
    Ok(content)
}

pub(super) fn media_of(content: &mut Content) -> Option<&mut Media> {
    match content {
        Content::Text { .. } => None,
        Content::Image { media, .. }
        | Content::Video { media, .. }
        | Content::Audio { media, .. }
        | Content::Document { media, .. } => Some(media),
    }
}

const fn state_word(state: MessageState) -> &'static str {
    match state {
        MessageState::Queued => "queued",
        MessageState::Sending => "sending",
        MessageState::Sent => "sent",
        MessageState::Delivered => "delivered",
        MessageState::Read => "read",
        MessageState::Failed => "failed",
    }
}

#[derive(sqlx::FromRow)]
struct OutboxRow {
    sequence: i64,
    id: String,
    recipient: String,
    kind: String,
    state: String,
    error_reason: Option<String>,
    error_message: Option<String>,
    created_at: i64,
    sent_at: Option<i64>,
    updated_at: i64,
}

pub(super) fn message_of(row: &SqliteRow) -> Result<Message, StoreError> {
    let row = OutboxRow::from_row(row)?;
    let state = serde_json::from_value(serde_json::Value::String(row.state))
        .map_err(|error| StoreError::Corrupt(error.to_string()))?;
    Ok(Message {
        id: row.id,
        sequence: row.sequence,
        to: row.recipient,
        kind: row.kind,
        state,
        error: row
            .error_reason
            .map(|reason| MessageError { reason, message: row.error_message.unwrap_or_default() }),
        created_at: time(row.created_at)?,
        sent_at: row.sent_at.map(time).transpose()?,
        updated_at: time(row.updated_at)?,
    })
}

#[cfg(test)]
#[path = "outbox_tests.rs"]
mod tests;
