//! What callers change.

use enlace_api::directory::{DeviceDirectory as _, DirectoryError, Managed};
use enlace_crds::manifest;
use http::Method;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::fixture::{Fixture, in_time, key, ours, resource};

fn device(key: &str, spec: Value) -> enlace_crds::WhatsAppDevice {
    manifest::from_value(resource(key, spec, json!({}))).unwrap()
}

fn stored(fixture: &Fixture, name: &str) -> Value {
    fixture.cluster.object("whatsappdevices", "shop", name).unwrap()
}

#[tokio::test]
async fn a_created_device_has_the_mark_and_is_known_when_the_answer_comes() {
    let fixture = Fixture::of(vec![]).await;
    let mut new = device("shop/a", json!({ "displayName": "Billing" }));
    new.metadata.labels = Some([("enlace.dev/owner".to_owned(), "user-1".to_owned())].into());
    new.metadata.finalizers = Some(vec!["somebody/else".to_owned()]);
    let created = fixture.directory.create(new).await.unwrap();
    assert_eq!(created.managed, Managed::ByApi);
    assert_eq!(*fixture.directory.get(&key("shop/a")).await.unwrap(), *created);
    let metadata = &stored(&fixture, "a")["metadata"];
    assert_eq!(
        metadata["labels"],
        json!({ "enlace.dev/created-by": "enlace-api", "enlace.dev/owner": "user-1" })
    );
    assert_eq!(metadata["finalizers"], Value::Null);
}

#[tokio::test]
async fn what_the_api_server_refuses_is_told_in_its_words() {
    let fixture = Fixture::of(vec![ours("shop/a", json!({}))]).await;
    let create = async |name: &str| fixture.directory.create(device(name, json!({}))).await.unwrap_err();
    let exists = create("shop/a").await;
    assert!(matches!(exists, DirectoryError::AlreadyExists { .. }), "{exists}");
    let nowhere = create("nowhere/a").await;
    assert!(
        matches!(&nowhere, DirectoryError::Invalid(text) if text.contains("no namespace nowhere")),
        "{nowhere}"
    );
    let quota = "whatsappdevices.enlace.dev \"b\" is forbidden: exceeded quota: devices, limited: 5";
    fixture.cluster.refuse(Method::POST, json!({ "code": 403, "reason": "Forbidden", "message": quota }));
    let full = create("shop/b").await;
    assert!(matches!(&full, DirectoryError::Invalid(text) if text == quota), "{full}");
    fixture.cluster.refuse(
        Method::POST,
        json!({ "code": 422, "reason": "Invalid", "message": "invalid", "details": { "causes": [
            { "reason": "FieldValueInvalid", "field": "spec.phoneNumber", "message": "is wrong" }] } }),
    );
    let invalid = create("shop/b").await;
    assert!(
        matches!(&invalid, DirectoryError::Invalid(text) if text == "spec.phoneNumber: is wrong"),
        "{invalid}"
    );
}

#[tokio::test]
async fn a_change_is_a_merge_patch_of_the_spec() {
    let fixture = Fixture::of(vec![ours("shop/a", json!({ "displayName": "A", "suspend": true }))]).await;
    let changed = fixture.directory.update(&key("shop/a"), json!({ "displayName": null })).await.unwrap();
    assert_eq!(changed.resource.spec.display_name, None);
    assert!(changed.resource.spec.suspend);
    let resumed = fixture.directory.set_suspended(&key("shop/a"), false).await.unwrap();
    assert!(!resumed.resource.spec.suspend);
    assert_eq!(stored(&fixture, "a")["spec"], json!({ "suspend": false }));
}

#[tokio::test]
async fn a_change_that_the_schema_does_not_take_is_never_sent() {
    let fixture = Fixture::of(vec![ours("shop/a", json!({ "phoneNumber": "525550000001" }))]).await;
    for (patch, path) in [
        (json!({ "phoneNumber": "525550000002" }), "spec.phoneNumber"),
        (json!({ "displayname": "B" }), "displayname"),
    ] {
        let refused = fixture.directory.update(&key("shop/a"), patch).await.unwrap_err();
        assert!(matches!(&refused, DirectoryError::Invalid(text) if text.contains(path)), "{refused}");
    }
    assert!(!fixture.cluster.requests().iter().any(|request| request.starts_with("PATCH")));
}

#[tokio::test]
async fn a_device_of_a_manifest_is_changed_there_and_can_be_paired_here() {
    let fixture = Fixture::of(vec![resource("shop/a", json!({}), json!({}))]).await;
    let a = key("shop/a");
    let not_ours = |error: DirectoryError| matches!(error, DirectoryError::NotOurs { .. });
    assert!(not_ours(fixture.directory.update(&a, json!({ "displayName": "B" })).await.unwrap_err()));
    assert!(not_ours(fixture.directory.set_suspended(&a, true).await.unwrap_err()));
    assert!(not_ours(fixture.directory.delete(&a).await.unwrap_err()));
    let at: Timestamp = "2026-01-02T03:04:05Z".parse().unwrap();
    fixture.directory.request_pairing(&a, at).await.unwrap();
    let annotations = |fixture: &Fixture| stored(fixture, "a")["metadata"]["annotations"].clone();
    assert_eq!(annotations(&fixture), json!({ "enlace.dev/pair-requested": "2026-01-02T03:04:05Z" }));
    // An older request changes nothing.
    fixture.directory.request_pairing(&a, Timestamp::UNIX_EPOCH).await.unwrap();
    assert_eq!(annotations(&fixture), json!({ "enlace.dev/pair-requested": "2026-01-02T03:04:05Z" }));
    // One of a far future is a slip, which must not stand in the way.
    let slip =
        json!({ "metadata": { "annotations": { "enlace.dev/pair-requested": "2062-01-02T03:04:05Z" } } });
    fixture.cluster.change("whatsappdevices", "shop", "a", &slip);
    fixture.directory.request_pairing(&a, at).await.unwrap();
    assert_eq!(annotations(&fixture), json!({ "enlace.dev/pair-requested": "2026-01-02T03:04:05Z" }));
}

#[tokio::test]
async fn a_write_that_others_come_before_is_tried_again_on_what_is_there_then() {
    let fixture = Fixture::of(vec![ours("shop/a", json!({}))]).await;
    fixture.cluster.interrupt(2);
    let changed = fixture.directory.update(&key("shop/a"), json!({ "displayName": "B" })).await.unwrap();
    assert_eq!(changed.resource.spec.display_name.as_deref(), Some("B"));
    fixture.cluster.interrupt(usize::MAX);
    let busy = fixture.directory.update(&key("shop/a"), json!({ "displayName": "C" })).await.unwrap_err();
    assert!(
        matches!(&busy, DirectoryError::Unavailable { detail, .. } if detail.contains("others")),
        "{busy}"
    );
    assert_eq!(stored(&fixture, "a")["spec"]["displayName"], "B");
}

#[tokio::test]
async fn a_deleted_device_is_gone_when_the_answer_comes() {
    let mut a = ours("shop/a", json!({}));
    a["metadata"]["finalizers"] = json!(["enlace.dev/logout"]);
    let fixture = Fixture::of(vec![a, ours("shop/b", json!({}))]).await;
    fixture.directory.delete(&key("shop/b")).await.unwrap();
    assert!(matches!(fixture.directory.get(&key("shop/b")).await, Err(DirectoryError::NotFound(_))));
    // One with a finalizer goes when the operator has unlinked it.
    let deletion = tokio::spawn({
        let directory = fixture.directory.clone();
        async move { directory.delete(&key("shop/a")).await }
    });
    fixture.until("shop/a", |device| device.resource.metadata.deletion_timestamp.is_some()).await;
    assert!(!deletion.is_finished());
    fixture.cluster.remove("whatsappdevices", "shop", "a");
    in_time(deletion).await.unwrap().unwrap();
    let unknown = fixture.directory.delete(&key("shop/a")).await.unwrap_err();
    assert!(matches!(unknown, DirectoryError::NotFound(_)), "{unknown}");
}
