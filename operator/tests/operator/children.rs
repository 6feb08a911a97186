//! What is made of a device.

use serde_json::{Value, json};

use crate::stage::Stage;

fn steps(calls: &[crate::server::Call]) -> Vec<String> {
    calls.iter().map(|call| format!("{} {}", call.verb, call.resource)).collect()
}

#[tokio::test]
async fn reconcile_creates_pvc_statefulset_in_order() {
    let stage = Stage::new().await;
    stage.create("billing", json!({ "phoneNumber": "525550000001" }));
    let calls = stage.look("billing").await;
    assert_eq!(
        steps(&calls),
        [
            // Nothing runs before the number is the device's, and nothing is made that would not be logged out.
            "create leases",
            "patch whatsappdevices",
            "create persistentvolumeclaims",
            "get configmaps",
            "patch configmaps",
            "get networkpolicies",
            "patch networkpolicies",
            "get statefulsets",
            "patch statefulsets",
            "patch whatsappdevices/status",
        ]
    );
    assert_eq!(stage.replicas("billing"), 1);
}

#[tokio::test]
async fn children_carry_controller_owner_ref_and_labels() {
    let stage = Stage::new().await;
    stage.create("billing", json!({}));
    stage.look("billing").await;
    let owner = json!([{
        "apiVersion": "enlace.dev/v1alpha1", "kind": "WhatsAppDevice", "name": "billing",
        "uid": stage.device("billing")["metadata"]["uid"], "controller": true,
    }]);
    for (resource, name) in [
        ("persistentvolumeclaims", "billing-session"),
        ("configmaps", "billing-device"),
        ("networkpolicies", "billing-device"),
        ("statefulsets", "billing"),
    ] {
        let child = stage.server.get(resource, "shop", name).unwrap();
        assert_eq!(child["metadata"]["ownerReferences"], owner, "{resource}");
        assert_eq!(
            child["metadata"]["labels"],
            json!({
                "app.kubernetes.io/name": "enlace", "app.kubernetes.io/instance": "billing",
                "app.kubernetes.io/component": "device", "app.kubernetes.io/part-of": "enlace",
                "app.kubernetes.io/managed-by": "enlace-operator", "enlace.dev/device": "billing",
            }),
            "{resource}"
        );
    }
}

#[tokio::test]
async fn second_reconcile_sends_nothing() {
    let stage = Stage::new().await;
    stage.create("billing", json!({ "phoneNumber": "525550000001" }));
    stage.look("billing").await;
    assert_eq!(steps(&stage.look("billing").await), Vec::<String>::new());
    // Nor before the caches have what was written.
    stage.create("sales", json!({}));
    stage.caught_up().await;
    let device = stage.context.caches.device("shop", "sales").unwrap();
    let look = || enlace_operator::controller::reconcile(device.clone(), stage.context.clone());
    look().await.unwrap();
    stage.server.calls();
    let _ = look().await;
    let written: Vec<_> =
        steps(&stage.server.calls()).into_iter().filter(|step| !step.ends_with("whatsappdevices")).collect();
    assert_eq!(written, Vec::<String>::new());
}

#[tokio::test]
async fn paused_scales_to_zero_and_keeps_pvc() {
    let stage = Stage::new().await;
    stage.create("billing", json!({}));
    stage.settle("billing").await;
    stage.server.change("whatsappdevices", "billing", json!({ "spec": { "suspend": true } }));
    stage.settle("billing").await;
    assert_eq!(stage.replicas("billing"), 0);
    assert!(stage.server.get("persistentvolumeclaims", "shop", "billing-session").is_some());
    assert_eq!(stage.device("billing")["status"]["phase"], "Suspended");
    assert_eq!(stage.condition("billing", "Ready"), "True/Suspended");
}

#[tokio::test]
async fn retain_removes_pvc_owner_ref() {
    let stage = Stage::new().await;
    stage.create("billing", json!({}));
    stage.settle("billing").await;
    stage.server.change("whatsappdevices", "billing", json!({ "spec": { "deletionPolicy": "KeepSession" } }));
    stage.settle("billing").await;
    let volume = stage.server.get("persistentvolumeclaims", "shop", "billing-session").unwrap();
    assert_eq!(volume["metadata"].get("ownerReferences"), None);
    assert_eq!(stage.device("billing")["metadata"]["finalizers"], json!([]), "nothing is to be ended");
    stage.server.change("whatsappdevices", "billing", json!({ "spec": { "deletionPolicy": "Logout" } }));
    stage.settle("billing").await;
    let volume = stage.server.get("persistentvolumeclaims", "shop", "billing-session").unwrap();
    assert_eq!(volume["metadata"]["ownerReferences"][0]["name"], "billing");
    assert_eq!(stage.device("billing")["metadata"]["finalizers"], json!(["enlace.dev/logout"]));
}

#[tokio::test]
async fn a_volume_grows_and_keeps_what_cannot_change() {
    let stage = Stage::new().await;
    stage.create("billing", json!({}));
    stage.settle("billing").await;
    let spec =
        || stage.server.get("persistentvolumeclaims", "shop", "billing-session").unwrap()["spec"].clone();
    let expected = |size: &str| {
        json!({
            "accessModes": ["ReadWriteOncePod"], "storageClassName": "fast",
            "resources": { "requests": { "storage": size } },
        })
    };
    assert_eq!(spec(), expected("1Gi"));
    stage.server.change("whatsappdevices", "billing", json!({ "spec": { "storage": { "size": "2Gi" } } }));
    stage.settle("billing").await;
    assert_eq!(spec(), expected("2Gi"));
    // A smaller one, of a device that adopts the volume, is not asked for.
    stage.server.change("whatsappdevices", "billing", json!({ "spec": { "storage": { "size": "1Gi" } } }));
    stage.settle("billing").await;
    assert_eq!(spec(), expected("2Gi"));
}

#[tokio::test]
async fn a_volume_that_may_not_grow_holds_nothing_else_up_and_somebody_is_told() {
    let stage = Stage::new().await;
    stage.create("billing", json!({}));
    stage.settle("billing").await;
    stage.server.fail_next("patch", "persistentvolumeclaims", 403);
    let change = json!({ "spec": { "storage": { "size": "2Gi" }, "pod": { "image": "enlace-device:2" } } });
    stage.server.change("whatsappdevices", "billing", change);
    let (outcome, _) = stage.try_look("shop", "billing").await;
    assert!(outcome.is_err(), "it is tried again");
    let set = stage.server.get("statefulsets", "shop", "billing").unwrap();
    assert_eq!(set["spec"]["template"]["spec"]["containers"][0]["image"], "enlace-device:2");
    assert_eq!(stage.device("billing")["status"]["observedGeneration"], 2);
    assert!(stage.server.all("events").iter().any(|event| event["reason"] == "VolumeNotChanged"));
}

#[tokio::test]
async fn a_volume_that_may_not_grow_is_kept_as_declared() {
    let stage = Stage::new().await;
    stage.create("billing", json!({}));
    stage.settle("billing").await;
    let change = json!({ "spec": { "storage": { "size": "2Gi" }, "deletionPolicy": "KeepSession" } });
    stage.server.change("whatsappdevices", "billing", change);
    let calls = stage.look("billing").await;
    let patch = calls.iter().find(|call| call.resource == "persistentvolumeclaims").unwrap();
    assert_eq!(patch.body.get("spec"), None, "its size would be refused, and its owner with it");
    let volume = stage.server.get("persistentvolumeclaims", "shop", "billing-session").unwrap();
    assert_eq!(volume["metadata"].get("ownerReferences"), None);
    stage.settle("billing").await;
    let volume = stage.server.get("persistentvolumeclaims", "shop", "billing-session").unwrap();
    assert_eq!(volume["spec"]["resources"]["requests"]["storage"], "2Gi");
}

#[tokio::test]
async fn a_pod_is_restricted_and_told_nothing_it_need_not_know() {
    let stage = Stage::new().await;
    stage.create(
        "billing",
        json!({ "pod": { "labels": { "team": "shop" }, "nodeSelector": { "disk": "fast" } } }),
    );
    stage.look("billing").await;
    let set = stage.server.get("statefulsets", "shop", "billing").unwrap();
    let spec = &set["spec"];
    assert_eq!(spec["podManagementPolicy"], "Parallel");
    assert_eq!(spec["updateStrategy"], json!({ "type": "OnDelete" }));
    let template = &spec["template"];
    assert_eq!(template["metadata"]["labels"]["team"], "shop");
    let pod = &template["spec"];
    assert_eq!(pod["nodeSelector"], json!({ "disk": "fast" }));
    assert_eq!(pod["automountServiceAccountToken"], false);
    assert_eq!(pod["enableServiceLinks"], false);
    assert_eq!(pod["securityContext"]["runAsUser"], 65532);
    let container = &pod["containers"][0];
    assert_eq!(
        container["securityContext"],
        json!({
            "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": { "drop": ["ALL"] },
        })
    );
    assert_eq!(container["image"], "enlace-device:1");
    assert_eq!(container.get("args"), None, "its volume is its own");
    let config =
        stage.server.get("configmaps", "shop", "billing-device").unwrap()["data"]["device.yaml"].clone();
    let config: Value = serde_saphyr::from_str(config.as_str().unwrap()).unwrap();
    assert_eq!(config["key"], "shop/billing");
    assert_eq!(config["tokenKeys"], json!(["key"]));
}

#[tokio::test]
async fn what_somebody_edits_is_put_right_and_what_others_add_to_metadata_stays() {
    let stage = Stage::new().await;
    stage.create("billing", json!({}));
    stage.settle("billing").await;
    let before = stage.server.get("statefulsets", "shop", "billing").unwrap()["spec"].clone();
    let edit = json!({
        "metadata": { "annotations": { "other": "annotation" } },
        "spec": { "replicas": 0, "template": { "spec": { "hostNetwork": true } } },
    });
    stage.server.change("statefulsets", "billing", edit);
    stage.settle("billing").await;
    let after = stage.server.get("statefulsets", "shop", "billing").unwrap();
    assert_eq!(after["spec"], before);
    assert_eq!(after["metadata"]["annotations"]["other"], "annotation");

    stage.server.change(
        "configmaps",
        "billing-device",
        json!({
            "metadata": { "managedFields": [{ "manager": "kubectl-edit", "fieldsV1": { "f:data": {} } }] },
            "data": { "other": "file" },
        }),
    );
    let calls = stage.look("billing").await;
    assert_eq!(steps(&calls), ["update configmaps"]);
    let data = stage.server.get("configmaps", "shop", "billing-device").unwrap()["data"].clone();
    assert_eq!(data.get("other"), None);
    stage.server.delete("networkpolicies", "shop", "billing-device");
    stage.settle("billing").await;
    assert!(stage.server.get("networkpolicies", "shop", "billing-device").is_some());
}

#[tokio::test]
async fn an_object_of_somebody_else_is_not_taken_over() {
    let stage = Stage::new().await;
    let theirs = json!({
        "metadata": { "name": "billing", "namespace": "shop", "labels": { "app": "billing" } },
        "spec": { "replicas": 3 },
    });
    let theirs = stage.server.put("statefulsets", theirs);
    stage.create("billing", json!({}));
    // The cache holds only what is labelled as a device's.
    let device = loop {
        if let Some(device) = stage.context.caches.device("shop", "billing") {
            break device;
        }
        tokio::task::yield_now().await;
    };
    let outcome = enlace_operator::controller::reconcile(device, stage.context.clone()).await;
    assert!(format!("{:?}", outcome.unwrap_err()).contains("Foreign"));
    assert_eq!(stage.server.get("statefulsets", "shop", "billing").unwrap(), theirs);
    let event = stage.server.all("events").into_iter().find(|event| event["reason"] == "NameTaken").unwrap();
    assert_eq!(
        event["note"],
        "the StatefulSet billing exists and is not this device's: delete it, or give the device another name"
    );
}

#[tokio::test]
async fn a_volume_that_lost_its_labels_gets_them_back() {
    let stage = Stage::new().await;
    for policy in ["Logout", "KeepSession"] {
        stage.create(&policy.to_lowercase(), json!({ "deletionPolicy": policy }));
    }
    for name in ["logout", "keepsession"] {
        stage.settle(name).await;
        let volume = format!("{name}-session");
        let before = stage.server.get("persistentvolumeclaims", "shop", &volume).unwrap();
        for lost in [
            json!({ "app.kubernetes.io/component": null }),
            json!({ "app.kubernetes.io/managed-by": null, "app.kubernetes.io/component": null }),
        ] {
            let labels = json!({ "metadata": { "labels": lost } });
            stage.take_out("persistentvolumeclaims", &volume, labels).await;
            let device = stage.context.caches.device("shop", name).unwrap();
            let look = || enlace_operator::controller::reconcile(device.clone(), stage.context.clone());
            assert!(format!("{:?}", look().await.unwrap_err()).contains("AlreadyExists"));
            look().await.unwrap();
            let after = stage.server.get("persistentvolumeclaims", "shop", &volume).unwrap();
            assert_eq!(after["metadata"]["labels"], before["metadata"]["labels"], "{lost}");
            assert_eq!(after["metadata"]["uid"], before["metadata"]["uid"]);
            stage.settle(name).await;
        }
    }
}

#[tokio::test]
async fn a_child_that_lost_the_operators_label_is_still_its_devices() {
    let stage = Stage::new().await;
    stage.create("billing", json!({}));
    stage.settle("billing").await;
    for (resource, name) in
        [("configmaps", "billing-device"), ("networkpolicies", "billing-device"), ("statefulsets", "billing")]
    {
        let before = stage.server.get(resource, "shop", name).unwrap();
        let labels = json!({ "metadata": { "labels": { "app.kubernetes.io/managed-by": null } } });
        stage.take_out(resource, name, labels).await;
        let device = stage.context.caches.device("shop", "billing").unwrap();
        enlace_operator::controller::reconcile(device, stage.context.clone()).await.unwrap();
        let after = stage.server.get(resource, "shop", name).unwrap();
        assert_eq!(after["metadata"]["labels"], before["metadata"]["labels"], "{resource}");
        assert_eq!(after["metadata"]["uid"], before["metadata"]["uid"], "{resource}");
        stage.settle("billing").await;
    }
}

#[tokio::test]
async fn a_conflict_that_does_not_pass_is_tried_again_later_each_time() {
    let stage = Stage::new().await;
    stage.create("billing", json!({}));
    let mut pauses = Vec::new();
    for _ in 0..8 {
        stage.server.fail_next("patch", "configmaps", 409);
        let error = stage.try_look("shop", "billing").await.0.unwrap_err();
        let device = stage.context.caches.device("shop", "billing").unwrap();
        let action = enlace_operator::controller::error_policy(device, &error, stage.context.clone());
        pauses.push(format!("{action:?}"));
    }
    let seconds = |action: &String| {
        let (_, text) = action.split_once("Some(").unwrap();
        let text = text.split(')').next().unwrap();
        match text.strip_suffix("ms") {
            Some(text) => text.parse::<f64>().unwrap() / 1000.0,
            None => text.strip_suffix('s').unwrap().parse::<f64>().unwrap(),
        }
    };
    let pauses: Vec<f64> = pauses.iter().map(seconds).collect();
    assert!(pauses[..5].iter().all(|pause| *pause < 0.5), "the cache may be behind: {pauses:?}");
    assert!(pauses[5] >= 1.0 && pauses[6] >= 2.0 && pauses[7] >= 4.0, "{pauses:?}");
}
