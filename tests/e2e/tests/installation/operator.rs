//! The operator's own death.

use enlace_e2e::commands::{json as get, kubectl};
use enlace_e2e::device::Device;
use enlace_e2e::eventually;
use enlace_e2e::installation::{RELEASE, SYSTEM};
use enlace_e2e::scene::Scene;

/// Which replica works.
fn leader() -> Option<String> {
    let lease = get(&["--namespace", SYSTEM, "get", "lease", &format!("{RELEASE}-operator")]);
    // The pod's name and a suffix for each of its runs.
    let (pod, _) = lease["spec"]["holderIdentity"].as_str()?.split_once('_')?;
    Some(pod.to_owned())
}

#[tokio::test]
#[ignore = "runs in the step of the cluster tests"]
async fn a_status_is_right_again_after_the_leader_was_killed() {
    let scene = Scene::alone("leader").await;
    let (device, linked) = Device::linked(&scene, "billing", "525550000009").await;
    let before = eventually("a leader", async || leader()).await;
    kubectl(&["--namespace", SYSTEM, "delete", "pod", &before, "--force", "--grace-period=0"]);
    // While nobody looks.
    scene.whatsapp.phone(&linked.phone).unlink(linked.device).await.unwrap();
    let after = eventually("another leader", async || leader().filter(|now| *now != before)).await;
    assert_ne!(after, before);
    device.wait_for_phase("LoggedOut");
    let deployment = format!("deployment/{RELEASE}-operator");
    kubectl(&["--namespace", SYSTEM, "rollout", "status", &deployment, "--timeout=120s"]);
    scene.end().await;
}
