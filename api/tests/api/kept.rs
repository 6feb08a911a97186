//! Data outlives its declaration, and is given back to whom it belongs only.

use enlace_contract::state::ClaimState;
use serde_json::{Value, json};

use crate::device::Played;
use crate::fixture::{Answer, Api, manifest};

const NUMBER: &str = "525550000001";

/// A manifest of the device `billing` of a user.
fn manifest_of(owner: &str) -> String {
    let mut manifest: Value = serde_json::from_str(&manifest("billing", json!({}))).unwrap();
    manifest["metadata"]["labels"] = json!({ "enlace.dev/owner": owner });
    manifest.to_string()
}

async fn create(api: &Api, token: &str, spec: Value) -> Answer {
    let body = json!({ "metadata": { "name": "billing" }, "spec": spec });
    api.call("POST", "/v1/devices", token, Some(body)).await
}

/// Whatever a plain user declares under the name, it is taken, and nothing is started.
async fn is_taken_for(api: &Api, token: &str) {
    let starts = api.stage.starts.borrow().len();
    for spec in [
        json!({}),
        json!({ "phoneNumber": NUMBER }),
        json!({ "phoneNumber": "525550000002" }),
        json!({ "deletionPolicy": "KeepSession" }),
        json!({ "suspend": true }),
    ] {
        let refused = create(api, token, spec).await;
        assert_eq!(refused.problem(), (409, "AlreadyExists".into()));
        assert_eq!(refused.json()["detail"], "the name is taken");
    }
    assert_eq!(api.stage.starts.borrow().len(), starts);
}

async fn links(api: &Api) -> Played {
    let device = api.stage.device("default/billing").await;
    device.links(NUMBER);
    device.claim(ClaimState::Granted).await;
    api.until_phase("default/billing", "Connected").await;
    device
}

/// A linked device that a file declared, with the file gone.
async fn of_a_file(manifest: String) -> (Api, Played) {
    let api = Api::start(&[("billing.yaml", manifest)]).await;
    let device = links(&api).await;
    std::fs::remove_file(api.file("billing.yaml")).unwrap();
    api.until_gone("default/billing").await;
    (api, device)
}

/// A linked device that a user created and deleted, with its session kept.
async fn of_a_user(api: &Api, token: &str) -> Played {
    assert_eq!(create(api, token, json!({ "deletionPolicy": "KeepSession" })).await.status, 201);
    let device = links(api).await;
    let deleted = api.call("DELETE", "/v1/devices/default/billing", token, None).await;
    assert_eq!(deleted.status, 204, "{}", deleted.text);
    device
}

/// The device runs again, as the one that it was.
async fn is_back(api: &Api, before: &Played) {
    let after = api.stage.device("default/billing").await;
    assert_eq!((&after.uid, &after.directory), (&before.uid, &before.directory));
    let device = api.until("default/billing", |device| device.number().is_some()).await;
    assert_eq!(device.number().unwrap().as_str(), NUMBER);
}

#[tokio::test]
async fn what_is_kept_of_a_file_is_no_users_and_comes_back_with_a_file() {
    let (api, before) = of_a_file(manifest("billing", json!({}))).await;
    let (_, maria) = api.user("maria").await;
    is_taken_for(&api, &maria).await;
    let refused = create(&api, &api.admin, json!({})).await;
    assert_eq!(refused.problem(), (409, "AlreadyExists".into()));
    let detail = refused.json()["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("data of an earlier device that no user had are kept under it"), "{detail}");
    let api = api.restart(|_| ()).await;
    is_taken_for(&api, &maria).await;
    api.write("another.yaml", &manifest("billing", json!({})));
    is_back(&api, &before).await;
}

#[tokio::test]
async fn the_moment_in_which_a_file_is_renamed_opens_its_name_to_nobody() {
    let api = Api::start(&[("billing.yaml", manifest("billing", json!({})))]).await;
    let (_, maria) = api.user("maria").await;
    let before = links(&api).await;
    std::fs::rename(api.file("billing.yaml"), api.file("billing.yaml~")).unwrap();
    // While it stops, and when it has.
    is_taken_for(&api, &maria).await;
    api.until_gone("default/billing").await;
    is_taken_for(&api, &maria).await;
    std::fs::rename(api.file("billing.yaml~"), api.file("renamed.yaml")).unwrap();
    is_back(&api, &before).await;
}

#[tokio::test]
async fn what_is_kept_of_a_user_is_given_back_to_that_user_only() {
    let api = Api::start(&[]).await;
    let ((maria, token), (_, other)) = (api.user("maria").await, api.user("other").await);
    let before = of_a_user(&api, &token).await;
    is_taken_for(&api, &other).await;
    let refused = create(&api, &api.admin, json!({})).await;
    assert_eq!(refused.problem(), (409, "AlreadyExists".into()));
    assert!(refused.json()["detail"].as_str().unwrap().contains(&format!("user {maria} created")));
    assert_eq!(create(&api, &token, json!({ "deletionPolicy": "KeepSession" })).await.status, 201);
    is_back(&api, &before).await;
    // An administrator does it for the user.
    assert_eq!(api.call("DELETE", "/v1/devices/default/billing", &token, None).await.status, 204);
    let labels = json!({ "enlace.dev/owner": maria });
    let body = json!({ "metadata": { "name": "billing", "labels": labels }, "spec": {} });
    assert_eq!(api.post("/v1/devices", body).await.status, 201);
    is_back(&api, &before).await;
    assert_eq!(api.call("GET", "/v1/devices/default/billing", &token, None).await.status, 200);
}

#[tokio::test]
async fn a_file_for_a_user_keeps_its_data_for_that_user() {
    let (api, before) = of_a_file(manifest("billing", json!({}))).await;
    let ((maria, token), (_, other)) = (api.user("maria").await, api.user("other").await);
    // The administrator gives the device to a user, in the file, while it runs.
    api.write("billing.yaml", &manifest("billing", json!({})));
    is_back(&api, &before).await;
    api.write("billing.yaml", &manifest_of(&maria));
    api.until("default/billing", |device| device.resource.metadata.labels.is_some()).await;
    std::fs::remove_file(api.file("billing.yaml")).unwrap();
    api.until_gone("default/billing").await;
    is_taken_for(&api, &other).await;
    assert_eq!(create(&api, &token, json!({})).await.status, 201);
    is_back(&api, &before).await;
}

#[tokio::test]
async fn a_file_takes_over_what_a_user_left_and_its_owner_is_the_files_then() {
    let api = Api::start(&[]).await;
    let (_, token) = api.user("maria").await;
    let before = of_a_user(&api, &token).await;
    api.write("billing.yaml", &manifest("billing", json!({})));
    is_back(&api, &before).await;
    std::fs::remove_file(api.file("billing.yaml")).unwrap();
    api.until_gone("default/billing").await;
    is_taken_for(&api, &token).await;
}

#[tokio::test]
async fn what_does_not_say_whose_it_is_is_no_users() {
    let api = Api::start(&[]).await;
    let (_, token) = api.user("maria").await;
    let before = of_a_user(&api, &token).await;
    let record = api.data("default/billing").join("device.json");
    let mut value: Value = serde_json::from_slice(&std::fs::read(&record).unwrap()).unwrap();
    for field in ["owner", "declaredBy", "claim"] {
        assert!(value.as_object_mut().unwrap().remove(field).is_some(), "{value}");
    }
    std::fs::write(&record, value.to_string()).unwrap();
    is_taken_for(&api, &token).await;
    api.write("billing.yaml", &manifest("billing", json!({})));
    is_back(&api, &before).await;
}

#[tokio::test]
async fn what_could_not_be_erased_is_nobodys() {
    let api = Api::start(&[]).await;
    let (_, token) = api.user("maria").await;
    of_a_user(&api, &token).await;
    let record = api.data("default/billing").join("device.json");
    let text = std::fs::read_to_string(&record).unwrap();
    std::fs::write(&record, text.replace("\"deleting\": false", "\"deleting\": true")).unwrap();
    is_taken_for(&api, &token).await;
    api.write("a.yaml", &manifest("billing", json!({})));
    api.directory.rescan().await;
    assert!(api.directory.file_errors()[0].message.contains("could not be removed"));
}
