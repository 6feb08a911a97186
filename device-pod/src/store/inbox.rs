//! Messages that came in: a journal without gaps.

use enlace_contract::inbox::{InboxMedia, InboxPage, InboxRecord};
use enlace_contract::paging;
use jiff::Timestamp;
use sqlx::FromRow as _;
use sqlx::sqlite::SqliteRow;

use super::{Store, StoreError, time};

/// How long a record is kept.
pub const RETENTION: jiff::SignedDuration = jiff::SignedDuration::from_hours(30 * 24);
/// How many of the newest records are kept at least, so that sequence numbers go on after a long silence.
const KEPT_AT_LEAST: i64 = 1_000;

/// A message that is to be recorded.
#[derive(Clone, Debug)]
pub struct Incoming {
    /// The record; its sequence number and its time of storing are given here.
    pub record: InboxRecord,
    /// The protocol's message, when it has a file to fetch.
    pub download: Option<Vec<u8>>,
}

impl Store {
    /// Records a batch, all or nothing, in its order. What was recorded before is skipped: WhatsApp delivers again what it was not told of.
    /// Returns the newest sequence number.
    ///
    /// # Errors
    /// When the database fails: then nothing of the batch is recorded.
    pub async fn record(&self, batch: &[Incoming], now: Timestamp) -> Result<i64, StoreError> {
        let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        for Incoming { record, download } in batch {
            let InboxRecord {
                sequence: _,
                id,
                chat,
                sender,
                sender_number,
                push_name,
                from_me,
                group,
                kind,
                text,
                media,
                timestamp,
                received_at: _,
            } = record;
            sqlx::query(
                "INSERT INTO inbox (sequence, chat, sender, id, sender_number, push_name, from_me, is_group, kind, text, mime_type,
                 file_name, file_size, download, timestamp, received_at)
                 VALUES ((SELECT coalesce(max(sequence), 0) + 1 FROM inbox), ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
                 ON CONFLICT (chat, sender, id) DO NOTHING",
            )
            .bind(chat)
            .bind(sender)
            .bind(id)
            .bind(sender_number.as_ref().map(enlace_contract::number::PhoneNumber::as_str))
            .bind(push_name)
            .bind(from_me)
            .bind(group)
            .bind(kind)
            .bind(text)
            .bind(media.as_ref().and_then(|media| media.mime_type.as_deref()))
            .bind(media.as_ref().and_then(|media| media.file_name.as_deref()))
            .bind(media.as_ref().and_then(|media| media.size).map(u64::cast_signed))
            .bind(download)
            .bind(timestamp.as_millisecond())
            .bind(now.as_millisecond())
            .execute(&mut *transaction)
            .await?;
        }
        let newest: i64 = sqlx::query_scalar("SELECT coalesce(max(sequence), 0) FROM inbox")
            .fetch_one(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(newest)
    }

    /// The newest sequence number; 0 when nothing came in yet.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn newest(&self) -> Result<i64, StoreError> {
        Ok(sqlx::query_scalar("SELECT coalesce(max(sequence), 0) FROM inbox").fetch_one(&self.pool).await?)
    }

    /// A page of the journal after a sequence number.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn inbox(&self, after: i64, limit: u32) -> Result<InboxPage, StoreError> {
        let rows = sqlx::query(
            "SELECT sequence, chat, sender, id, sender_number, push_name, from_me, is_group, kind, text, mime_type, file_name,
             file_size, timestamp, received_at FROM inbox WHERE sequence > ?1 ORDER BY sequence LIMIT ?2 + 1",
        )
            .bind(after)
            .bind(limit)
            .fetch_all(&self.pool)
            .await?;
        let mut items = rows.iter().map(record_of).collect::<Result<Vec<_>, _>>()?;
        let next = paging::cut(&mut items, limit, |record| record.sequence);
        Ok(InboxPage { items, next })
    }

    /// The protocol's message of a record with a file, and what is known of the file.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn download(&self, sequence: i64) -> Result<Option<(Vec<u8>, InboxRecord)>, StoreError> {
        let row = sqlx::query("SELECT * FROM inbox WHERE sequence = ? AND download IS NOT NULL")
            .bind(sequence)
            .fetch_optional(&self.pool)
            .await?;
        let Some(row) = row else { return Ok(None) };
        Ok(Some((sqlx::Row::try_get(&row, "download")?, record_of(&row)?)))
    }

    /// Removes records that are older than [`RETENTION`], but not the newest ones.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn prune_inbox(&self, now: Timestamp) -> Result<u64, StoreError> {
        let before = now.saturating_sub(RETENTION).unwrap_or(Timestamp::MIN).as_millisecond();
        let done = sqlx::query(
            "DELETE FROM inbox WHERE received_at < ?1 AND sequence <= (SELECT max(sequence) FROM inbox) - ?2",
        )
        .bind(before)
        .bind(KEPT_AT_LEAST)
        .execute(&self.pool)
        .await?;
        Ok(done.rows_affected())
    }
}

#[derive(sqlx::FromRow)]
struct InboxRow {
    sequence: i64,
    chat: String,
    sender: String,
    id: String,
    sender_number: Option<String>,
    push_name: Option<String>,
    from_me: bool,
    is_group: bool,
    kind: String,
    text: Option<String>,
    mime_type: Option<String>,
    file_name: Option<String>,
    file_size: Option<i64>,
    timestamp: i64,
    received_at: i64,
}

fn record_of(row: &SqliteRow) -> Result<InboxRecord, StoreError> {
    let row = InboxRow::from_row(row)?;
    let has_media = row.mime_type.is_some() || row.file_name.is_some() || row.file_size.is_some();
    Ok(InboxRecord {
        sequence: row.sequence,
        id: row.id,
        chat: row.chat,
        sender: row.sender,
        sender_number: row.sender_number.and_then(|number| number.parse().ok()),
        push_name: row.push_name,
        from_me: row.from_me,
        group: row.is_group,
        kind: row.kind,
        text: row.text,
        media: has_media.then_some(InboxMedia {
            mime_type: row.mime_type,
            file_name: row.file_name,
            size: row.file_size.map(i64::cast_unsigned),
        }),
        timestamp: time(row.timestamp)?,
        received_at: time(row.received_at)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn incoming(chat: &str, id: &str) -> Incoming {
        let record = InboxRecord {
            sequence: 0,
            id: id.into(),
            chat: chat.into(),
            sender: chat.into(),
            sender_number: Some("551100000001".parse().unwrap()),
            push_name: None,
            from_me: false,
            group: false,
            kind: "text".into(),
            text: Some("hola".into()),
            media: None,
            timestamp: Timestamp::UNIX_EPOCH,
            received_at: Timestamp::UNIX_EPOCH,
        };
        Incoming { record, download: None }
    }

    #[tokio::test]
    async fn what_comes_twice_is_recorded_once_and_leaves_no_gap() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(&directory.path().join("device.db")).await.unwrap();
        let now = Timestamp::now();
        assert_eq!(store.record(&[incoming("a", "1"), incoming("b", "1")], now).await.unwrap(), 2);
        assert_eq!(store.record(&[incoming("a", "1"), incoming("a", "2")], now).await.unwrap(), 3);
        let page = store.inbox(0, 10).await.unwrap();
        assert_eq!(
            page.items.iter().map(|r| (r.sequence, r.chat.as_str(), r.id.as_str())).collect::<Vec<_>>(),
            [(1, "a", "1"), (2, "b", "1"), (3, "a", "2")]
        );
        assert_eq!(page.next, None);
        assert_eq!(store.inbox(0, 1).await.unwrap().next, Some(1));
    }

    #[tokio::test]
    async fn pruning_keeps_the_newest_so_that_numbers_go_on() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(&directory.path().join("device.db")).await.unwrap();
        let old = Timestamp::now() - jiff::SignedDuration::from_hours(31 * 24);
        let batch: Vec<Incoming> = (0..1_002).map(|n| incoming("a", &n.to_string())).collect();
        store.record(&batch, old).await.unwrap();
        assert_eq!(store.prune_inbox(Timestamp::now()).await.unwrap(), 2);
        assert_eq!(store.inbox(0, 1).await.unwrap().items[0].sequence, 3);
        assert_eq!(store.record(&[incoming("a", "new")], old).await.unwrap(), 1_003);
    }
}
