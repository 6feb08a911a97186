//! `/v1/devices`: list, create, change, suspend, delete.

use enlace_api::directory::DeviceDirectory as _;
use enlace_contract::state::ClaimState;
use futures::stream::StreamExt as _;
use serde_json::json;

use crate::fixture::{Api, in_time, manifest};

#[tokio::test]
async fn a_created_device_is_a_file_and_runs() {
    let api = Api::start(&[]).await;
    let created = api
        .post("/v1/devices", json!({"metadata": {"name": "billing"}, "spec": {"displayName": "Billing"}}))
        .await;
    assert_eq!(created.status, 201, "{}", created.text);
    assert_eq!(created.headers["location"], "/v1/devices/default/billing");
    let body = created.json();
    assert_eq!(
        (&body["kind"], &body["metadata"]["namespace"]),
        (&json!("WhatsAppDevice"), &json!("default"))
    );
    assert!(body["metadata"]["uid"].is_string() && body["metadata"]["creationTimestamp"].is_string());
    api.stage.device("default/billing").await;
    let file = std::fs::read_to_string(api.file("billing.yaml")).unwrap();
    assert!(file.contains("enlace.dev/created-by: enlace-api"), "{file}");
    assert!(!file.contains("status") && !file.contains("uid:"), "{file}");
    assert_eq!(api.directory.file_errors(), []);
}

#[tokio::test]
async fn a_created_device_can_be_changed_suspended_and_resumed() {
    let api = Api::start(&[]).await;
    api.post("/v1/devices", json!({"metadata": {"name": "a", "namespace": "shop"}, "spec": {}})).await;
    let device = api.stage.device("shop/a").await;
    let path = "/v1/devices/shop/a";
    let patch = json!({"spec": {"displayName": "A", "sending": {"interval": "1s"}}});
    let changed = api.call("PATCH", path, &api.admin, Some(patch)).await.json();
    assert_eq!(changed["spec"]["displayName"], "A");
    assert_eq!(changed["spec"]["sending"]["interval"], "1s");
    let removed =
        api.call("PATCH", path, &api.admin, Some(json!({"spec": {"displayName": null}}))).await.json();
    assert!(removed["spec"].get("displayName").is_none(), "{removed}");
    let suspended = api.call("POST", &format!("{path}/suspend"), &api.admin, None).await;
    assert_eq!((suspended.status.as_u16(), &suspended.json()["status"]["phase"]), (200, &json!("Suspended")));
    device.stopped().await;
    let away = api.get(&format!("{path}/messages")).await;
    assert_eq!(away.problem(), (503, "DeviceAway".into()));
    assert_eq!(
        (&away.json()["phase"], &away.headers["retry-after"]),
        (&json!("Suspended"), &"60".parse().unwrap())
    );
    api.call("POST", &format!("{path}/resume"), &api.admin, None).await;
    api.stage.device("shop/a").await;
}

#[tokio::test]
async fn what_is_not_valid_is_refused_with_the_field() {
    let api = Api::start(&[]).await;
    for (body, wanted) in [
        (json!({"metadata": {"name": "a"}, "spec": {"phoneNumber": "abc"}}), "phoneNumber"),
        (json!({"metadata": {"name": "a"}, "spec": {"pairing": {"method": "PairingCode"}}}), "phoneNumber"),
        (json!({"metadata": {"name": "Big"}, "spec": {}}), "metadata.name"),
        (json!({"metadata": {"name": "a"}, "spec": {"webhook": 1}}), "spec.webhook"),
        (json!({"metadata": {"name": "a"}, "kind": "Pod", "spec": {}}), "kind"),
        (json!({"spec": {}}), "metadata"),
    ] {
        let answer = api.post("/v1/devices", body.clone()).await;
        assert_eq!(answer.problem(), (422, "Invalid".into()), "{body}");
        let detail = answer.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains(wanted), "{body}: {detail}");
    }
    api.post("/v1/devices", json!({"metadata": {"name": "a"}, "spec": {"phoneNumber": "525550000001"}}))
        .await;
    let patch = json!({"spec": {"phoneNumber": "525550000002"}});
    let changed = api.call("PATCH", "/v1/devices/default/a", &api.admin, Some(patch)).await;
    assert_eq!(changed.problem(), (422, "Invalid".into()));
    let metadata = json!({"metadata": {"labels": {}}});
    let changed = api.call("PATCH", "/v1/devices/default/a", &api.admin, Some(metadata)).await;
    assert_eq!(changed.problem().0, 422, "only the spec is changed");
}

#[tokio::test]
async fn a_device_of_a_file_is_changed_there() {
    let api = Api::start(&[("a.yaml", manifest("a", json!({})))]).await;
    let device = api.stage.device("default/a").await;
    let path = "/v1/devices/default/a";
    for (method, path, body) in [
        ("PATCH", path.to_owned(), Some(json!({"spec": {"displayName": "B"}}))),
        ("DELETE", path.to_owned(), None),
        ("POST", format!("{path}/suspend"), None),
    ] {
        let answer = api.call(method, &path, &api.admin, body).await;
        assert_eq!(answer.problem(), (409, "NotOurs".into()), "{method} {path}");
        let there = if method == "DELETE" { "remove it there" } else { "change it there" };
        assert_eq!(answer.json()["detail"], format!("default/a belongs to a.yaml: {there}"));
    }
    let again = api.post("/v1/devices", json!({"metadata": {"name": "a"}, "spec": {}})).await;
    assert_eq!(again.problem(), (409, "AlreadyExists".into()));
    assert!(*device.running.borrow());
}

#[tokio::test]
async fn a_file_that_a_person_added_to_is_not_rewritten() {
    let api = Api::start(&[]).await;
    api.post("/v1/devices", json!({"metadata": {"name": "a"}, "spec": {}})).await;
    let text = std::fs::read_to_string(api.file("a.yaml")).unwrap();
    api.write("a.yaml", &format!("{text}\n---\n{}\n", manifest("b", json!({}))));
    let answer = api.call("DELETE", "/v1/devices/default/a", &api.admin, None).await;
    assert_eq!(answer.problem(), (409, "NotOurs".into()));
}

#[tokio::test]
async fn delete_logs_out_and_erases() {
    let api = Api::start(&[]).await;
    api.post("/v1/devices", json!({"metadata": {"name": "a"}, "spec": {"phoneNumber": "525550000001"}}))
        .await;
    let device = api.stage.device("default/a").await;
    let deleted = api.call("DELETE", "/v1/devices/default/a", &api.admin, None).await;
    assert_eq!(deleted.status, 204, "{}", deleted.text);
    assert!(device.asked().iter().any(|asked| asked.path == "/v1/logout"));
    assert!(!*device.running.borrow());
    assert!(!api.data("default/a").exists() && !api.file("a.yaml").exists());
    assert_eq!(api.get("/v1/devices/default/a").await.problem(), (404, "NotFound".into()));
    // The name and the number are free, for another device.
    let again = api
        .post("/v1/devices", json!({"metadata": {"name": "a"}, "spec": {"phoneNumber": "525550000001"}}))
        .await;
    assert_eq!(again.status, 201, "{}", again.text);
    assert_ne!(api.stage.device("default/a").await.uid, device.uid);
}

#[tokio::test]
async fn a_device_that_cannot_be_unlinked_is_deleted_and_the_answer_says_what_is_left() {
    let api = Api::start(&[]).await;
    api.post("/v1/devices", json!({"metadata": {"name": "a"}, "spec": {}})).await;
    let device = api.stage.device("default/a").await;
    device.links("525550000001");
    device.claim(ClaimState::Granted).await;
    assert_eq!(api.post("/v1/devices/default/a/suspend", json!({})).await.status, 200);
    api.until("default/a", |device| !device.resource.status.as_ref().unwrap().is_true("PodReady")).await;
    let deleted = api.call("DELETE", "/v1/devices/default/a", &api.admin, None).await;
    assert_eq!(deleted.status, 200, "{}", deleted.text);
    let message =
        "default/a is deleted, but could not be unlinked: remove it on the phone under Linked devices";
    assert_eq!(deleted.json(), json!({"unlinked": false, "message": message}));
    assert!(!api.data("default/a").exists());
}

#[tokio::test]
async fn delete_with_keep_session_keeps_it_for_the_next_of_the_name() {
    let api = Api::start(&[]).await;
    let body = json!({"metadata": {"name": "a"}, "spec": {"deletionPolicy": "KeepSession"}});
    api.post("/v1/devices", body.clone()).await;
    let device = api.stage.device("default/a").await;
    assert_eq!(api.call("DELETE", "/v1/devices/default/a", &api.admin, None).await.status, 204);
    assert!(device.asked().is_empty() && !*device.running.borrow());
    assert!(api.data("default/a").join("session.db").exists());
    api.post("/v1/devices", body).await;
    assert_eq!(api.stage.device("default/a").await.uid, device.uid);
}

#[tokio::test]
async fn a_deletion_that_a_crash_cut_short_is_finished_at_the_next_start() {
    let api = Api::start(&[("a.yaml", manifest("a", json!({})))]).await;
    api.stage.device("default/a").await;
    let api = api
        .restart(|root| {
            std::fs::remove_file(root.join("manifests/a.yaml")).unwrap();
            let record = root.join("data/devices/default/a/device.json");
            let text = std::fs::read_to_string(&record).unwrap();
            std::fs::write(&record, text.replace("\"deleting\": false", "\"deleting\": true")).unwrap();
        })
        .await;
    assert!(!api.data("default/a").exists());
}

#[tokio::test]
async fn a_list_comes_in_pages() {
    let files = ["a", "b", "c"].map(|name| (name, manifest(name, json!({"suspend": true}))));
    let files = files.each_ref().map(|(name, text)| (format!("{name}.yaml"), text.clone()));
    let files: Vec<_> = files.iter().map(|(name, text)| (name.as_str(), text.clone())).collect();
    let api = Api::start(&files).await;
    let first = api.get("/v1/devices?limit=2").await.json();
    assert_eq!((first["items"].as_array().unwrap().len(), &first["next"]), (2, &json!("default/b")));
    let second = api.get("/v1/devices?limit=2&after=default/b").await.json();
    assert_eq!(second["items"][0]["metadata"]["name"], "c");
    assert!(second.get("next").is_none());
    assert_eq!(api.get("/v1/devices?limit=0").await.problem(), (400, "InvalidQuery".into()));
    assert_eq!(api.get("/v1/devices?limt=2").await.problem(), (400, "InvalidQuery".into()));
    assert_eq!(api.get("/v1/devices?namespace=shop").await.json()["items"], json!([]));
}

#[tokio::test]
async fn a_name_that_is_taken_says_nothing_of_whose_it_is() {
    let api = Api::start(&[("secret.yaml", manifest("a", json!({})))]).await;
    let (_, maria) = api.user("maria").await;
    let body = json!({"metadata": {"name": "a"}, "spec": {}});
    let taken = api.call("POST", "/v1/devices", &maria, Some(body.clone())).await;
    assert_eq!(taken.problem(), (409, "AlreadyExists".into()));
    assert_eq!(taken.json()["detail"], "the name is taken");
    let taken = api.post("/v1/devices", body).await;
    assert!(taken.json()["detail"].as_str().unwrap().contains("secret.yaml"), "{}", taken.text);
}

#[tokio::test]
async fn a_number_that_is_anothers_says_nothing_of_whose_it_is() {
    let api = Api::start(&[("a.yaml", manifest("hidden", json!({"phoneNumber": "525550000001"})))]).await;
    let (_, maria) = api.user("maria").await;
    let body = json!({"metadata": {"name": "mine"}, "spec": {"phoneNumber": "525550000001"}});
    let created = api.call("POST", "/v1/devices", &maria, Some(body)).await;
    assert_eq!(created.status, 201);
    let path = "/v1/devices/default/mine";
    let answers = [
        created,
        api.call("GET", path, &maria, None).await,
        api.call("GET", "/v1/devices", &maria, None).await,
        api.call("GET", &format!("{path}/messages"), &maria, None).await,
        api.call("GET", &format!("{path}/status"), &maria, None).await,
        api.call("POST", &format!("{path}/pair"), &maria, None).await,
    ];
    for answer in answers {
        assert!(answer.text.contains("the number belongs to another device"), "{}", answer.text);
        assert!(!answer.text.contains("hidden"), "{}", answer.text);
    }
    for path in [path.to_owned(), format!("{path}/messages")] {
        let answer = api.get(&path).await;
        assert!(answer.text.contains("the number belongs to default/hidden"), "{}", answer.text);
    }
}

#[tokio::test]
async fn what_is_the_servers_or_no_field_is_refused_and_not_ignored() {
    let api = Api::start(&[]).await;
    for (metadata, wanted) in [
        (json!({"name": "a", "uid": "u"}), "metadata.uid: is set by the server"),
        (json!({"name": "a", "resourceVersion": "1"}), "metadata.resourceVersion: is set by the server"),
        (json!({"name": "a", "finalizers": []}), "metadata.finalizers: is set by the server"),
        (json!({"name": "a", "label": {}}), "metadata.label: is not a field; the fields are name, namespace"),
        (json!({"name": 1}), "metadata.name: must be a text"),
        (json!({"name": "a", "labels": {"team": 1}}), "metadata.labels[team]: must be a text"),
        (json!({"name": "a", "labels": {"team": "a b"}}), "metadata.labels[team]: must be letters"),
        (json!({"name": "a", "labels": {"a b": "c"}}), "metadata.labels[a b]: the key must be"),
        (json!({"name": "a", "labels": {"Team.X/a": "c"}}), "metadata.labels[Team.X/a]: the key must be"),
        (json!({"name": "a", "labels": {"enlace.dev/created-by": "me"}}), "is set by the server"),
        (json!({"name": "a", "annotations": {"-": "c"}}), "metadata.annotations[-]: the key must be"),
        (json!({"name": "a", "annotations": []}), "metadata.annotations: must be a map of texts"),
        (json!([]), "metadata: must be a map of fields"),
    ] {
        let answer = api.post("/v1/devices", json!({"metadata": metadata, "spec": {}})).await;
        assert_eq!(answer.problem(), (422, "Invalid".into()), "{metadata}");
        let detail = answer.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains(wanted), "{metadata}: {detail}");
    }
    for (body, wanted) in [
        (json!({"metadata": {"name": "a"}, "spec": {}, "status": {}}), "status: is set by the server"),
        (json!({"metadata": {"name": "a"}, "spec": {}, "sepc": {}}), "sepc: is not a field"),
    ] {
        let answer = api.post("/v1/devices", body).await;
        assert_eq!(answer.problem(), (422, "Invalid".into()));
        assert!(answer.text.contains(wanted), "{}", answer.text);
    }
    assert_eq!(api.get("/v1/devices").await.json()["items"], json!([]));
    let labels = json!({"team": "billing_1.a", "example.org/tier": ""});
    let metadata = json!({"name": "a", "labels": labels, "annotations": {"note": "any text: ¡sí!"}});
    let created = api.post("/v1/devices", json!({"metadata": metadata, "spec": {}})).await;
    assert_eq!(created.status, 201, "{}", created.text);
    assert_eq!(created.json()["metadata"]["labels"]["team"], "billing_1.a");
}

#[tokio::test]
async fn a_parameter_that_a_route_does_not_have_is_refused_with_those_it_has() {
    let api = Api::start(&[("a.yaml", manifest("a", json!({})))]).await;
    let detail = async |method: &str, path: &str| {
        let answer = api.call(method, path, &api.admin, None).await;
        assert_eq!(answer.problem(), (400, "InvalidQuery".into()), "{path}");
        answer.json()["detail"].as_str().unwrap().to_owned()
    };
    assert_eq!(
        detail("GET", "/v1/devices?limit=2&limt=2").await,
        "limt: is not a parameter; the parameters are after, limit, namespace, number"
    );
    for (method, path) in [
        ("GET", "/v1/devices/default/a?watch=true"),
        ("POST", "/v1/devices/default/a/pair?watch=true"),
        ("GET", "/v1/events?watch=true"),
        ("GET", "/v1/me?watch=true"),
        ("GET", "/healthz?watch=true"),
    ] {
        assert_eq!(detail(method, path).await, "watch: is not a parameter; this route has none", "{path}");
    }
    assert_eq!(detail("GET", "/v1/devices?limit=few").await, "limit: must be a whole number from 1 to 500");
    assert_eq!(detail("GET", "/v1/devices?limit=501").await, "limit: must be a whole number from 1 to 500");
    assert_eq!(detail("GET", "/v1/tokens?all=yes").await, "all: must be true or false");
    // What a device may know is the device's to judge.
    api.stage.device("default/a").await;
    api.until("default/a", |device| device.resource.status.as_ref().unwrap().is_true("PodReady")).await;
    assert_eq!(api.get("/v1/devices/default/a/inbox?new=1").await.status, 200);
}

#[tokio::test]
async fn a_device_that_starts_is_not_spoken_of_as_a_pod_or_as_unreachable() {
    let api = Api::start(&[]).await;
    let mut changes = api.directory.watch();
    api.write("a.yaml", &manifest("a", json!({})));
    let said = in_time(async {
        let mut said = Vec::new();
        while let Some(change) = changes.next().await {
            let status = change.device().resource.status.clone().unwrap();
            let ready = status.is_true("PodReady");
            said.extend(status.conditions);
            if ready {
                break;
            }
        }
        said
    })
    .await;
    assert!(!said.is_empty());
    for condition in said {
        assert!(!condition.reason.contains("Unreachable"), "{condition:?}");
        assert!(condition.reason == "PodReady" || !condition.reason.contains("Pod"), "{condition:?}");
        assert!(!condition.message.contains("the pod"), "{condition:?}");
    }
}

#[tokio::test]
async fn a_user_says_nothing_of_pods_volumes_and_namespaces() {
    let api = Api::start(&[]).await;
    let (_, token) = api.user("maria").await;
    for (body, said) in [
        (
            json!({"metadata": {"name": "a", "namespace": "kube-system"}, "spec": {}}),
            "metadata.namespace: only administrators choose it; for users it is default",
        ),
        (
            json!({"metadata": {"name": "a"}, "spec": {"pod": {"image": "example.com/other:1"}}}),
            "spec.pod: only administrators set it",
        ),
        (
            json!({"metadata": {"name": "a"}, "spec": {"storage": {"size": "9Ti"}}}),
            "spec.storage: only administrators set it",
        ),
    ] {
        let refused = api.call("POST", "/v1/devices", &token, Some(body)).await;
        assert_eq!(refused.problem(), (403, "Forbidden".into()));
        assert_eq!(refused.json()["detail"], said);
    }
    let own = json!({"metadata": {"name": "own"}, "spec": {"displayName": "Own"}});
    assert_eq!(api.call("POST", "/v1/devices", &token, Some(own)).await.status, 201);
    for (field, value) in
        [("pod", json!({"image": "example.com/other:1"})), ("storage", json!({"size": "9Ti"}))]
    {
        let patch = json!({"spec": {field: value}});
        let refused = api.call("PATCH", "/v1/devices/default/own", &token, Some(patch)).await;
        assert_eq!(refused.problem(), (403, "Forbidden".into()));
        assert_eq!(refused.json()["detail"], format!("spec.{field}: only administrators set it"));
    }
}
