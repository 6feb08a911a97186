use super::*;

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
    let Stored::New(first) = store.enqueue(file(b"one"), "A", Some("key"), now).await.unwrap() else {
        panic!()
    };
    let Stored::Repeated(again) = store.enqueue(file(b"one"), "B", Some("key"), now).await.unwrap() else {
        panic!()
    };
    assert_eq!(first, again);
    assert_eq!(store.enqueue(file(b"two"), "C", Some("key"), now).await.unwrap(), Stored::KeyReused);
    assert!(matches!(store.enqueue(file(b"two"), "D", Some("other"), now).await.unwrap(), Stored::New(_)));
    assert_eq!(store.messages(0, 10, Some(MessageState::Queued)).await.unwrap().items.len(), 2);
}

#[tokio::test]
async fn the_oldest_waits_first_and_comes_back_after_a_restart_under_its_id() {
    let directory = tempfile::tempdir().unwrap();
    let first = store(&directory).await;
    let now = Timestamp::now();
    for (id, word) in [("A", "one"), ("B", "two")] {
        first.enqueue(text(word), id, None, now).await.unwrap();
    }
    let (due, message) = first.next_due(now).await.unwrap().unwrap();
    assert_eq!((due.id.as_str(), message.state), ("A", MessageState::Sending));
    first.close().await;

    let second = store(&directory).await;
    let (due, _) = second.next_due(now).await.unwrap().unwrap();
    assert_eq!((due.id.as_str(), due.content), ("A", Content::Text { text: "one".into() }));
    second.advance("A", MessageState::Sent, now).await.unwrap().unwrap();
    assert_eq!(second.next_due(now).await.unwrap().unwrap().0.id, "B");
}

#[tokio::test]
async fn a_message_never_goes_backwards_and_its_content_is_gone_once_sent() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(&directory).await;
    let now = Timestamp::now();
    store.enqueue(file(b"bytes"), "A", None, now).await.unwrap();
    let (due, _) = store.next_due(now).await.unwrap().unwrap();
    let Content::Document { media, .. } = due.content else { panic!() };
    assert_eq!(media.data.0, b"bytes");
    assert_eq!(store.advance("A", MessageState::Read, now).await.unwrap().unwrap().state, MessageState::Read);
    assert!(store.advance("A", MessageState::Delivered, now).await.unwrap().is_none());
    let error = MessageError { reason: "NotSent".into(), message: String::new() };
    assert!(store.fail("A", &error, now).await.unwrap().is_none());
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
        store.enqueue(text(id), id, None, now).await.unwrap();
    }
    sqlx::query("UPDATE outbox SET content = '{}' WHERE id = 'A'").execute(&store.pool).await.unwrap();
    assert_eq!(store.next_due(now).await.unwrap().unwrap().0.id, "B");
    let failed = store.message("A").await.unwrap().unwrap();
    assert_eq!((failed.state, failed.error.unwrap().reason.as_str()), (MessageState::Failed, "Unreadable"));
}

#[tokio::test]
async fn a_receipt_corrects_a_message_that_was_given_up() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(&directory).await;
    let now = Timestamp::now();
    for (id, reason) in [("A", "NotSent"), ("B", "NotOnWhatsApp")] {
        store.enqueue(text(id), id, None, now).await.unwrap();
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
        store.enqueue(text(id), id, None, Timestamp::now()).await.unwrap();
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
        store.enqueue(text(id), id, None, old).await.unwrap();
    }
    store.advance("A", MessageState::Sent, old).await.unwrap();
    assert_eq!(store.prune_outbox(Timestamp::now()).await.unwrap(), 1);
    assert_eq!(store.messages(0, 10, None).await.unwrap().items[0].id, "B");
}
