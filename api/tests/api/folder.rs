//! The folder of manifests: files come, change, break, go and come back.

use enlace_api::directory::DeviceDirectory as _;
use serde_json::json;

use crate::fixture::{Api, in_time, manifest};

#[tokio::test]
async fn the_devices_of_the_folder_run() {
    let api = Api::start(&[
        ("a.yaml", manifest("a", json!({"displayName": "First"}))),
        (
            "b.yml",
            format!("---\n{}\n---\n{}\n", manifest("b", json!({})), manifest("c", json!({"suspend": true}))),
        ),
        (".hidden.yaml", "broken: [".into()),
        ("notes.txt", "broken: [".into()),
    ])
    .await;
    let a = api.stage.device("default/a").await;
    api.stage.device("default/b").await;
    assert_eq!(a.config.borrow().display_name.as_deref(), Some("First"));
    api.until_phase("default/c", "Suspended").await;
    assert_eq!(api.directory.file_errors(), []);
    a.shows_code();
    api.until_phase("default/a", "AwaitingScan").await;
}

#[tokio::test]
async fn a_new_file_starts_its_device() {
    let api = Api::start(&[]).await;
    api.write("a.yaml", &manifest("a", json!({})));
    api.stage.device("default/a").await;
}

#[tokio::test]
async fn a_changed_file_changes_the_running_device() {
    let api = Api::start(&[("a.yaml", manifest("a", json!({})))]).await;
    let device = api.stage.device("default/a").await;
    api.write("a.yaml", &manifest("a", json!({"sending": {"interval": "7s"}})));
    let mut config = device.config.subscribe();
    in_time(config.wait_for(|config| config.sending.interval.to_string() == "7s")).await.unwrap();
    let device = api.until("default/a", |device| device.resource.metadata.generation == Some(2)).await;
    assert_eq!(device.resource.spec.sending.interval, "7s");
    assert_eq!(*api.stage.starts.borrow(), ["default/a"], "it was not restarted");
}

#[tokio::test]
async fn a_file_that_breaks_keeps_what_it_declared_and_stops_nobody() {
    let api = Api::start(&[("a.yaml", manifest("a", json!({}))), ("b.yaml", manifest("b", json!({})))]).await;
    let a = api.stage.device("default/a").await;
    let mut directory = api.directory.clone();
    api.write("a.yaml", &manifest("a", json!({"sendng": {}})));
    let errors = in_time(directory.file_errors_changed()).await.unwrap();
    assert_eq!(errors.len(), 1);
    assert_eq!(errors[0].file, "a.yaml");
    assert!(errors[0].message.contains("spec.sendng"), "{}", errors[0].message);
    assert!(*a.running.borrow());
    api.write("b.yaml", &manifest("b", json!({"displayName": "B"})));
    api.until("default/b", |device| device.resource.spec.display_name.is_some()).await;
    let listed = api.get("/v1/declaration-errors").await.json();
    assert_eq!(listed["items"][0]["file"], "a.yaml");
    api.write("a.yaml", &manifest("a", json!({"displayName": "Mended"})));
    api.until("default/a", |device| device.resource.spec.display_name.is_some()).await;
    assert_eq!(api.directory.file_errors(), []);
}

#[tokio::test]
async fn an_editor_that_empties_a_file_first_stops_nobody() {
    let api = Api::start(&[("a.yaml", manifest("a", json!({})))]).await;
    let a = api.stage.device("default/a").await;
    api.write("a.yaml", "");
    api.directory.rescan().await;
    assert_eq!(api.directory.file_errors().len(), 1);
    assert!(*a.running.borrow());
}

#[tokio::test]
async fn a_number_that_was_set_does_not_change() {
    let api = Api::start(&[("a.yaml", manifest("a", json!({"phoneNumber": "525550000001"})))]).await;
    api.stage.device("default/a").await;
    api.write("a.yaml", &manifest("a", json!({"phoneNumber": "525550000002"})));
    api.directory.rescan().await;
    assert!(
        api.directory.file_errors()[0].message.contains("phoneNumber"),
        "{:?}",
        api.directory.file_errors()
    );
    let device = api.directory.get(&"a".parse().unwrap()).await.unwrap();
    assert_eq!(device.resource.spec.phone_number.as_deref(), Some("525550000001"));
}

#[tokio::test]
async fn a_file_that_goes_keeps_the_session_and_its_return_resumes_it() {
    let api = Api::start(&[("a.yaml", manifest("a", json!({})))]).await;
    let before = api.stage.device("default/a").await;
    std::fs::remove_file(api.file("a.yaml")).unwrap();
    before.stopped().await;
    api.until_gone("default/a").await;
    assert_eq!(std::fs::read_to_string(before.directory.join("session.db")).unwrap(), "the session");
    api.write("a.yaml", &manifest("a", json!({})));
    let after = api.stage.device("default/a").await;
    assert_eq!((&after.uid, &after.directory), (&before.uid, &before.directory));
}

#[tokio::test]
async fn one_name_in_two_files_is_the_first_ones() {
    let api = Api::start(&[
        ("1.yaml", manifest("a", json!({"displayName": "First"}))),
        ("2.yaml", manifest("a", json!({"displayName": "Second"}))),
    ])
    .await;
    let device = api.directory.get(&"a".parse().unwrap()).await.unwrap();
    assert_eq!(device.resource.spec.display_name.as_deref(), Some("First"));
    assert_eq!(api.directory.file_errors()[0].message, "2.yaml: default/a is declared in 1.yaml already");
    // The holder keeps it, whatever the others are called.
    api.write("0.yaml", &manifest("a", json!({"displayName": "Zero"})));
    api.directory.rescan().await;
    let device = api.directory.get(&"a".parse().unwrap()).await.unwrap();
    assert_eq!(device.resource.spec.display_name.as_deref(), Some("First"));
}

#[tokio::test]
async fn a_device_that_cannot_start_says_why_and_starts_when_it_can() {
    let api = Api::start(&[("ok.yaml", manifest("ok", json!({})))]).await;
    api.stage.breaks("default/a");
    api.write("a.yaml", &manifest("a", json!({})));
    let device = api.until_phase("default/a", "Failed").await;
    let condition = device.resource.status.as_ref().unwrap().condition("Connected").unwrap().clone();
    assert_eq!(condition.message, "the device cannot be started: the volume is another's");
    for kind in ["PodReady", "Ready"] {
        let said = device.resource.status.as_ref().unwrap().condition(kind).unwrap();
        assert_eq!((said.status.as_str(), &said.message), ("False", &condition.message), "{kind}");
    }
    let away = api.get("/v1/devices/default/a/messages").await;
    assert_eq!(away.problem(), (503, "DeviceAway".into()));
    api.stage.repair("default/a");
    api.stage.device("default/a").await;
}

#[tokio::test]
async fn a_device_that_panics_is_no_trouble_of_others() {
    let api = Api::start(&[("a.yaml", manifest("a", json!({})))]).await;
    api.stage.breaks("default/panics");
    api.write("panics.yaml", &manifest("panics", json!({})));
    api.until_phase("default/panics", "Failed").await;
    assert_eq!(api.get("/v1/devices/default/panics/messages").await.problem(), (503, "DeviceAway".into()));
    api.stage.repair("default/panics");
    api.directory.rescan().await;
    api.stage.device("default/panics").await;
    assert!(*api.stage.device("default/a").await.running.borrow());
}

#[tokio::test]
async fn uids_and_tokens_survive_a_restart() {
    let api = Api::start(&[("a.yaml", manifest("a", json!({})))]).await;
    let uid = api.stage.device("default/a").await.uid;
    let (admin, narrowed) = (api.admin.clone(), api.token(json!({"devices": ["default/a"]})).await);
    let api = api.restart(|_| ()).await;
    assert_eq!(api.stage.device("default/a").await.uid, uid);
    assert_eq!(api.admin, admin, "the local token is kept");
    assert_eq!(api.call("GET", "/v1/devices/default/a", &narrowed, None).await.status, 200);
}

#[tokio::test]
async fn two_processes_do_not_share_a_data_directory() {
    let api = Api::start(&[]).await;
    let data = api.database_file("");
    let other = enlace_api::directory::FolderDirectory::open(&api.file(""), api.stage.clone(), &data).await;
    assert!(other.err().unwrap().to_string().contains("in use by another process"));
}

#[tokio::test]
async fn close_stops_every_device() {
    let api = Api::start(&[("a.yaml", manifest("a", json!({}))), ("b.yaml", manifest("b", json!({})))]).await;
    let (a, b) = (api.stage.device("default/a").await, api.stage.device("default/b").await);
    in_time(api.directory.close()).await;
    assert!(!*a.running.borrow() && !*b.running.borrow());
    assert_eq!(api.get("/readyz").await.problem(), (503, "NotReady".into()));
}

#[tokio::test]
async fn a_folder_that_cannot_be_written_is_named() {
    let api = Api::start(&[]).await;
    // Nobody has every permission in a folder that is gone.
    let folder = api.file("");
    std::fs::remove_dir(&folder).unwrap();
    let body = json!({"metadata": {"name": "shop"}, "spec": {}});
    let refused = api.post("/v1/devices", body).await;
    assert_eq!(refused.problem(), (507, "NotWritten".into()));
    let detail = refused.json()["detail"].as_str().unwrap().to_owned();
    assert!(detail.starts_with(folder.to_str().unwrap().trim_end_matches('/')), "{detail}");
    assert!(detail.contains("cannot be written: No such file"), "{detail}");
    assert_eq!(refused.headers.get(http::header::RETRY_AFTER), None, "it does not come right by itself");
}
