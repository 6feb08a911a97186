//! One session has one client: what is copied, moved or started twice.

use enlace_api::directory::{DeviceDirectory as _, FolderDirectory};
use serde_json::json;

use crate::fixture::{Api, manifest};

/// What is wrong with the files of the folder.
async fn errors(api: &Api) -> Vec<String> {
    api.directory.rescan().await;
    api.directory.file_errors().into_iter().map(|error| error.message).collect()
}

fn copy(api: &Api, from: &str, to: &str) {
    let (from, to) = (api.data(from), api.data(to));
    std::fs::create_dir_all(&to).unwrap();
    for file in std::fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
}

#[tokio::test]
async fn two_processes_share_neither_a_folder_nor_a_data_directory() {
    let api = Api::start(&[]).await;
    let (folder, data, other) = (api.file(""), api.database_file(""), tempfile::tempdir().unwrap());
    let refused = async |folder: &std::path::Path, data: &std::path::Path| {
        FolderDirectory::open(folder, api.stage.clone(), data).await.err().unwrap().to_string()
    };
    let shared = refused(&folder, &other.path().join("data")).await;
    assert!(
        shared.contains("in use by another process: each number in it would have two clients"),
        "{shared}"
    );
    assert!(!other.path().join("data").exists(), "nothing was begun");
    let shared = refused(other.path(), &data).await;
    assert!(
        shared.starts_with("the data directory") && shared.contains("in use by another process"),
        "{shared}"
    );
}

#[tokio::test]
async fn a_copy_of_a_devices_data_runs_beside_nobody() {
    let api = Api::start(&[("b.yaml", manifest("b", json!({})))]).await;
    let uid = api.stage.device("default/b").await.uid;
    // The copy's name comes first: which is which does not depend on the order.
    copy(&api, "default/b", "default/a");
    api.write("a.yaml", &manifest("a", json!({})));
    let refused = errors(&api).await;
    assert!(refused[0].contains("are a copy of those of default/b"), "{refused:?}");
    let api = api.restart(|_| ()).await;
    assert_eq!(api.stage.device("default/b").await.uid, uid);
    assert!(errors(&api).await[0].contains("are a copy of those of default/b"));
    // Nor while the original is not declared: it may come back.
    std::fs::remove_file(api.file("b.yaml")).unwrap();
    assert!(errors(&api).await[0].contains("are a copy of those of default/b"));
    assert_eq!(*api.stage.starts.borrow(), ["default/b"]);
}

#[tokio::test]
async fn data_that_were_moved_are_the_other_names_from_then_on() {
    let api = Api::start(&[("a.yaml", manifest("a", json!({})))]).await;
    let uid = api.stage.device("default/a").await.uid;
    let api = api
        .restart(|root| {
            let devices = root.join("data/devices/default");
            std::fs::rename(devices.join("a"), devices.join("b")).unwrap();
            std::fs::remove_file(root.join("manifests/a.yaml")).unwrap();
            std::fs::write(root.join("manifests/b.yaml"), manifest("b", json!({}))).unwrap();
        })
        .await;
    assert_eq!(api.stage.device("default/b").await.uid, uid);
    // The name is free for a device of its own, and what was moved is nobody's copy.
    api.write("a.yaml", &manifest("a", json!({})));
    assert_ne!(api.stage.device("default/a").await.uid, uid);
    let api = api.restart(|_| ()).await;
    assert_eq!(errors(&api).await, Vec::<String>::new());
    assert_eq!(api.directory.list().await.unwrap().len(), 2);
}

#[tokio::test]
async fn data_that_are_moved_from_a_device_that_runs_are_its_own_still() {
    let api = Api::start(&[("a.yaml", manifest("a", json!({})))]).await;
    api.stage.device("default/a").await;
    std::fs::rename(api.data("default/a"), api.data("default/b")).unwrap();
    api.write("b.yaml", &manifest("b", json!({})));
    assert!(errors(&api).await[0].contains("are those of default/a, which is declared as well"));
    assert_eq!(*api.stage.starts.borrow(), ["default/a"]);
}

#[tokio::test]
async fn a_record_that_cannot_be_read_is_named_and_replaced_by_nothing() {
    let api = Api::start(&[]).await;
    let record = api.data("default/a").join("device.json");
    std::fs::create_dir_all(record.parent().unwrap()).unwrap();
    std::fs::write(&record, "{").unwrap();
    api.write("a.yaml", &manifest("a", json!({})));
    let refused = errors(&api).await;
    assert!(
        refused[0].contains(record.to_str().unwrap()) && refused[0].contains("from a backup"),
        "{refused:?}"
    );
    assert_eq!(std::fs::read_to_string(&record).unwrap(), "{");
}
