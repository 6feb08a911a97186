//! `/v1/users`.

use serde_json::json;

use crate::fixture::Api;

#[tokio::test]
async fn users_are_created_listed_and_deleted() {
    let api = Api::start(&[]).await;
    let (id, token) = api.user("maria").await;
    let listed = api.get("/v1/users").await;
    let names: Vec<_> =
        listed.json()["items"].as_array().unwrap().iter().map(|user| user["name"].clone()).collect();
    assert_eq!(names, ["admin", "maria"]);
    assert!(!listed.text.contains("argon2"));
    let again = api.post("/v1/users", json!({"name": "maria", "password": "a long password"})).await;
    assert_eq!(again.problem(), (409, "AlreadyExists".into()));
    assert_eq!(api.call("DELETE", &format!("/v1/users/{id}"), &api.admin, None).await.status, 204);
    assert_eq!(api.call("GET", "/v1/me", &token, None).await.problem().0, 401, "its tokens went with it");
}

#[tokio::test]
async fn the_last_administrator_stays() {
    let api = Api::start(&[]).await;
    let id = api.get("/v1/me").await.json()["user"]["id"].as_str().unwrap().to_owned();
    let refused = api.call("DELETE", &format!("/v1/users/{id}"), &api.admin, None).await;
    assert_eq!(refused.problem(), (409, "LastAdministrator".into()));
}

#[tokio::test]
async fn the_own_password_needs_the_old_one_and_ends_other_logins() {
    let api = Api::start(&[]).await;
    let (id, first) = api.user("maria").await;
    let login = json!({"username": "maria", "password": "a long password"});
    let second =
        api.call("POST", "/v1/login", "", Some(login)).await.json()["token"].as_str().unwrap().to_owned();
    let path = format!("/v1/users/{id}/password");
    let change = |current: &str| json!({"currentPassword": current, "password": "another password"});
    let wrong = api.call("PUT", &path, &first, Some(change("a wrong password"))).await;
    assert_eq!(wrong.problem(), (403, "WrongPassword".into()));
    assert_eq!(api.call("PUT", &path, &first, Some(change("a long password"))).await.status, 204);
    assert_eq!(api.call("GET", "/v1/me", &first, None).await.status, 200);
    assert_eq!(api.call("GET", "/v1/me", &second, None).await.problem().0, 401);
    // An administrator needs no old one; every login ends.
    let by_admin = json!({"password": "a third password"});
    assert_eq!(api.call("PUT", &path, &api.admin, Some(by_admin.clone())).await.status, 204);
    assert_eq!(api.call("GET", "/v1/me", &first, None).await.problem().0, 401);
    let (_, other) = api.user("jose").await;
    assert_eq!(api.call("PUT", &path, &other, Some(by_admin)).await.problem().0, 403);
}

#[tokio::test]
async fn nonsense_is_refused() {
    let api = Api::start(&[]).await;
    for (name, password) in [("", "a long password"), ("a b", "a long password"), ("x", "short")] {
        let answer = api.post("/v1/users", json!({"name": name, "password": password})).await;
        assert_eq!(answer.problem(), (422, "Invalid".into()), "{name:?}");
    }
}
