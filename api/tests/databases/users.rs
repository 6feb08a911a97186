//! Users.

use enlace_api::database::NewToken;
use jiff::Timestamp;

use crate::on_every_database;
use crate::world::{TEXT, World, moment, user};

on_every_database!(
    a_user_is_found_again_as_it_was_stored,
    names_are_unique_without_regard_to_case,
    blanks_at_the_end_make_another_name,
    pages_of_users_are_in_order_of_their_names,
    the_first_user_is_made_once_and_is_an_administrator,
    a_new_password_ends_every_token_but_one,
    the_last_administrator_stays,
    a_text_comes_back_as_it_went,
);

async fn a_user_is_found_again_as_it_was_stored(world: World) {
    let database = world.database().await;
    let now = Timestamp::now();
    let made = database.create_user("Maria", "hash", true, now).await.unwrap().unwrap();
    assert_eq!(made.created_at.as_millisecond(), now.as_millisecond());
    assert_eq!(database.user(&made.id).await.unwrap().as_ref(), Some(&made));
    assert_eq!(database.user_to_verify("Maria").await.unwrap(), Some((made.clone(), "hash".to_owned())));
    assert_eq!(database.first_administrator().await.unwrap(), Some(made));
    assert_eq!(database.user("unknown").await.unwrap(), None);
    // Before 1970, and later than 32 bits reach.
    for time in ["1912-06-23T00:00:00.001Z", "2999-12-31T23:59:59.999Z"] {
        let time: Timestamp = time.parse().unwrap();
        let made = database.create_user(&time.to_string(), "hash", false, time).await.unwrap().unwrap();
        assert_eq!(database.user(&made.id).await.unwrap().unwrap().created_at, time);
    }
}

async fn names_are_unique_without_regard_to_case(world: World) {
    let database = world.database().await;
    let maria = user(&database, "María").await;
    for name in ["María", "maría", "MARÍA"] {
        assert_eq!(database.create_user(name, "other", true, moment(0)).await.unwrap(), None, "{name}");
        assert_eq!(database.user_to_verify(name).await.unwrap().unwrap().0, maria);
    }
    // Another letter is another name.
    assert!(database.create_user("Maria", "hash", false, moment(0)).await.unwrap().is_some());
}

async fn blanks_at_the_end_make_another_name(world: World) {
    let database = world.database().await;
    user(&database, "admin").await;
    assert_eq!(database.user_to_verify("admin ").await.unwrap(), None);
    assert!(database.create_user("admin ", "hash", false, moment(0)).await.unwrap().is_some());
}

async fn pages_of_users_are_in_order_of_their_names(world: World) {
    let database = world.database().await;
    for name in ["b", "Zoë", "a", "C", "a-1", "ñ", "a_1"] {
        user(&database, name).await;
    }
    let mut names: Vec<String> = Vec::new();
    loop {
        let after = names.last().cloned().unwrap_or_default();
        let page = database.users(&after, 2).await.unwrap();
        assert!(page.len() <= 2);
        if page.is_empty() {
            break;
        }
        names.extend(page.into_iter().map(|user| user.name));
    }
    assert_eq!(names, ["a", "a-1", "a_1", "b", "C", "Zoë", "ñ"]);
}

async fn the_first_user_is_made_once_and_is_an_administrator(world: World) {
    let database = world.database().await;
    assert!(!database.has_users().await.unwrap());
    assert!(database.create_first_user("admin", "hash", moment(0)).await.unwrap());
    assert!(!database.create_first_user("other", "hash", moment(0)).await.unwrap());
    assert!(database.has_users().await.unwrap());
    let admin = database.first_administrator().await.unwrap().unwrap();
    assert_eq!((admin.name.as_str(), admin.administrator), ("admin", true));
}

async fn a_new_password_ends_every_token_but_one(world: World) {
    let database = world.database().await;
    let (maria, other) = (user(&database, "maria").await, user(&database, "other").await);
    let mut ids = Vec::new();
    for (hash, of) in [("1", &maria), ("2", &maria), ("3", &other)] {
        let new = NewToken { user_id: &of.id, name: "t", devices: None, actions: None, expires_at: None };
        ids.push(database.create_token(new, hash, moment(0)).await.unwrap().id);
    }
    assert!(database.set_password(&maria.id, "new", Some(&ids[0])).await.unwrap());
    assert_eq!(database.user_to_verify("maria").await.unwrap().unwrap().1, "new");
    let mut lives = Vec::new();
    for id in &ids {
        lives.push(database.token_lives(id, moment(0)).await.unwrap());
    }
    assert_eq!(lives, [true, false, true]);
    // The same password again is no mistake, and an unknown user is one.
    assert!(database.set_password(&maria.id, "new", None).await.unwrap());
    assert!(!database.set_password("unknown", "new", None).await.unwrap());
}

async fn the_last_administrator_stays(world: World) {
    let database = world.database().await;
    let first = database.create_user("first", "hash", true, moment(0)).await.unwrap().unwrap();
    let second = database.create_user("second", "hash", true, moment(1)).await.unwrap().unwrap();
    let plain = user(&database, "plain").await;
    assert!(database.delete_user(&first.id).await.unwrap());
    assert!(!database.delete_user(&second.id).await.unwrap());
    assert!(database.delete_user(&plain.id).await.unwrap());
    assert!(!database.delete_user(&plain.id).await.unwrap());
    assert_eq!(database.first_administrator().await.unwrap(), Some(second));
}

async fn a_text_comes_back_as_it_went(world: World) {
    let database = world.database().await;
    let hash = format!("$argon2id$v=19$m=19456,t=2,p=1${TEXT}");
    let made = database.create_user(TEXT, &hash, false, moment(0)).await.unwrap().unwrap();
    assert_eq!(database.user_to_verify(TEXT).await.unwrap(), Some((made, hash)));
    // The longest name, in characters of four bytes.
    let longest = "🚀".repeat(255);
    let made = user(&database, &longest).await;
    assert_eq!(database.user(&made.id).await.unwrap().unwrap().name, longest);
    // PostgreSQL cannot keep a NUL: asking for one must find nothing, and fail nothing.
    assert_eq!(database.user_to_verify("a\0b").await.unwrap(), None);
    assert_eq!(database.user("a\0b").await.unwrap(), None);
}
