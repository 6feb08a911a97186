//! Messages that are stored to go out.
//!
//! A message is stored with the id it will have at WhatsApp, so that a retry after a crash is the same message to the receiver; and with
//! the number as which it goes out, so that it never comes from another one that links later.
//!
//! What is asked for at the same time is stored by one statement, and is on the disk with one flush. Messages of a batch are stored all or
//! none, and have consecutive places.

use std::collections::HashSet;
use std::time::Duration;

use enlace_contract::messages::{Content, Message, MessageState, SendMessage};
use enlace_contract::number::CanonicalNumber;
use enlace_contract::together::Work;
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};
use sqlx::{QueryBuilder, Row as _, Sqlite, SqlitePool};

use super::outbox::{columns, media_of, message_of};
use super::{Store, StoreError, time};

/// How many messages may wait to be sent.
pub const MAX_WAITING: i64 = 10_000;
/// How many bytes of files may wait to be sent.
pub const MAX_WAITING_BYTES: i64 = 1 << 30;
/// How many requests are stored by one statement.
pub(super) const MAX_TOGETHER: usize = 32;

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
        let stored =
            self.store(Request::new(vec![(id.to_owned(), message)], None, key, linked, now)?).await?;
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
        self.store(Request::new(messages, Some(gap), key, linked, now)?).await
    }

    async fn store(&self, request: Request) -> Result<Stored<Vec<Message>>, StoreError> {
        self.writer.ask(request).await.unwrap_or(Err(StoreError::Closed))
    }
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

/// What one caller wants to have stored.
pub(super) struct Request {
    entries: Vec<Entry>,
    /// Milliseconds between them, when they are a batch.
    gap: Option<i64>,
    key: Option<String>,
    /// Of all of them.
    fingerprint: Vec<u8>,
    account: Option<String>,
    now: i64,
}

/// Stores what is asked for. There is one for each database.
pub(super) struct Writer {
    pool: SqlitePool,
    /// At least as much as waits, when that is known: what was sent meanwhile is still in it.
    waiting: Option<Waiting>,
}

/// Requests that are stored by one statement. One with files, which are large, is by itself. A key comes once: the second time it is looked
/// for among what is stored.
#[derive(Default)]
struct Group {
    requests: Vec<Request>,
    keys: HashSet<String>,
    alone: bool,
}

/// What waits to be sent.
#[derive(Clone, Copy, Default)]
struct Waiting {
    messages: i64,
    bytes: i64,
}

impl Entry {
    fn new((id, message): (String, SendMessage)) -> Result<Self, StoreError> {
        let SendMessage { to: recipient, content } = message;
        let kind = content.kind();
        let (content, media) = split(content)?;
        let fingerprint = fingerprint(&recipient, &content, media.as_deref());
        Ok(Self { id, recipient, kind, content, media, fingerprint })
    }

    fn message(&self, sequence: i64, now: i64) -> Result<Message, StoreError> {
        let now = time(now)?;
        Ok(Message {
            id: self.id.clone(),
            sequence,
            to: self.recipient.clone(),
            kind: self.kind.to_owned(),
            state: MessageState::Queued,
            error: None,
            created_at: now,
            sent_at: None,
            updated_at: now,
        })
    }
}

impl Request {
    fn new(
        messages: Vec<(String, SendMessage)>,
        gap: Option<Duration>,
        key: Option<&str>,
        linked: Option<&CanonicalNumber>,
        now: Timestamp,
    ) -> Result<Self, StoreError> {
        let entries = messages.into_iter().map(Entry::new).collect::<Result<Vec<_>, _>>()?;
        let gap = gap.map(|gap| i64::try_from(gap.as_millis()).unwrap_or(i64::MAX));
        let fingerprint = match (gap, entries.as_slice()) {
            (None, [entry]) => entry.fingerprint.clone(),
            _ => fingerprint_of_all(&entries, gap),
        };
        Ok(Self {
            entries,
            gap,
            key: key.map(str::to_owned),
            fingerprint,
            account: linked.map(|account| account.as_str().to_owned()),
            now: now.as_millisecond(),
        })
    }

    fn has_files(&self) -> bool {
        self.entries.iter().any(|entry| entry.media.is_some())
    }

    /// What waits more when this is stored.
    fn size(&self) -> Waiting {
        let bytes: usize = self.entries.iter().filter_map(|entry| entry.media.as_ref()).map(Vec::len).sum();
        let count = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        Waiting { messages: count(self.entries.len()), bytes: count(bytes) }
    }
}

impl Waiting {
    fn has_room(self, more: Self) -> bool {
        self.messages.saturating_add(more.messages) <= MAX_WAITING && self.bytes < MAX_WAITING_BYTES
    }

    fn add(&mut self, more: Self) {
        self.messages = self.messages.saturating_add(more.messages);
        self.bytes = self.bytes.saturating_add(more.bytes);
    }
}

impl Group {
    /// Whether a request may be stored with those that are here.
    fn takes(&mut self, request: &Request) -> bool {
        if self.requests.is_empty() {
            self.alone = request.has_files();
        } else if self.alone || request.has_files() {
            return false;
        }
        request.key.as_ref().is_none_or(|key| self.keys.insert(key.clone()))
    }
}

impl Work for Writer {
    type Job = Request;
    type Answer = Result<Stored<Vec<Message>>, StoreError>;

    async fn work(&mut self, requests: Vec<Request>) -> Vec<Self::Answer> {
        let mut answers = Vec::with_capacity(requests.len());
        let mut requests = requests.into_iter().peekable();
        while requests.peek().is_some() {
            let mut group = Group::default();
            while let Some(request) = requests.next_if(|request| group.takes(request)) {
                group.requests.push(request);
            }
            answers.extend(self.store(group.requests).await);
        }
        answers
    }
}

impl Writer {
    pub(super) const fn new(pool: SqlitePool) -> Self {
        Self { pool, waiting: None }
    }

    /// Stores what several callers want, with an answer for each.
    async fn store(&mut self, group: Vec<Request>) -> Vec<<Self as Work>::Answer> {
        let mut answers = Vec::with_capacity(group.len());
        let mut new = Vec::with_capacity(group.len());
        let mut accepted = Waiting::default();
        for request in group {
            answers.push(match self.known(&request, accepted).await {
                Ok(None) => {
                    accepted.add(request.size());
                    new.push(request);
                    None
                }
                Ok(Some(known)) => Some(Ok(known)),
                Err(error) => Some(Err(error)),
            });
        }
        let mut stored = self.store_new(new).await.into_iter();
        let lost = || Err(StoreError::Corrupt("nothing was stored".to_owned()));
        answers.into_iter().map(|answer| answer.or_else(|| stored.next()).unwrap_or_else(lost)).collect()
    }

    /// Stores what is new.
    async fn store_new(&mut self, mut new: Vec<Request>) -> Vec<<Self as Work>::Answer> {
        match self.insert(&mut new).await {
            Ok(stored) => stored.into_iter().map(|messages| Ok(Stored::New(messages))).collect(),
            Err(error) => {
                self.waiting = None;
                if let [_] = new.as_slice() {
                    return vec![Err(error)];
                }
                // What is wrong with one of them is not the others' trouble.
                let mut answers = Vec::with_capacity(new.len());
                for request in &mut new {
                    let alone = self.insert(std::slice::from_mut(request)).await;
                    answers.push(alone.map(|mut stored| Stored::New(stored.pop().unwrap_or_default())));
                }
                answers
            }
        }
    }

    /// The answer to what needs not be stored: it was before, or there is no room beside what was accepted and is still to be stored.
    async fn known(
        &mut self,
        request: &Request,
        accepted: Waiting,
    ) -> Result<Option<Stored<Vec<Message>>>, StoreError> {
        if let Some(key) = &request.key
            && let Some(found) = self.repeated(key, &request.fingerprint).await?
        {
            return Ok(Some(found));
        }
        let more = request.size();
        let waiting = match self.waiting.filter(|waiting| waiting.has_room(more)) {
            Some(waiting) => waiting,
            None => {
                let mut waiting = self.count().await?;
                waiting.add(accepted);
                waiting
            }
        };
        let room = waiting.has_room(more);
        let waiting = self.waiting.insert(waiting);
        if !room {
            return Ok(Some(Stored::Full));
        }
        waiting.add(more);
        Ok(None)
    }

    async fn count(&self) -> Result<Waiting, StoreError> {
        let (messages, bytes) = sqlx::query_as(
            "SELECT count(*), coalesce(sum(length(media)), 0) FROM outbox WHERE state IN ('queued', 'sending')",
        )
        .fetch_one(&self.pool)
        .await?;
        Ok(Waiting { messages, bytes })
    }

    /// What was stored under a key before, when something was.
    async fn repeated(
        &self,
        key: &str,
        fingerprint: &[u8],
    ) -> Result<Option<Stored<Vec<Message>>>, StoreError> {
        let row = sqlx::query("SELECT fingerprint, sequence, batch FROM outbox WHERE idempotency_key = ?")
            .bind(key)
            .fetch_optional(&self.pool)
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
        .fetch_all(&self.pool)
        .await?;
        let messages = rows.iter().map(message_of).collect::<Result<Vec<_>, _>>()?;
        Ok(Some(Stored::Repeated(messages)))
    }

    /// Inserts all messages of all requests, or none, in their order. Files are given away, so that they are in memory once.
    async fn insert(&self, requests: &mut [Request]) -> Result<Vec<Vec<Message>>, StoreError> {
        let entries = requests.iter_mut().flat_map(|request| &mut request.entries);
        let mut files = entries.map(|entry| entry.media.take()).collect::<Vec<_>>().into_iter();
        let requests = &*requests;
        let rows =
            || requests.iter().flat_map(|request| request.entries.iter().map(move |entry| (request, entry)));
        if rows().next().is_none() {
            return Ok(requests.iter().map(|_| Vec::new()).collect());
        }
        let mut insert = QueryBuilder::<Sqlite>::new(
            "INSERT INTO outbox
             (id, idempotency_key, fingerprint, recipient, kind, content, media, state, created_at, updated_at, account, batch, gap) ",
        );
        insert.push_values(rows(), |mut row, (request, entry)| {
            let first = request.entries.first().filter(|first| first.id == entry.id);
            let batch = request.gap.and_then(|_| request.entries.first()).map(|first| &first.id);
            row.push_bind(&entry.id)
                .push_bind(request.key.as_ref().filter(|_| first.is_some()))
                .push_bind(if first.is_some() { &request.fingerprint } else { &entry.fingerprint })
                .push_bind(&entry.recipient)
                .push_bind(entry.kind)
                .push_bind(&entry.content)
                .push_bind(files.next().flatten())
                .push("'queued'")
                .push_bind(request.now)
                .push_bind(request.now)
                .push("coalesce(")
                .push_bind_unseparated(request.account.as_ref())
                .push_unseparated(
                    ", (SELECT json_extract(value, '$') FROM memory WHERE name = 'outbox-account'))",
                )
                .push_bind(batch)
                .push_bind(request.gap.filter(|_| first.is_none()));
        });
        let done = insert.build().execute(&self.pool).await?;
        // One statement gives consecutive places, in the order of its rows.
        let count = i64::try_from(rows().count()).unwrap_or(i64::MAX);
        let mut sequence = done.last_insert_rowid() - count;
        let messages_of = |request: &Request| {
            let stored = request.entries.iter().map(|entry| {
                sequence += 1;
                entry.message(sequence, request.now)
            });
            stored.collect()
        };
        requests.iter().map(messages_of).collect()
    }
}

/// The content as JSON without its file, and the file.
fn split(mut content: Content) -> Result<(String, Option<Vec<u8>>), StoreError> {
    let media = media_of(&mut content).map(|media| std::mem::take(&mut media.data.0));
    let text = serde_json::to_string(&content).map_err(|error| StoreError::Corrupt(error.to_string()))?;
    Ok((text, media))
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

#[cfg(test)]
mod tests {
    use futures::future::join_all;

    use super::*;

    async fn store(directory: &tempfile::TempDir) -> Store {
        Store::open(&directory.path().join("device.db")).await.unwrap()
    }

    fn text(text: &str) -> SendMessage {
        SendMessage { to: "525550000001".into(), content: Content::Text { text: text.into() } }
    }

    async fn stored(store: &Store) -> Vec<(i64, String)> {
        let page = store.messages(0, 500, None).await.unwrap();
        page.items.into_iter().map(|message| (message.sequence, message.id)).collect()
    }

    #[tokio::test]
    async fn what_comes_at_once_is_stored_in_its_order_and_each_caller_hears_of_its_own() {
        let directory = tempfile::tempdir().unwrap();
        let store = store(&directory).await;
        let now = Timestamp::now();
        let answers = join_all((0..100).map(|number| {
            let store = &store;
            async move {
                let id = format!("M{number}");
                match number % 10 {
                    0 => {
                        let messages = [1, 2].map(|part| (format!("{id}-{part}"), text(&id))).to_vec();
                        store.enqueue_batch(messages, Duration::from_secs(1), None, None, now).await.unwrap()
                    }
                    _ => match store.enqueue(text(&id), &id, None, None, now).await.unwrap() {
                        Stored::New(message) => Stored::New(vec![message]),
                        other => panic!("{other:?}"),
                    },
                }
            }
        }))
        .await;
        let mut told = Vec::new();
        for (number, answer) in answers.into_iter().enumerate() {
            let Stored::New(messages) = answer else { panic!("{answer:?}") };
            assert!(
                messages.iter().all(|message| message.id.split('-').next() == Some(&format!("M{number}")))
            );
            assert_eq!(messages.len(), if number % 10 == 0 { 2 } else { 1 });
            for message in messages {
                let read = store.message(&message.id).await.unwrap();
                assert_eq!(read.as_ref(), Some(&message), "what is told is what is stored");
                told.push((message.sequence, message.id));
            }
        }
        assert_eq!(told, stored(&store).await);
        assert_eq!(told.len(), 110);
        assert!(told.windows(2).all(|pair| pair[0].0 + 1 == pair[1].0), "{told:?}");
    }

    #[tokio::test]
    async fn a_key_that_comes_twice_at_once_stores_one_message() {
        let directory = tempfile::tempdir().unwrap();
        let store = store(&directory).await;
        let now = Timestamp::now();
        let answers = join_all((0..20).map(|number| {
            let store = &store;
            async move {
                let id = format!("M{number}");
                let word = if number == 19 { "another" } else { "one" };
                store.enqueue(text(word), &id, Some("key"), None, now).await.unwrap()
            }
        }))
        .await;
        let (new, rest) = answers.split_first().unwrap();
        let Stored::New(first) = new else { panic!("{new:?}") };
        let (last, repeated) = rest.split_last().unwrap();
        assert!(repeated.iter().all(|answer| *answer == Stored::Repeated(first.clone())), "{repeated:?}");
        assert_eq!(*last, Stored::KeyReused);
        assert_eq!(stored(&store).await, [(first.sequence, first.id.clone())]);
    }

    #[tokio::test]
    async fn what_cannot_be_stored_fails_by_itself() {
        let directory = tempfile::tempdir().unwrap();
        let store = store(&directory).await;
        let now = Timestamp::now();
        let ids = ["A", "B", "A", "C"];
        let answers = join_all(ids.map(|id| store.enqueue(text("x"), id, None, None, now))).await;
        let good: Vec<_> = answers.iter().map(Result::is_ok).collect();
        assert_eq!(good, [true, true, false, true], "{answers:?}");
        assert_eq!(stored(&store).await.len(), 3);
    }

    #[tokio::test]
    async fn there_is_room_again_when_messages_were_sent() {
        let directory = tempfile::tempdir().unwrap();
        let store = store(&directory).await;
        let now = Timestamp::now();
        // The last group has more than there is room for.
        let answers = join_all((0..MAX_WAITING + 20).map(|number| {
            let store = &store;
            async move { store.enqueue(text("x"), &format!("M{number}"), None, None, now).await.unwrap() }
        }));
        for (number, answer) in (0..).zip(answers.await) {
            assert_eq!(matches!(answer, Stored::New(_)), number < MAX_WAITING, "{number}: {answer:?}");
        }
        let full = |id| store.enqueue(text("x"), id, None, None, now);
        assert_eq!(full("A").await.unwrap(), Stored::Full);
        store.advance("M0", MessageState::Sent, now).await.unwrap().unwrap();
        assert!(matches!(full("B").await.unwrap(), Stored::New(_)));
        assert_eq!(full("C").await.unwrap(), Stored::Full);
    }
}
