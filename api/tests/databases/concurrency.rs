//! Many at once, through two pools, as two processes have them.

use std::collections::HashSet;

use enlace_api::database::{Database, InstanceId, NewAccount, NewInstance, NewQueued, WriteError};
use enlace_contract::name::DeviceKey;
use futures::future::join_all;

use crate::on_every_database;
use crate::world::{World, moment, user};

on_every_database!(
    one_of_many_gets_a_name,
    one_of_many_gets_an_account,
    one_of_many_gets_an_instance,
    one_of_many_makes_the_first_user,
    two_administrators_cannot_delete_each_other,
    numbers_of_the_queue_are_given_once,
    equal_messages_get_one_number,
);

const MANY: usize = 24;

/// Runs it many times at once, each time through the other of two pools.
async fn many<T: Send + 'static, F: Future<Output = T> + Send + 'static>(
    world: &World,
    what: impl Fn(Database, usize) -> F,
) -> Vec<T> {
    let pools = [world.database().await, world.database().await];
    let tasks = (0..MANY).map(|number| tokio::spawn(what(pools[number % 2].clone(), number)));
    join_all(tasks).await.into_iter().map(Result::unwrap).collect()
}

/// One was stored, and every other was told that what it wanted is taken.
#[track_caller]
fn one_was_stored(results: Vec<Result<(), WriteError>>) {
    let stored = results.iter().filter(|result| result.is_ok()).count();
    let taken = results.iter().filter(|result| matches!(result, Err(WriteError::Taken(_)))).count();
    assert_eq!((stored, taken), (1, MANY - 1), "{results:?}");
}

async fn one_of_many_gets_a_name(world: World) {
    let results = many(&world, |database, number| async move {
        let name = if number % 3 == 0 { "MARIA" } else { "maria" };
        database.create_user(name, "hash", false, moment(0)).await.unwrap().is_some()
    });
    assert_eq!(results.await.into_iter().filter(|made| *made).count(), 1);
}

async fn one_of_many_gets_an_account(world: World) {
    let results = many(&world, |database, number| async move {
        // Several unique values in different orders: where the database sees a deadlock, it is no error.
        let name = format!("maria-{}", number % 3);
        let new = NewAccount {
            name: &name,
            phone_number: Some("525550000001"),
            email: Some("maria@example.com"),
            display_name: None,
            password_hash: "hash",
        };
        database.create_account(new, moment(0)).await.map(drop)
    });
    one_was_stored(results.await);
}

async fn one_of_many_gets_an_instance(world: World) {
    let owner = user(&world.database().await, "maria").await.id;
    let results = many(&world, move |database, number| {
        let owner = owner.clone();
        async move {
            let id: InstanceId = "Ventas".parse().unwrap();
            let device: DeviceKey = format!("device-{number}").parse().unwrap();
            let new = NewInstance { id: &id, device: &device, device_uid: None, user_id: &owner };
            database.create_instance(new, moment(0)).await.map(drop)
        }
    });
    one_was_stored(results.await);
}

async fn one_of_many_makes_the_first_user(world: World) {
    let results = many(&world, |database, _| async move {
        database.create_first_user("admin", "hash", moment(0)).await.unwrap()
    });
    assert_eq!(results.await.into_iter().filter(|made| *made).count(), 1);
}

async fn two_administrators_cannot_delete_each_other(world: World) {
    let database = world.database().await;
    for round in 0..5 {
        let mut ids = Vec::new();
        for name in ["a", "b"] {
            let made = database.create_user(&format!("{name}{round}"), "hash", true, moment(0)).await;
            ids.push(made.unwrap().unwrap().id);
        }
        let deletions = ids.iter().map(|id| {
            let (database, id) = (database.clone(), id.clone());
            tokio::spawn(async move { database.delete_user(&id).await.unwrap() })
        });
        let deleted: Vec<bool> = join_all(deletions).await.into_iter().map(Result::unwrap).collect();
        let left = database.first_administrator().await.unwrap();
        // In later rounds there is one from before, and both may go.
        assert!(left.is_some(), "round {round}: {deleted:?}");
    }
}

async fn numbers_of_the_queue_are_given_once(world: World) {
    let owner = user(&world.database().await, "maria").await.id;
    let numbers = many(&world, move |database, number| {
        let owner = owner.clone();
        async move { enqueue(&database, &owner, [format!("{number}-a"), format!("{number}-b")]).await }
    })
    .await;
    // Each pair in its order.
    assert!(numbers.iter().all(|pair| pair[0] < pair[1]), "{numbers:?}");
    assert_eq!(numbers.concat().into_iter().collect::<HashSet<_>>().len(), 2 * MANY);
}

async fn equal_messages_get_one_number(world: World) {
    let owner = user(&world.database().await, "maria").await.id;
    let numbers = many(&world, move |database, number| {
        let owner = owner.clone();
        async move {
            // Some ask for the same in another order: where the database sees a deadlock, it is no error.
            let messages = if number % 3 == 0 { ["b", "a"] } else { ["a", "b"] };
            let mut ids = enqueue(&database, &owner, messages.map(str::to_owned)).await;
            if number % 3 == 0 {
                ids.reverse();
            }
            ids
        }
    })
    .await;
    assert!(numbers[0][0] != numbers[0][1] && numbers.iter().all(|ids| *ids == numbers[0]), "{numbers:?}");
}

async fn enqueue(database: &Database, user_id: &str, messages: [String; 2]) -> Vec<i64> {
    let device: DeviceKey = "billing".parse().unwrap();
    let new = messages.each_ref().map(|message_id| NewQueued { user_id, device: &device, message_id });
    database.enqueue(&new, moment(0)).await.unwrap()
}
