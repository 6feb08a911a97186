//! `/v1/tokens`.

use serde_json::json;

use crate::fixture::{Api, manifest};

#[tokio::test]
async fn a_value_is_shown_once_and_stored_nowhere() {
    let api = Api::start(&[]).await;
    let created = api.post("/v1/tokens", json!({"name": "invoices", "expiresIn": "720h"})).await;
    assert_eq!(created.status, 201);
    let (value, id) = (created.json()["value"].as_str().unwrap().to_owned(), created.json()["id"].clone());
    assert_eq!(value.len(), 64);
    let listed = api.get("/v1/tokens").await;
    assert!(listed.json()["items"].as_array().unwrap().iter().any(|token| token["id"] == id));
    assert!(!listed.text.contains(&value) && !listed.text.contains("hash"));
    let stored = std::fs::read(api.database_file("enlace.db")).unwrap();
    let log = std::fs::read(api.database_file("enlace.db-wal")).unwrap_or_default();
    for bytes in [stored, log] {
        assert!(!bytes.windows(64).any(|window| window == value.as_bytes()));
    }
}

#[tokio::test]
async fn an_ended_token_opens_nothing() {
    let api = Api::start(&[]).await;
    let created = api.post("/v1/tokens", json!({"name": "t"})).await.json();
    let (value, id) = (created["value"].as_str().unwrap(), created["id"].as_str().unwrap());
    assert_eq!(api.call("GET", "/v1/me", value, None).await.status, 200);
    let path = format!("/v1/tokens/{id}");
    assert_eq!(api.call("DELETE", &path, &api.admin, None).await.status, 204);
    assert_eq!(api.call("GET", "/v1/me", value, None).await.problem().0, 401);
    assert_eq!(api.call("DELETE", &path, &api.admin, None).await.problem(), (404, "NotFound".into()));
    let short = api.post("/v1/tokens", json!({"name": "t", "expiresIn": "1ms"})).await.json();
    let ends: jiff::Timestamp = short["expiresAt"].as_str().unwrap().parse().unwrap();
    // It tells its own end; nothing else does.
    let left = ends.duration_since(jiff::Timestamp::now()).try_into().unwrap_or_default();
    tokio::time::sleep(left).await;
    let ended = api.call("GET", "/v1/me", short["value"].as_str().unwrap(), None).await;
    assert_eq!(ended.problem().0, 401);
}

#[tokio::test]
async fn a_token_gives_no_more_than_it_has() {
    let api = Api::start(&[("a.yaml", manifest("a", json!({}))), ("b.yaml", manifest("b", json!({})))]).await;
    let narrow =
        api.token(json!({"actions": ["tokens:write", "messages:send"], "devices": ["default/a"]})).await;
    let more = |body| api.call("POST", "/v1/tokens", &narrow, Some(body));
    let refused = more(json!({"name": "t", "actions": ["devices:read"]})).await;
    assert_eq!(refused.problem(), (403, "Forbidden".into()));
    assert_eq!(more(json!({"name": "t", "devices": ["default/b"]})).await.problem().0, 404);
    let same = more(json!({"name": "t"})).await.json();
    assert_eq!(same["actions"], json!(["tokens:write", "messages:send"]));
    assert_eq!(same["devices"][0]["key"], "default/a");
}

#[tokio::test]
async fn users_end_their_own_tokens_and_administrators_any() {
    let api = Api::start(&[]).await;
    let (_, maria) = api.user("maria").await;
    let (_, jose) = api.user("jose").await;
    let id = api.call("GET", "/v1/me", &maria, None).await.json()["token"]["id"].as_str().unwrap().to_owned();
    let path = format!("/v1/tokens/{id}");
    assert_eq!(api.call("DELETE", &path, &jose, None).await.problem().0, 404);
    assert_eq!(api.call("GET", "/v1/tokens?all=true", &jose, None).await.problem().0, 403);
    assert_eq!(api.get("/v1/tokens?all=true").await.json()["items"].as_array().unwrap().len(), 3);
    assert_eq!(api.call("DELETE", &path, &api.admin, None).await.status, 204);
}

#[tokio::test]
async fn a_list_of_tokens_comes_in_pages() {
    let api = Api::start(&[]).await;
    for _ in 0..3 {
        api.token(json!({})).await;
    }
    let (mut seen, mut after) = (Vec::new(), String::new());
    loop {
        let page = api.get(&format!("/v1/tokens?limit=3&after={after}")).await.json();
        seen.extend(page["items"].as_array().unwrap().iter().map(|token| token["id"].to_string()));
        match page["next"].as_str() {
            Some(next) => after = next.to_owned(),
            None => break,
        }
    }
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 4);
}

#[tokio::test]
async fn nonsense_is_refused_with_the_field() {
    let api = Api::start(&[]).await;
    for body in [
        json!({"name": ""}),
        json!({"name": "t", "devices": []}),
        json!({"name": "t", "actions": ["everything"]}),
        json!({"name": "t", "expiresIn": "0s"}),
        json!({"name": "t", "expires": "1h"}),
    ] {
        assert_eq!(api.post("/v1/tokens", body.clone()).await.problem().0, 422, "{body}");
    }
}

/// The identifier of a token.
async fn id(api: &Api, token: &str) -> String {
    let me = api.call("GET", "/v1/me", token, None).await.json();
    me["token"]["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_narrowed_token_sees_and_ends_no_wider_one() {
    let api = Api::start(&[("a.yaml", manifest("a", json!({}))), ("b.yaml", manifest("b", json!({})))]).await;
    let of = |devices: &[&str], actions: &[&str]| api.token(json!({"devices": devices, "actions": actions}));
    let narrow = of(&["default/a"], &["tokens:write", "messages:send"]).await;
    let narrower = of(&["default/a"], &["messages:send"]).await;
    let wider = [
        api.admin.clone(),
        api.token(json!({"actions": ["messages:send"]})).await,
        api.token(json!({"devices": ["default/a"]})).await,
        of(&["default/a", "default/b"], &["messages:send"]).await,
        of(&["default/a"], &["messages:send", "users:write"]).await,
    ];
    let listed = api.call("GET", "/v1/tokens", &narrow, None).await.json();
    let listed = listed["items"].as_array().unwrap();
    let mut listed: Vec<_> = listed.iter().map(|token| token["id"].as_str().unwrap().to_owned()).collect();
    listed.sort();
    let mut own = vec![id(&api, &narrow).await, id(&api, &narrower).await];
    own.sort();
    assert_eq!(listed, own);
    let page = api.call("GET", "/v1/tokens?limit=1", &narrow, None).await.json();
    assert_eq!((page["items"][0]["id"].as_str(), page["next"].as_str()), (Some(&*own[0]), Some(&*own[0])));
    for token in &wider {
        let path = format!("/v1/tokens/{}", id(&api, token).await);
        assert_eq!(api.call("DELETE", &path, &narrow, None).await.problem(), (404, "NotFound".into()));
        assert_eq!(api.call("GET", "/v1/me", token, None).await.status, 200);
    }
    for token in [&narrower, &narrow] {
        let path = format!("/v1/tokens/{}", id(&api, token).await);
        assert_eq!(api.call("DELETE", &path, &narrow, None).await.status, 204);
    }
}

#[tokio::test]
async fn a_narrowed_token_of_an_administrator_reaches_no_tokens_of_others() {
    let api = Api::start(&[]).await;
    let (_, maria) = api.user("maria").await;
    let token = api.token(json!({"actions": ["users:write", "tokens:write"]})).await;
    let listed = api.call("GET", "/v1/tokens?all=true", &token, None).await;
    assert_eq!(listed.problem(), (403, "Forbidden".into()));
    let path = format!("/v1/tokens/{}", id(&api, &maria).await);
    assert_eq!(api.call("DELETE", &path, &token, None).await.problem(), (404, "NotFound".into()));
}

#[tokio::test]
async fn a_narrowed_token_that_ends_makes_none_that_outlives_it() {
    let api = Api::start(&[]).await;
    let narrow = api.token(json!({"actions": ["tokens:write"], "expiresIn": "1h"})).await;
    let make = |body| api.call("POST", "/v1/tokens", &narrow, Some(body));
    let ends = api.call("GET", "/v1/me", &narrow, None).await.json()["token"]["expiresAt"].clone();
    assert_eq!(make(json!({"name": "t"})).await.json()["expiresAt"], ends);
    assert_eq!(make(json!({"name": "t", "expiresIn": "2h"})).await.problem(), (403, "Forbidden".into()));
    assert_eq!(make(json!({"name": "t", "expiresIn": "1m"})).await.status, 201);
}
