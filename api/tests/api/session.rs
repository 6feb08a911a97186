//! `/v1/login`, `/v1/logout`, `/v1/me`.

use serde_json::json;

use crate::fixture::Api;

#[tokio::test]
async fn a_login_is_good_until_it_is_ended() {
    let api = Api::start(&[]).await;
    let (id, token) = api.user("maria").await;
    let me = api.call("GET", "/v1/me", &token, None).await.json();
    assert_eq!((&me["user"]["id"], &me["token"]["name"]), (&json!(id), &json!("login")));
    assert!(me["token"]["expiresAt"].is_string());
    assert!(!me["actions"].as_array().unwrap().contains(&json!("users:write")));
    assert_eq!(api.call("POST", "/v1/logout", &token, None).await.status, 204);
    assert_eq!(api.call("GET", "/v1/me", &token, None).await.problem().0, 401);
}

#[tokio::test]
async fn a_wrong_password_and_an_unknown_user_are_answered_alike() {
    let api = Api::start(&[]).await;
    let login = |name: &str, password: String| {
        api.call("POST", "/v1/login", "", Some(json!({"username": name, "password": password})))
    };
    let wrong = login("admin", "not the password".into()).await;
    let unknown = login("nobody", "nobody has this password".into()).await;
    let long = login("admin", "x".repeat(5000)).await;
    assert_eq!(wrong.problem(), (401, "Unauthorized".into()));
    assert_eq!((&wrong.text, wrong.status), (&unknown.text, unknown.status));
    assert_eq!((&wrong.text, wrong.status), (&long.text, long.status));
}
