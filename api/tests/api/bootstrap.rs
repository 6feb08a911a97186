//! The first start.

use enlace_api::auth::{bootstrap_admin, local_token};
use enlace_api::database::Database;
use serde_json::json;

use crate::fixture::Api;

#[tokio::test]
async fn the_first_start_makes_one_administrator() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("enlace.db");
    let database = Database::open(&file).await.unwrap();
    let first = bootstrap_admin(&database).await.unwrap().unwrap();
    assert_eq!((first.user(), first.expose().len()), ("admin", 24));
    assert!(!format!("{first:?}").contains(first.expose()));
    assert!(bootstrap_admin(&database).await.unwrap().is_none());
    database.close().await;
    let database = Database::open(&file).await.unwrap();
    assert!(bootstrap_admin(&database).await.unwrap().is_none());
    let (user, hash) = database.user_to_verify("admin").await.unwrap().unwrap();
    assert!(user.administrator && !hash.contains(first.expose()));
    let passwords = enlace_api::auth::Passwords::default();
    assert!(passwords.verify(first.expose().to_owned(), Some(hash)).await.unwrap());
}

#[cfg(unix)]
#[tokio::test]
async fn secrets_on_disk_are_for_their_user_only() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let (file, token) = (folder.path().join("enlace.db"), folder.path().join("admin-token"));
    let database = Database::open(&file).await.unwrap();
    bootstrap_admin(&database).await.unwrap();
    local_token(&database, &token).await.unwrap();
    for file in [file, token] {
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600, "{file:?}");
    }
}

#[tokio::test]
async fn a_lost_local_token_is_replaced_and_opens_nothing_any_more() {
    let api = Api::start(&[]).await;
    let old = api.admin.clone();
    let api = api.restart(|root| std::fs::remove_file(root.join("data/admin-token")).unwrap()).await;
    assert_ne!(api.admin, old);
    assert_eq!(api.get("/v1/me").await.json()["user"]["name"], "admin");
    assert_eq!(api.call("GET", "/v1/me", &old, None).await.problem().0, 401);
    assert_eq!(api.call("GET", "/v1/me", &api.admin, None).await.json()["token"]["name"], json!("local"));
}
