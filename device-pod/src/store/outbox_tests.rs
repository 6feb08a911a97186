use enlace_contract::messages::SendMessage;

use super::*;
use crate::store::storing::Stored;

const FIRST: &str = "525550000001";
const SECOND: &str = "525550000003";

fn number(text: &str) -> CanonicalNumber {
    text.parse::<enlace_contract::number::PhoneNumber>().unwrap().canonical()
}

async fn store(directory: &tempfile::TempDir) -> Store {
    Store::open(&directory.path().join("device.db")).await.unwrap()
}

fn text(text: &str) -> SendMessage {
    SendMessage { to: "525550000001".into(), content: Content::Text { text: text.into() } }
}

fn file(bytes: &[u8]) -> SendMessage {
    let media = Media { data: Base64(bytes.to_vec()), mime_type: None, file_name: Some("a.pdf".into()) };
    SendMessage { to: "525550000001".into(), content: Content::Document { media, caption: None } }
}

#[tokio::test]
async fn a_key_stores_one_message_and_refuses_another() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(&directory).await;
    let now = Timestamp::now();
    let Stored::New(first) =
        store.enqueue(file(b"one"), "A", Some("key"), Some(&number(FIRST)), now).await.unwrap()
    else {
        panic!()
    };
    let Stored::Repeated(again) =
        store.enqueue(file(b"one"), "B", Some("key"), Some(&number(FIRST)), now).await.unwrap()
    else {
        panic!()
    };
    assert_eq!(first, again);
    assert_eq!(
        store.enqueue(file(b"two"), "C", Some("key"), Some(&number(FIRST)), now).await.unwrap(),
        Stored::KeyReused
    );
    assert!(matches!(
        store.enqueue(file(b"two"), "D", Some("other"), Some(&number(FIRST)), now).await.unwrap(),
        Stored::New(_)
    ));
    assert_eq!(store.messages(0, 10, Some(MessageState::Queued)).await.unwrap().items.len(), 2);
}

#[tokio::test]
async fn the_oldest_waits_first_and_comes_back_after_a_restart_under_its_id() {
    let directory = tempfile::tempdir().unwrap();
    let first = store(&directory).await;
    let now = Timestamp::now();
    for (id, word) in [("A", "one"), ("B", "two")] {
        first.enqueue(text(word), id, None, Some(&number(FIRST)), now).await.unwrap();
    }
    let (due, message) = first.next_due(&number(FIRST), now, |_, _| false).await.unwrap().unwrap();
    assert_eq!((due.id.as_str(), message.state), ("A", MessageState::Sending));
    first.close().await;

    let second = store(&directory).await;
    let (due, _) = second.next_due(&number(FIRST), now, |_, _| false).await.unwrap().unwrap();
    assert_eq!((due.id.as_str(), due.content), ("A", Content::Text { text: "one".into() }));
    second.advance("A", MessageState::Sent, now).await.unwrap().unwrap();
    assert_eq!(second.next_due(&number(FIRST), now, |_, _| false).await.unwrap().unwrap().0.id, "B");
}

#[tokio::test]
async fn a_message_never_goes_backwards_and_its_content_is_gone_once_sent() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(&directory).await;
    let now = Timestamp::now();
    store.enqueue(file(b"bytes"), "A", None, Some(&number(FIRST)), now).await.unwrap();
    let (due, _) = store.next_due(&number(FIRST), now, |_, _| false).await.unwrap().unwrap();
    let Content::Document { media, .. } = due.content else { panic!() };
    assert_eq!(media.data.0, b"bytes");
    assert_eq!(store.advance("A", MessageState::Read, now).await.unwrap().unwrap().state, MessageState::Read);
    assert!(store.advance("A", MessageState::Delivered, now).await.unwrap().is_none());
    let error = MessageError { reason: "NotSent".into(), message: String::new() };
    assert!(store.fail("A", &error, now).await.unwrap().is_empty());
    let left: i64 =
        sqlx::query_scalar("SELECT count(*) FROM outbox WHERE content IS NOT NULL OR media IS NOT NULL")
            .fetch_one(&store.pool)
            .await
            .unwrap();
    assert_eq!(left, 0);
    assert_eq!(store.message("A").await.unwrap().unwrap().state, MessageState::Read);
}

#[tokio::test]
async fn a_message_that_cannot_be_read_fails_and_the_next_one_goes() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(&directory).await;
    let now = Timestamp::now();
    for id in ["A", "B"] {
        store.enqueue(text(id), id, None, Some(&number(FIRST)), now).await.unwrap();
    }
    sqlx::query("UPDATE outbox SET content = '{}' WHERE id = 'A'").execute(&store.pool).await.unwrap();
    assert_eq!(store.next_due(&number(FIRST), now, |_, _| false).await.unwrap().unwrap().0.id, "B");
    let failed = store.message("A").await.unwrap().unwrap();
    assert_eq!((failed.state, failed.error.unwrap().reason.as_str()), (MessageState::Failed, "Unreadable"));
}

#[tokio::test]
async fn a_receipt_corrects_a_message_that_was_given_up() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(&directory).await;
    let now = Timestamp::now();
    for (id, reason) in [("A", "NotSent"), ("B", "NotOnWhatsApp")] {
        store.enqueue(text(id), id, None, Some(&number(FIRST)), now).await.unwrap();
        let error = MessageError { reason: reason.into(), message: String::new() };
        store.fail(id, &error, now).await.unwrap();
    }
    let corrected = store.advance("A", MessageState::Delivered, now).await.unwrap().unwrap();
    assert_eq!((corrected.state, corrected.error), (MessageState::Delivered, None));
    assert!(store.advance("B", MessageState::Delivered, now).await.unwrap().is_none());
}

#[tokio::test]
async fn pages_follow_each_other_to_the_end() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(&directory).await;
    for id in ["A", "B", "C"] {
        store.enqueue(text(id), id, None, Some(&number(FIRST)), Timestamp::now()).await.unwrap();
    }
    let first = store.messages(0, 2, None).await.unwrap();
    assert_eq!(first.items.iter().map(|m| m.id.as_str()).collect::<Vec<_>>(), ["A", "B"]);
    let last = store.messages(first.next.unwrap(), 2, Some(MessageState::Queued)).await.unwrap();
    assert_eq!((last.items[0].id.as_str(), last.items.len(), last.next), ("C", 1, None));
    assert!(store.messages(0, 2, Some(MessageState::Failed)).await.unwrap().items.is_empty());
}

#[tokio::test]
async fn what_is_finished_is_kept_a_week_and_what_waits_for_ever() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(&directory).await;
    let old = Timestamp::now() - jiff::SignedDuration::from_hours(8 * 24);
    for id in ["A", "B"] {
        store.enqueue(text(id), id, None, Some(&number(FIRST)), old).await.unwrap();
    }
    store.advance("A", MessageState::Sent, old).await.unwrap();
    assert_eq!(store.prune_outbox(Timestamp::now()).await.unwrap(), 1);
    assert_eq!(store.messages(0, 10, None).await.unwrap().items[0].id, "B");
}

/// The ids of what waits for an account, in order; all of it is sent.
async fn drained(store: &Store, account: &str) -> Vec<String> {
    let mut ids = Vec::new();
    while let Some((due, _)) = store.next_due(&number(account), Timestamp::now(), |_, _| false).await.unwrap()
    {
        store.advance(&due.id, MessageState::Sent, Timestamp::now()).await.unwrap();
        ids.push(due.id);
    }
    ids
}

#[tokio::test]
async fn what_waited_for_a_former_account_fails_when_another_one_links() {
    let directory = tempfile::tempdir().unwrap();
    let first = store(&directory).await;
    let now = Timestamp::now();
    assert!(first.adopt_outbox(&number(FIRST), now).await.unwrap().is_empty());
    first.enqueue(text("linked"), "A", None, Some(&number(FIRST)), now).await.unwrap();
    first.enqueue(text("being sent"), "B", None, Some(&number(FIRST)), now).await.unwrap();
    first.next_due(&number(FIRST), now, |_, _| false).await.unwrap().unwrap();
    first.enqueue(text("after the logout"), "C", None, None, now).await.unwrap();
    first.enqueue(text("the second is linked"), "D", None, Some(&number(SECOND)), now).await.unwrap();
    // The program is killed before it has heard that the second may send.
    first.close().await;

    let second = store(&directory).await;
    assert!(
        second.next_due(&number("525550000004"), now, |_, _| false).await.unwrap().is_none(),
        "nobody else sends it"
    );
    let failed = second.adopt_outbox(&number(SECOND), now).await.unwrap();
    let reasons: Vec<_> = failed
        .into_iter()
        .map(|message| (message.id, message.state, message.error.unwrap().reason))
        .collect();
    let changed = |id: &str| (id.to_owned(), MessageState::Failed, "AccountChanged".to_owned());
    assert_eq!(reasons, [changed("A"), changed("B"), changed("C")]);
    assert!(second.adopt_outbox(&number(SECOND), now).await.unwrap().is_empty());
    assert_eq!(drained(&second, SECOND).await, ["D"]);
    let left: i64 = sqlx::query_scalar("SELECT count(*) FROM outbox WHERE content IS NOT NULL")
        .fetch_one(&second.pool)
        .await
        .unwrap();
    assert_eq!(left, 0, "what failed is not kept");
}

#[tokio::test]
async fn what_was_stored_before_any_link_belongs_to_the_first() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(&directory).await;
    let now = Timestamp::now();
    for id in ["A", "B"] {
        store.enqueue(text(id), id, None, None, now).await.unwrap();
    }
    assert!(store.adopt_outbox(&number(FIRST), now).await.unwrap().is_empty());
    assert_eq!(store.next_due(&number(FIRST), now, |_, _| false).await.unwrap().unwrap().0.id, "A");
    store.advance("A", MessageState::Sent, now).await.unwrap();
    // The same number under its other spelling is the same account.
    assert!(store.adopt_outbox(&number("5215550000001"), now).await.unwrap().is_empty());
    let failed = store.adopt_outbox(&number(SECOND), now).await.unwrap();
    assert_eq!(failed.iter().map(|message| message.id.as_str()).collect::<Vec<_>>(), ["B"]);
}

#[tokio::test]
async fn what_waits_in_an_older_database_belongs_to_the_number_that_is_linked() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("device.db");
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&file).create_if_missing(true);
    let pool = sqlx::SqlitePool::connect_with(options).await.unwrap();
    let mut migrations = sqlx::migrate::Migrator {
        migrations: super::super::MIGRATIONS.migrations.clone(),
        ..sqlx::migrate::Migrator::DEFAULT
    };
    migrations.migrations.to_mut().truncate(1);
    migrations.run(&pool).await.unwrap();
    sqlx::raw_sql(
        r#"INSERT INTO memory VALUES ('session', '{"claim":"525550000001","doomed":null}');
           INSERT INTO outbox (id, fingerprint, recipient, kind, content, state, created_at, updated_at)
           VALUES ('A', x'00', '525550000002', 'text', '{"type":"text","text":"a"}', 'queued', 0, 0);"#,
    )
    .execute(&pool)
    .await
    .unwrap();
    pool.close().await;

    let store = store(&directory).await;
    store.enqueue(text("b"), "B", None, None, Timestamp::now()).await.unwrap();
    assert!(store.adopt_outbox(&number(FIRST), Timestamp::now()).await.unwrap().is_empty());
    assert_eq!(drained(&store, FIRST).await, ["A", "B"]);
}

#[tokio::test]
async fn the_last_attempt_is_known_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(&directory).await;
    let at = |second: i64| Timestamp::from_second(1_800_000_000 + second).unwrap();
    let since = at(-60);
    for (n, id) in ["A", "B", "C", "D"].into_iter().enumerate() {
        let stored = at(i64::try_from(n).unwrap());
        store.enqueue(text(id), id, None, Some(&number(FIRST)), stored).await.unwrap();
    }
    assert_eq!(store.last_attempt(since).await.unwrap(), None, "nothing was tried");
    store.advance("A", MessageState::Sent, at(10)).await.unwrap();
    store.advance("A", MessageState::Read, at(50)).await.unwrap();
    assert_eq!(store.last_attempt(since).await.unwrap(), Some(at(10)), "a receipt is no attempt");
    store.next_due(&number(FIRST), at(20), |_, _| false).await.unwrap().unwrap();
    assert_eq!(store.last_attempt(since).await.unwrap(), Some(at(20)), "killed while it was sent");
    store.requeue("B", at(30)).await.unwrap();
    assert_eq!(store.last_attempt(since).await.unwrap(), Some(at(30)), "put back after an attempt");
    let refused = MessageError { reason: "RefusedByWhatsApp".into(), message: String::new() };
    store.fail("B", &refused, at(40)).await.unwrap();
    assert_eq!(store.last_attempt(since).await.unwrap(), Some(at(40)));
    store.adopt_outbox(&number(SECOND), at(45)).await.unwrap();
    assert_eq!(store.last_attempt(since).await.unwrap(), Some(at(40)), "what was never tried does not count");
    assert_eq!(store.last_attempt(at(40)).await.unwrap(), None);
}

async fn batch(
    store: &Store,
    texts: &[&str],
    key: Option<&str>,
    now: Timestamp,
) -> Result<Stored<Vec<Message>>, StoreError> {
    let messages = texts.iter().map(|word| (format!("ID-{word}"), text(word))).collect();
    store.enqueue_batch(messages, Duration::from_millis(700), key, Some(&number(FIRST)), now).await
}

#[tokio::test]
async fn a_batch_is_stored_whole_in_order_and_once_for_its_key() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(&directory).await;
    let now = Timestamp::now();
    let Stored::New(first) = batch(&store, &["xml", "pdf"], Some("key"), now).await.unwrap() else {
        panic!()
    };
    assert_eq!(first.iter().map(|message| message.id.as_str()).collect::<Vec<_>>(), ["ID-xml", "ID-pdf"]);
    assert_eq!(first[1].sequence, first[0].sequence + 1);
    assert_eq!(
        batch(&store, &["xml", "pdf"], Some("key"), now).await.unwrap(),
        Stored::Repeated(first.clone())
    );
    assert_eq!(batch(&store, &["xml"], Some("key"), now).await.unwrap(), Stored::KeyReused);
    let single = store.enqueue(text("xml"), "X", Some("key"), Some(&number(FIRST)), now).await.unwrap();
    assert_eq!(single, Stored::KeyReused);
    // An id that is taken: nothing of the batch is there.
    assert!(batch(&store, &["new", "pdf"], None, now).await.is_err());
    assert_eq!(store.messages(0, 10, None).await.unwrap().items, first);
}

#[tokio::test]
async fn only_what_follows_in_the_same_batch_waits_for_its_gap() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(&directory).await;
    let (now, account) = (Timestamp::now(), number(FIRST));
    batch(&store, &["a", "b"], None, now).await.unwrap();
    batch(&store, &["c"], None, now).await.unwrap();
    assert_eq!(store.gap_after("ID-a", &account).await.unwrap(), None, "the first one has none");
    let (due, _) = store.next_due(&account, now, |_, _| false).await.unwrap().unwrap();
    assert_eq!((due.id.as_str(), due.batch.as_deref()), ("ID-a", Some("ID-a")));
    store.advance("ID-a", MessageState::Sent, now).await.unwrap().unwrap();
    assert_eq!(store.gap_after("ID-a", &account).await.unwrap(), Some(Duration::from_millis(700)));
    store.advance("ID-b", MessageState::Sent, now).await.unwrap().unwrap();
    assert_eq!(store.gap_after("ID-a", &account).await.unwrap(), None, "another batch begins");
}

#[tokio::test]
async fn what_follows_a_failure_in_its_batch_fails_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(&directory).await;
    let now = Timestamp::now();
    batch(&store, &["a", "b", "c"], None, now).await.unwrap();
    batch(&store, &["d"], None, now).await.unwrap();
    store.advance("ID-a", MessageState::Sent, now).await.unwrap().unwrap();
    let refused = MessageError { reason: "RefusedByWhatsApp".into(), message: String::new() };
    let failed = store.fail("ID-b", &refused, now).await.unwrap();
    let reasons: Vec<_> = failed
        .iter()
        .map(|message| (message.id.as_str(), message.error.as_ref().unwrap().reason.as_str()))
        .collect();
    assert_eq!(reasons, [("ID-b", "RefusedByWhatsApp"), ("ID-c", "EarlierFailed")]);
    assert_eq!(store.message("ID-a").await.unwrap().unwrap().state, MessageState::Sent);
    assert_eq!(store.message("ID-d").await.unwrap().unwrap().state, MessageState::Queued);
}

#[tokio::test]
async fn the_beginning_of_a_batch_is_kept_while_the_rest_waits() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(&directory).await;
    let long_ago = Timestamp::from_second(1_000_000).unwrap();
    batch(&store, &["a", "b"], Some("key"), long_ago).await.unwrap();
    store.advance("ID-a", MessageState::Sent, long_ago).await.unwrap().unwrap();
    assert_eq!(store.prune_outbox(Timestamp::now()).await.unwrap(), 0);
    assert!(matches!(batch(&store, &["a", "b"], Some("key"), long_ago).await.unwrap(), Stored::Repeated(_)));
    store.advance("ID-b", MessageState::Sent, long_ago).await.unwrap().unwrap();
    assert_eq!(store.prune_outbox(Timestamp::now()).await.unwrap(), 2);
}

#[tokio::test]
async fn what_waits_for_another_message_is_passed_over() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(&directory).await;
    let now = Timestamp::now();
    for (id, to) in [("A", "525550000001"), ("B", "525550000001"), ("C", "525550000003")] {
        let message = SendMessage { to: to.into(), content: Content::Text { text: "hola".into() } };
        store.enqueue(message, id, None, Some(&number(FIRST)), now).await.unwrap();
    }
    let waits = |to: &str, _: Option<&str>| to == "525550000001";
    assert_eq!(store.next_due(&number(FIRST), now, waits).await.unwrap().unwrap().0.id, "C");
    store.advance("C", MessageState::Sent, now).await.unwrap().unwrap();
    assert!(store.next_due(&number(FIRST), now, waits).await.unwrap().is_none());
    assert_eq!(store.next_due(&number(FIRST), now, |_, _| false).await.unwrap().unwrap().0.id, "A");
}
