//! Messages that go out.
//!
//! A message is stored with the id it will have at WhatsApp, so that a retry after a crash is the same message to the receiver; and with
//! the number as which it goes out, so that it never comes from another one that links later.
//!
//! A batch is stored in one transaction, so that its messages have consecutive places. When one of them fails, so do those after it.

use std::time::Duration;

use enlace_contract::messages::{
    Base64, Content, Media, Message, MessageError, MessagePage, MessageState, SendMessage,
};
use enlace_contract::number::CanonicalNumber;
use enlace_contract::paging;
use futures::TryStreamExt as _;
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{FromRow as _, Row as _};

use super::{Store, StoreError, time};

/// What a [`Message`] is made of: never the content or the file, which can be large.
macro_rules! columns {
    () => {
        "sequence, id, recipient, kind, state, error_reason, error_message, created_at, sent_at, updated_at"
    };
}

/// How many messages may wait to be sent.
pub const MAX_WAITING: i64 = 10_000;
/// How many bytes of files may wait to be sent.
pub const MAX_WAITING_BYTES: i64 = 1 << 30;
/// How long a finished message, and with it its idempotency key, is kept.
pub const RETENTION: jiff::SignedDuration = jiff::SignedDuration::from_hours(7 * 24);

/// What became of a message, or of a batch, that was to be stored.
#[derive(Debug, PartialEq, Eq)]
pub enum Stored<T> {
    /// It is on disk.
    New(T),
    /// The same was stored under this key before.
    Repeated(T),
    /// Something else was stored under this key before.
    KeyReused,
    /// Too many messages wait already.
    Full,
}

impl<T> Stored<T> {
    fn try_map<U>(self, map: impl FnOnce(T) -> Result<U, StoreError>) -> Result<Stored<U>, StoreError> {
        Ok(match self {
            Self::New(stored) => Stored::New(map(stored)?),
            Self::Repeated(stored) => Stored::Repeated(map(stored)?),
            Self::KeyReused => Stored::KeyReused,
            Self::Full => Stored::Full,
        })
    }
}

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

/// A message as it is stored.
struct Entry {
    id: String,
    recipient: String,
    kind: &'static str,
    content: String,
    media: Option<Vec<u8>>,
    fingerprint: Vec<u8>,
}

impl Entry {
    fn new((id, message): (String, SendMessage)) -> Result<Self, StoreError> {
        let SendMessage { to: recipient, content } = message;
        let kind = content.kind();
        let (content, media) = split(content)?;
        let fingerprint = fingerprint(&recipient, &content, media.as_deref());
        Ok(Self { id, recipient, kind, content, media, fingerprint })
    }
}

impl Store {
    /// Stores a message under an id; with a key, at most once. It is the message of the account that is linked; when none is, of the last
    /// one that was ([`Self::adopt_outbox`]).
    ///
    /// # Errors
    /// When the database fails: then nothing is stored.
    pub async fn enqueue(
        &self,
        message: SendMessage,
        id: &str,
        key: Option<&str>,
        linked: Option<&CanonicalNumber>,
        now: Timestamp,
    ) -> Result<Stored<Message>, StoreError> {
        let stored = self.enqueue_all(vec![(id.to_owned(), message)], None, key, linked, now).await?;
        stored.try_map(|mut messages| {
            messages.pop().ok_or_else(|| StoreError::Corrupt("nothing was stored".to_owned()))
        })
    }

    /// Stores messages that belong together, each under its id, all or none: they go out one after the other with `gap` in between. The
    /// key is that of all of them.
    ///
    /// # Errors
    /// When the database fails: then nothing is stored.
    pub async fn enqueue_batch(
        &self,
        messages: Vec<(String, SendMessage)>,
        gap: Duration,
        key: Option<&str>,
        linked: Option<&CanonicalNumber>,
        now: Timestamp,
    ) -> Result<Stored<Vec<Message>>, StoreError> {
        self.enqueue_all(messages, Some(gap), key, linked, now).await
    }

    async fn enqueue_all(
        &self,
        messages: Vec<(String, SendMessage)>,
        gap: Option<Duration>,
        key: Option<&str>,
        linked: Option<&CanonicalNumber>,
        now: Timestamp,
    ) -> Result<Stored<Vec<Message>>, StoreError> {
        let entries = messages.into_iter().map(Entry::new).collect::<Result<Vec<_>, _>>()?;
        let gap = gap.map(|gap| i64::try_from(gap.as_millis()).unwrap_or(i64::MAX));
        let fingerprint = match (gap, entries.as_slice()) {
            (None, [entry]) => entry.fingerprint.clone(),
            _ => fingerprint_of_all(&entries, gap),
        };
        let batch = gap.and_then(|_| entries.first()).map(|entry| entry.id.clone());
        let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        if let Some(key) = key
            && let Some(found) = repeated(&mut transaction, key, &fingerprint).await?
        {
            return Ok(found);
        }
        let (waiting, bytes): (i64, i64) = sqlx::query_as(
            "SELECT count(*), coalesce(sum(length(media)), 0) FROM outbox WHERE state IN ('queued', 'sending')",
        )
        .fetch_one(&mut *transaction)
        .await?;
        let more = i64::try_from(entries.len()).unwrap_or(i64::MAX);
        if waiting.saturating_add(more) > MAX_WAITING || bytes >= MAX_WAITING_BYTES {
            return Ok(Stored::Full);
        }
        let mut stored = Vec::with_capacity(entries.len());
        for entry in entries {
            let first = stored.is_empty();
            let row = sqlx::query(concat!(
                "INSERT INTO outbox
                 (id, idempotency_key, fingerprint, recipient, kind, content, media, state, created_at, updated_at, account, batch, gap)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 'queued', ?8, ?8,
                         coalesce(?9, (SELECT json_extract(value, '$') FROM memory WHERE name = 'outbox-account')), ?10, ?11)
                 RETURNING ",
                columns!()
            ))
            .bind(entry.id)
            .bind(key.filter(|_| first))
            .bind(if first { fingerprint.clone() } else { entry.fingerprint })
            .bind(entry.recipient)
            .bind(entry.kind)
            .bind(entry.content)
            .bind(entry.media)
            .bind(now.as_millisecond())
            .bind(linked.map(CanonicalNumber::as_str))
            .bind(batch.as_deref())
            .bind(gap.filter(|_| !first))
            .fetch_one(&mut *transaction)
            .await?;
            stored.push(message_of(&row)?);
        }
        transaction.commit().await?;
        Ok(Stored::New(stored))
    }

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

/// What was stored under a key before, when something was.
async fn repeated(
    connection: &mut SqliteConnection,
    key: &str,
    fingerprint: &[u8],
) -> Result<Option<Stored<Vec<Message>>>, StoreError> {
    let row = sqlx::query("SELECT fingerprint, sequence, batch FROM outbox WHERE idempotency_key = ?")
        .bind(key)
        .fetch_optional(&mut *connection)
        .await?;
    let Some(row) = row else { return Ok(None) };
    if row.try_get::<Vec<u8>, _>("fingerprint")? != fingerprint {
        return Ok(Some(Stored::KeyReused));
    }
    let rows = sqlx::query(concat!(
        "SELECT ",
        columns!(),
        " FROM outbox WHERE sequence = ? OR batch = ? ORDER BY sequence"
    ))
    .bind(row.try_get::<i64, _>("sequence")?)
    .bind(row.try_get::<Option<String>, _>("batch")?)
    .fetch_all(connection)
    .await?;
    let messages = rows.iter().map(message_of).collect::<Result<Vec<_>, _>>()?;
    Ok(Some(Stored::Repeated(messages)))
}

/// The content as JSON without its file, and the file.
fn split(mut content: Content) -> Result<(String, Option<Vec<u8>>), StoreError> {
    let media = media_of(&mut content).map(|media| std::mem::take(&mut media.data.0));
    let text = serde_json::to_string(&content).map_err(|error| StoreError::Corrupt(error.to_string()))?;
    Ok((text, media))
}

fn join(text: &str, media: Option<Vec<u8>>) -> Result<Content, StoreError> {
    let mut content: Content =
        serde_json::from_str(text).map_err(|error| StoreError::Corrupt(error.to_string()))?;
    if let (Some(slot), Some(bytes)) = (media_of(&mut content), media) {
        slot.data = Base64(bytes);
    }
    Ok(content)
}

fn media_of(content: &mut Content) -> Option<&mut Media> {
    match content {
        Content::Text { .. } => None,
        Content::Image { media, .. }
        | Content::Video { media, .. }
        | Content::Audio { media, .. }
        | Content::Document { media, .. } => Some(media),
    }
}

fn fingerprint(to: &str, content: &str, media: Option<&[u8]>) -> Vec<u8> {
    let mut hash = Sha256::new();
    for part in [to.as_bytes(), content.as_bytes(), media.unwrap_or_default()] {
        hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().to_vec()
}

fn fingerprint_of_all(entries: &[Entry], gap: Option<i64>) -> Vec<u8> {
    let mut hash = Sha256::new();
    hash.update(b"batch");
    hash.update(gap.unwrap_or_default().to_be_bytes());
    for entry in entries {
        hash.update(&entry.fingerprint);
    }
    hash.finalize().to_vec()
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

fn message_of(row: &SqliteRow) -> Result<Message, StoreError> {
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
