//! `/v1/users`.

use serde_json::json;

use crate::fixture::{Api, manifest};

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

#[tokio::test]
async fn a_name_is_one_whatever_its_case() {
    let api = Api::start(&[]).await;
    api.user("maria").await;
    let again = api.post("/v1/users", json!({"name": "Maria", "password": "a long password"})).await;
    assert_eq!(again.problem(), (409, "AlreadyExists".into()));
    let login = json!({"username": "MARIA", "password": "a long password"});
    assert_eq!(api.call("POST", "/v1/login", "", Some(login)).await.json()["user"]["name"], "maria");
}

#[tokio::test]
async fn a_narrowed_token_changes_no_user_whatever_it_is_narrowed_to() {
    let api = Api::start(&[("a.yaml", manifest("a", json!({})))]).await;
    let (maria, login) = api.user("maria").await;
    let own = api.get("/v1/me").await.json()["user"]["id"].as_str().unwrap().to_owned();
    let ana = json!({"name": "ana", "password": "a long password", "administrator": true});
    let ana = api.post("/v1/users", ana).await.json()["id"].as_str().unwrap().to_owned();
    let new = |administrator: bool| json!({"name": "eve", "password": "a long password", "administrator": administrator});
    let password = json!({"currentPassword": "a long password", "password": "another password"});
    let (user, administrator) = (format!("/v1/users/{maria}"), format!("/v1/users/{ana}"));
    for narrowed in [
        json!({"actions": ["users:write"]}),
        json!({"actions": enlace_api::auth::Action::ALL}),
        json!({"devices": ["default/a"]}),
        json!({"actions": ["users:write"], "devices": ["default/a"]}),
    ] {
        let token = api.token(narrowed.clone()).await;
        for (method, path, body) in [
            ("POST", "/v1/users", Some(new(false))),
            ("POST", "/v1/users", Some(new(true))),
            ("PUT", &format!("{user}/password"), Some(password.clone())),
            ("PUT", &format!("/v1/users/{own}/password"), Some(password.clone())),
            ("DELETE", &user, None),
            ("DELETE", &administrator, None),
        ] {
            let refused = api.call(method, path, &token, body).await;
            assert_eq!(refused.problem(), (403, "Forbidden".into()), "{narrowed} {method} {path}");
            let detail = refused.json()["detail"].to_string();
            assert!(detail.contains("narrowed") && detail.contains("log in"), "{detail}");
        }
    }
    let of_maria = json!({"name": "t", "actions": ["devices:read"]});
    let of_maria = api.call("POST", "/v1/tokens", &login, Some(of_maria)).await.json();
    let path = format!("{user}/password");
    let refused = api.call("PUT", &path, of_maria["value"].as_str().unwrap(), Some(password.clone())).await;
    assert_eq!(refused.problem(), (403, "Forbidden".into()), "its own password");
    assert_eq!(api.get("/v1/users").await.json()["items"].as_array().unwrap().len(), 3);
    assert_eq!(api.call("PUT", &path, &login, Some(password)).await.status, 204);
    assert_eq!(api.call("DELETE", &administrator, &api.admin, None).await.status, 204);
}

#[tokio::test]
async fn a_narrowed_token_lists_users_when_it_may() {
    let api = Api::start(&[("a.yaml", manifest("a", json!({})))]).await;
    let some = api.token(json!({"actions": ["users:write"]})).await;
    assert_eq!(api.call("GET", "/v1/users", &some, None).await.status, 200);
    let of_device = api.token(json!({"devices": ["default/a"]})).await;
    assert_eq!(api.call("GET", "/v1/users", &of_device, None).await.problem(), (403, "Forbidden".into()));
}
