//! Accounts of the Spanish-language API.

use enlace_api::database::{Account, Database, NewAccount, Unique, WriteError};

use crate::on_every_database;
use crate::world::{TEXT, World, moment, user};

on_every_database!(
    an_account_is_found_by_number_and_by_address,
    what_another_account_has_is_named,
    many_accounts_have_no_number_or_no_address,
    every_user_has_an_account,
);

fn new<'a>(name: &'a str, phone_number: Option<&'a str>, email: Option<&'a str>) -> NewAccount<'a> {
    NewAccount { name, phone_number, email, display_name: Some(TEXT), password_hash: "hash" }
}

async fn made(database: &Database, account: NewAccount<'_>) -> Account {
    database.create_account(account, moment(0)).await.unwrap()
}

async fn an_account_is_found_by_number_and_by_address(world: World) {
    let database = world.database().await;
    let account = made(&database, new("maria", Some("525550000001"), Some("María@Example.com"))).await;
    assert!(!account.user.administrator);
    assert_eq!(account.email.as_deref(), Some("María@Example.com"));
    for identifier in ["525550000001", "María@Example.com", "maría@EXAMPLE.COM"] {
        let found = database.account_by_identifier(identifier).await.unwrap();
        assert_eq!(found, Some((account.clone(), "hash".to_owned())), "{identifier}");
    }
    for identifier in ["maria", "525550000001 ", "52555000000", "maria@example.com", "", "a\0"] {
        assert_eq!(database.account_by_identifier(identifier).await.unwrap(), None, "{identifier}");
    }
    assert_eq!(database.account(&account.user.id).await.unwrap(), Some(account.clone()));
    // It is a user of the REST API as well.
    assert_eq!(database.user_to_verify("MARIA").await.unwrap().unwrap().0, account.user);
}

async fn what_another_account_has_is_named(world: World) {
    let database = world.database().await;
    made(&database, new("maria", Some("525550000001"), Some("maria@example.com"))).await;
    let cases = [
        (new("other", Some("525550000001"), None), Unique::PhoneNumber),
        (new("other", Some("525550000002"), Some("MARIA@example.com")), Unique::Email),
        (new("MARIA", Some("525550000002"), None), Unique::Name),
    ];
    for (account, unique) in cases {
        let error = database.create_account(account, moment(0)).await.unwrap_err();
        assert!(matches!(error, WriteError::Taken(taken) if taken == unique), "{account:?}: {error:?}");
    }
    // Nothing of them was stored.
    assert_eq!(database.users("", 10).await.unwrap().len(), 1);
}

async fn many_accounts_have_no_number_or_no_address(world: World) {
    let database = world.database().await;
    for number in 0..3 {
        let text = format!("52555000000{number}");
        made(&database, new(&text, Some(&text), None)).await;
        let text = format!("user{number}@example.com");
        made(&database, new(&text, None, Some(&text))).await;
    }
    assert_eq!(database.users("", 10).await.unwrap().len(), 6);
}

async fn every_user_has_an_account(world: World) {
    let database = world.database().await;
    let user = user(&database, "maria").await;
    let account = database.account(&user.id).await.unwrap();
    assert_eq!(account, Some(Account { user, phone_number: None, email: None, display_name: None }));
    assert_eq!(database.account("unknown").await.unwrap(), None);
}
