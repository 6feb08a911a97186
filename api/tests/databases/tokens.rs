//! Tokens.

use enlace_api::auth::Action;
use enlace_api::database::{Database, NewToken, TokenDevice, TokenRecord};
use jiff::{SignedDuration, Timestamp};

use crate::on_every_database;
use crate::world::{World, moment, user};

on_every_database!(
    a_token_is_found_by_its_hash_with_all_it_has,
    a_token_ends_in_its_time,
    that_a_token_was_used_is_noted_to_a_minute,
    tokens_are_listed_counted_and_deleted_for_their_user,
    the_oldest_token_of_a_name_goes_first,
    a_deleted_user_takes_its_tokens_along,
);

async fn token(
    database: &Database,
    user_id: &str,
    name: &str,
    hash: &str,
    expires_at: Option<Timestamp>,
    now: Timestamp,
) -> TokenRecord {
    let new = NewToken { user_id, name, devices: None, actions: None, expires_at };
    database.create_token(new, hash, now).await.unwrap()
}

async fn a_token_is_found_by_its_hash_with_all_it_has(world: World) {
    let database = world.database().await;
    let maria = user(&database, "maria").await;
    let device = |number: usize| TokenDevice {
        key: format!("default/device-{number}").parse().unwrap(),
        uid: format!("00000000-0000-4000-8000-{number:012}"),
    };
    // More than 64 KiB of JSON, where MySQL's plain TEXT ends.
    let devices: Vec<TokenDevice> = (0..1500).map(device).collect();
    let new = NewToken {
        user_id: &maria.id,
        name: "Facturación",
        devices: Some(devices),
        actions: Some(vec![Action::DevicesRead]),
        expires_at: Some(moment(5_000)),
    };
    let made = database.create_token(new, "hash", moment(0)).await.unwrap();
    let (found, of) = database.token_by_hash("hash", moment(1)).await.unwrap().unwrap();
    assert_eq!(found, made);
    assert_eq!(of, maria);
    assert_eq!(database.token_by_hash("HASH", moment(1)).await.unwrap(), None);
}

async fn a_token_ends_in_its_time(world: World) {
    let database = world.database().await;
    let maria = user(&database, "maria").await;
    let made = token(&database, &maria.id, "short", "hash", Some(moment(1_000)), moment(0)).await;
    assert!(database.token_lives(&made.id, moment(999)).await.unwrap());
    assert!(!database.token_lives(&made.id, moment(1_000)).await.unwrap());
    assert!(database.token_by_hash("hash", moment(999)).await.unwrap().is_some());
    assert!(database.token_by_hash("hash", moment(1_000)).await.unwrap().is_none());
    // The next token of the user clears it away.
    token(&database, &maria.id, "long", "other", None, moment(1_000)).await;
    assert_eq!(database.count_tokens(&maria.id).await.unwrap(), 1);
}

async fn that_a_token_was_used_is_noted_to_a_minute(world: World) {
    let database = world.database().await;
    let maria = user(&database, "maria").await;
    token(&database, &maria.id, "t", "hash", None, moment(0)).await;
    let minute = SignedDuration::from_secs(60).as_millis() as i64;
    let mut noted = Vec::new();
    for at in [0, minute - 1, minute] {
        database.token_by_hash("hash", moment(at)).await.unwrap().unwrap();
        noted.push(database.tokens(None, "", 1).await.unwrap()[0].last_used_at);
    }
    assert_eq!(noted, [Some(moment(0)), Some(moment(0)), Some(moment(minute))]);
}

async fn tokens_are_listed_counted_and_deleted_for_their_user(world: World) {
    let database = world.database().await;
    let (maria, other) = (user(&database, "maria").await, user(&database, "other").await);
    let mut of_maria = Vec::new();
    for hash in ["1", "2", "3"] {
        of_maria.push(token(&database, &maria.id, "t", hash, None, moment(0)).await.id);
    }
    let of_other = token(&database, &other.id, "t", "4", None, moment(0)).await.id;
    of_maria.sort();

    let ids = |tokens: Vec<TokenRecord>| tokens.into_iter().map(|token| token.id).collect::<Vec<_>>();
    assert_eq!(ids(database.tokens(Some(&maria.id), "", 10).await.unwrap()), of_maria);
    assert_eq!(ids(database.tokens(Some(&maria.id), &of_maria[0], 1).await.unwrap()), of_maria[1..2]);
    assert_eq!(database.tokens(None, "", 10).await.unwrap().len(), 4);
    assert_eq!(database.count_tokens(&maria.id).await.unwrap(), 3);

    assert!(!database.delete_token(&of_other, Some(&maria.id)).await.unwrap());
    assert!(database.delete_token(&of_other, None).await.unwrap());
    assert!(database.delete_token(&of_maria[0], Some(&maria.id)).await.unwrap());
    assert!(!database.delete_token(&of_maria[0], Some(&maria.id)).await.unwrap());
    assert_eq!(ids(database.tokens(None, "", 10).await.unwrap()), of_maria[1..]);
}

async fn the_oldest_token_of_a_name_goes_first(world: World) {
    let database = world.database().await;
    let maria = user(&database, "maria").await;
    let young = token(&database, &maria.id, "session", "1", None, moment(2)).await;
    token(&database, &maria.id, "session", "2", None, moment(1)).await;
    let other = token(&database, &maria.id, "other", "3", None, moment(0)).await;
    assert!(database.delete_oldest_token(&maria.id, "session").await.unwrap());
    assert!(database.token_by_hash("2", moment(3)).await.unwrap().is_none());
    assert!(database.token_lives(&young.id, moment(3)).await.unwrap());
    assert!(database.delete_oldest_token(&maria.id, "session").await.unwrap());
    assert!(!database.delete_oldest_token(&maria.id, "session").await.unwrap());
    assert!(database.token_lives(&other.id, moment(3)).await.unwrap());
}

async fn a_deleted_user_takes_its_tokens_along(world: World) {
    let database = world.database().await;
    let maria = user(&database, "maria").await;
    let made = token(&database, &maria.id, "t", "hash", None, moment(0)).await;
    assert!(database.delete_user(&maria.id).await.unwrap());
    assert!(!database.token_lives(&made.id, moment(0)).await.unwrap());
    assert_eq!(database.token_by_hash("hash", moment(0)).await.unwrap(), None);
}
