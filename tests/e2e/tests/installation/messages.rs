//! Messages, through the API's Service.

use std::time::Duration;

use enlace_e2e::api::Api;
use enlace_e2e::device::Device;
use enlace_e2e::eventually;
use enlace_e2e::scene::Scene;
use reqwest::Method;
use serde_json::json;

const NUMBER: &str = "525550000003";
const CUSTOMER: &str = "525550000004";

#[tokio::test]
#[ignore = "runs in the step of the cluster tests"]
async fn messages_go_out_and_come_in_through_the_api() {
    let scene = Scene::new("messages").await;
    let (device, _) = Device::linked(&scene, "billing", NUMBER).await;
    // Connected is the session; Ready is also the pod, to which the API sends nothing before.
    device.wait("condition=Ready");
    let customer = scene.whatsapp.phone(CUSTOMER);
    let api = Api::log_in().await;
    let path = format!("/v1/devices/{}/billing", scene.namespace);
    eventually("the API to reach the device", async || {
        let (status, _) = api.ask(Method::GET, &format!("{path}/status"), None).await;
        status.is_success().then_some(())
    })
    .await;

    let message = json!({"to": CUSTOMER, "type": "text", "text": "Your invoice is ready."});
    let sent = api.post(&format!("{path}/messages"), &message).await;
    let id = sent["id"].as_str().unwrap();
    let received = customer.wait_for_id(id, Duration::from_secs(60)).await.unwrap();
    assert_eq!(received.text.as_deref(), Some("Your invoice is ready."));
    assert_eq!(received.from, NUMBER);

    let answer = customer.send_text(NUMBER, "Thank you!").await.unwrap();
    let record = eventually("the answer in the inbox", async || {
        let page = api.get(&format!("{path}/inbox")).await;
        page["items"].as_array()?.iter().find(|record| record["id"] == answer.as_str()).cloned()
    })
    .await;
    assert_eq!(record["text"], "Thank you!");
    assert_eq!(record["senderNumber"], CUSTOMER);
    scene.end().await;
}
