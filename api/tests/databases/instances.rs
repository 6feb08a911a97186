//! Instances.

use enlace_api::database::{Database, InstanceId, NewInstance, Unique, WriteError};
use enlace_contract::name::DeviceKey;

use crate::on_every_database;
use crate::world::{World, moment, user};

on_every_database!(
    an_instance_is_found_by_its_identifier_and_by_its_device,
    identifiers_differ_by_case_and_by_blanks,
    what_another_instance_has_is_named,
    an_instance_is_renamed_unless_the_name_is_taken,
    instances_are_listed_for_their_owner_in_the_order_of_bytes,
    a_deleted_user_takes_its_instances_along,
);

fn id(text: &str) -> InstanceId {
    text.parse().unwrap()
}

fn key(name: &str) -> DeviceKey {
    name.parse().unwrap()
}

async fn store(database: &Database, instance: &str, device: &str, user_id: &str) -> Result<(), WriteError> {
    let new = NewInstance { id: &id(instance), device: &key(device), device_uid: None, user_id };
    database.create_instance(new, moment(0)).await.map(drop)
}

async fn an_instance_is_found_by_its_identifier_and_by_its_device(world: World) {
    let database = world.database().await;
    let maria = user(&database, "maria").await;
    // The longest identifier, in characters of four bytes.
    for (number, text) in
        ["NTE5MDAwMDA2NDA=".to_owned(), "Ventas-01".to_owned(), "🚀".repeat(255)].iter().enumerate()
    {
        let device = key(&format!("shop/device-{number}"));
        let new = NewInstance { id: &id(text), device: &device, device_uid: None, user_id: &maria.id };
        let mut made = database.create_instance(new, moment(7)).await.unwrap();
        assert_eq!(database.instance(&id(text)).await.unwrap().as_ref(), Some(&made));
        assert!(database.set_instance_uid(&made.id, "uid").await.unwrap());
        made.device_uid = Some("uid".to_owned());
        assert_eq!(database.instance_of_device(&device).await.unwrap(), Some(made));
    }
    assert_eq!(database.instance(&id("unknown")).await.unwrap(), None);
    assert_eq!(database.instance_of_device(&key("default/device-0")).await.unwrap(), None);
    assert!(!database.set_instance_uid(&id("unknown"), "uid").await.unwrap());
}

async fn identifiers_differ_by_case_and_by_blanks(world: World) {
    let database = world.database().await;
    let maria = user(&database, "maria").await;
    for (number, text) in
        ["Ventas", "ventas", "ventas ", "vëntas", "v\u{65}\u{308}ntas"].into_iter().enumerate()
    {
        store(&database, text, &format!("device-{number}"), &maria.id).await.unwrap();
        assert_eq!(database.instance(&id(text)).await.unwrap().unwrap().id.as_str(), text);
    }
    assert_eq!(database.instance(&id("VENTAS")).await.unwrap(), None);
}

async fn what_another_instance_has_is_named(world: World) {
    let database = world.database().await;
    let (maria, other) = (user(&database, "maria").await, user(&database, "other").await);
    store(&database, "one", "device", &maria.id).await.unwrap();
    let taken = store(&database, "one", "device-2", &other.id).await.unwrap_err();
    assert!(matches!(taken, WriteError::Taken(Unique::InstanceId)), "{taken:?}");
    let taken = store(&database, "two", "device", &other.id).await.unwrap_err();
    assert!(matches!(taken, WriteError::Taken(Unique::Device)), "{taken:?}");
    // The same name elsewhere is another device.
    store(&database, "two", "elsewhere/device", &other.id).await.unwrap();
}

async fn an_instance_is_renamed_unless_the_name_is_taken(world: World) {
    let database = world.database().await;
    let maria = user(&database, "maria").await;
    store(&database, "one", "device-1", &maria.id).await.unwrap();
    store(&database, "two", "device-2", &maria.id).await.unwrap();
    let taken = database.rename_instance(&id("one"), &id("two")).await.unwrap_err();
    assert!(matches!(taken, WriteError::Taken(Unique::InstanceId)), "{taken:?}");
    assert!(database.rename_instance(&id("one"), &id("ONE")).await.unwrap());
    assert!(database.rename_instance(&id("ONE"), &id("ONE")).await.unwrap());
    assert!(!database.rename_instance(&id("one"), &id("three")).await.unwrap());
    assert_eq!(database.instance(&id("ONE")).await.unwrap().unwrap().device, key("device-1"));
    assert_eq!(database.instance(&id("one")).await.unwrap(), None);
}

async fn instances_are_listed_for_their_owner_in_the_order_of_bytes(world: World) {
    let database = world.database().await;
    let (maria, other) = (user(&database, "maria").await, user(&database, "other").await);
    for (number, text) in ["b", "B", "a", "ñ", "_", "Z"].into_iter().enumerate() {
        store(&database, text, &format!("device-{number}"), &maria.id).await.unwrap();
    }
    store(&database, "other", "other", &other.id).await.unwrap();
    let page = async |after: &str, limit| -> Vec<String> {
        let page = database.instances(&maria.id, after, limit).await.unwrap();
        page.into_iter().map(|instance| instance.id.to_string()).collect()
    };
    assert_eq!(page("", 10).await, ["B", "Z", "_", "a", "b", "ñ"]);
    assert_eq!(page("Z", 2).await, ["_", "a"]);
    assert!(database.delete_instance(&id("Z")).await.unwrap());
    assert!(!database.delete_instance(&id("Z")).await.unwrap());
    assert_eq!(page("", 2).await, ["B", "_"]);
}

async fn a_deleted_user_takes_its_instances_along(world: World) {
    let database = world.database().await;
    let maria = user(&database, "maria").await;
    store(&database, "one", "device", &maria.id).await.unwrap();
    assert!(database.delete_user(&maria.id).await.unwrap());
    assert_eq!(database.instance(&id("one")).await.unwrap(), None);
    // And nobody without a user has one.
    assert!(matches!(store(&database, "one", "device", &maria.id).await, Err(WriteError::Database(_))));
}
