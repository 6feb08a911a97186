//! Devices that are made through the API instead of with kubectl.

use enlace_e2e::api::Api;
use enlace_e2e::device::Device;
use enlace_e2e::scene::Scene;
use reqwest::{Method, StatusCode};
use serde_json::json;

#[tokio::test]
#[ignore = "runs in the step of the cluster tests"]
async fn the_api_makes_changes_and_deletes_its_own_devices_and_no_others() {
    let scene = Scene::new("api").await;
    let api = Api::log_in().await;
    let number = "525550000012";
    let made = json!({
        "metadata": {"namespace": scene.namespace, "name": "made"},
        "spec": {"phoneNumber": number},
    });
    api.post("/v1/devices", &made).await;
    let device = Device::existing(&scene, "made");
    scene.whatsapp.phone(number).scan(&device.code().code).await.unwrap();
    device.wait("condition=Connected");

    let path = format!("/v1/devices/{}/made", scene.namespace);
    let renamed = json!({"spec": {"displayName": "Billing"}});
    api.done(Method::PATCH, &path, Some(&renamed)).await;
    assert_eq!(device.get().spec.display_name.as_deref(), Some("Billing"));
    api.done(Method::DELETE, &path, None).await;
    device.wait("delete");

    Device::apply(&scene, "declared", json!({"suspend": true}));
    let path = format!("/v1/devices/{}/declared", scene.namespace);
    enlace_e2e::eventually("the API to see the other device", async || {
        (api.ask(Method::GET, &path, None).await.0 == StatusCode::OK).then_some(())
    })
    .await;
    let (status, answer) = api.ask(Method::DELETE, &path, None).await;
    assert!(status.is_client_error(), "{status} {answer}");
    scene.end().await;
}
