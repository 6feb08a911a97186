//! The queue's numbers.

use enlace_api::database::{Database, NewQueued, Queued};
use enlace_contract::name::DeviceKey;

use crate::on_every_database;
use crate::world::{World, moment, user};

on_every_database!(
    messages_get_numbers_in_their_order,
    a_message_that_is_numbered_again_keeps_its_number,
    a_number_is_never_given_twice,
    pruning_forgets_the_oldest_and_not_more_than_asked,
    all_messages_are_numbered_or_none,
    callers_that_come_at_once_get_numbers_of_their_own_messages,
);

fn device() -> DeviceKey {
    "shop/billing".parse().unwrap()
}

async fn enqueue(database: &Database, user_id: &str, messages: &[&str], at: i64) -> Vec<i64> {
    let device = device();
    let new: Vec<_> =
        messages.iter().map(|message_id| NewQueued { user_id, device: &device, message_id }).collect();
    database.enqueue(&new, moment(at)).await.unwrap()
}

async fn messages_get_numbers_in_their_order(world: World) {
    let database = world.database().await;
    let maria = user(&database, "maria").await;
    let ids = enqueue(&database, &maria.id, &["pdf", "xml", "Text"], 5).await;
    assert!(ids.is_sorted_by(|a, b| a < b), "{ids:?}");
    for (id, message_id) in ids.iter().zip(["pdf", "xml", "Text"]) {
        let queued = Queued {
            id: *id,
            user_id: maria.id.clone(),
            device: device(),
            message_id: message_id.to_owned(),
            created_at: moment(5),
        };
        assert_eq!(database.queued(*id).await.unwrap(), Some(queued));
    }
    assert_eq!(database.queued(ids[2] + 1).await.unwrap(), None);
    assert_eq!(database.queued(i64::MIN).await.unwrap(), None);
    assert_eq!(enqueue(&database, &maria.id, &[], 5).await, [0; 0]);
}

async fn a_message_that_is_numbered_again_keeps_its_number(world: World) {
    let database = world.database().await;
    let maria = user(&database, "maria").await;
    let first = enqueue(&database, &maria.id, &["pdf", "xml"], 5).await;
    assert_eq!(enqueue(&database, &maria.id, &["pdf", "xml"], 9).await, first);
    // Among others, and twice in one call.
    let mixed = enqueue(&database, &maria.id, &["new", "xml", "XML", "pdf", "new"], 9).await;
    assert_eq!((mixed[1], mixed[3], mixed[4]), (first[1], first[0], mixed[0]));
    assert!(first[1] < mixed[0] && mixed[0] < mixed[2], "{first:?} {mixed:?}");
    assert_eq!(database.queued(first[0]).await.unwrap().unwrap().created_at, moment(5));
    // Another device has messages of its own.
    let other: DeviceKey = "shop/other".parse().unwrap();
    let new = NewQueued { user_id: &maria.id, device: &other, message_id: "pdf" };
    assert!(database.enqueue(&[new], moment(9)).await.unwrap()[0] > mixed[2]);
}

async fn a_number_is_never_given_twice(world: World) {
    let database = world.database().await;
    let maria = user(&database, "maria").await;
    let before = enqueue(&database, &maria.id, &["a", "b"], 0).await;
    assert_eq!(database.prune_queue(moment(1), 10).await.unwrap(), 2);
    database.close().await;
    // Started again, with nothing left that says how far it had come.
    let database = world.database().await;
    let after = enqueue(&database, &maria.id, &["c"], 2).await;
    assert!(after[0] > before[1], "{before:?} {after:?}");
}

async fn pruning_forgets_the_oldest_and_not_more_than_asked(world: World) {
    let database = world.database().await;
    let maria = user(&database, "maria").await;
    let mut ids = Vec::new();
    for at in 0..5 {
        ids.extend(enqueue(&database, &maria.id, &[&at.to_string()], at).await);
    }
    let left = async || {
        let mut left = Vec::new();
        for id in &ids {
            left.push(database.queued(*id).await.unwrap().is_some());
        }
        left
    };
    assert_eq!(database.prune_queue(moment(4), 3).await.unwrap(), 3);
    assert_eq!(left().await, [false, false, false, true, true]);
    // What is from that moment is not from before it.
    assert_eq!(database.prune_queue(moment(4), 3).await.unwrap(), 1);
    assert_eq!(database.prune_queue(moment(4), 3).await.unwrap(), 0);
    assert_eq!(left().await, [false, false, false, false, true]);
}

async fn all_messages_are_numbered_or_none(world: World) {
    let database = world.database().await;
    let maria = user(&database, "maria").await;
    let device = device();
    let good = NewQueued { user_id: &maria.id, device: &device, message_id: "m" };
    let bad = NewQueued { user_id: "nobody", message_id: "n", ..good };
    assert!(database.enqueue(&[good, bad], moment(0)).await.is_err());
    assert_eq!(database.prune_queue(moment(1), 10).await.unwrap(), 0);
    // The connection in which it failed harms nobody.
    for number in 0..20 {
        enqueue(&database, &maria.id, &[&number.to_string()], 0).await;
    }
    assert_eq!(database.prune_queue(moment(1), 100).await.unwrap(), 20);
}

async fn callers_that_come_at_once_get_numbers_of_their_own_messages(world: World) {
    let database = world.database().await;
    let maria = user(&database, "maria").await;
    let device = device();
    let callers = (0..50).map(|number| {
        let (database, maria, device) = (&database, &maria, &device);
        async move {
            // One of them is wrong, and fails by itself.
            let user_id = if number == 20 { "nobody" } else { maria.id.as_str() };
            let messages = [format!("{number}-a"), format!("{number}-b")];
            let new = messages.each_ref().map(|message_id| NewQueued { user_id, device, message_id });
            (messages.clone(), database.enqueue(&new, moment(5)).await)
        }
    });
    let mut given = Vec::new();
    for (number, (messages, ids)) in futures::future::join_all(callers).await.into_iter().enumerate() {
        assert_eq!(ids.is_err(), number == 20, "{number}: {ids:?}");
        let ids = ids.unwrap_or_default();
        for (id, message_id) in ids.iter().zip(&messages) {
            assert_eq!(&database.queued(*id).await.unwrap().unwrap().message_id, message_id);
        }
        given.extend(ids);
    }
    given.sort_unstable();
    given.dedup();
    assert_eq!(given.len(), 98);
}
