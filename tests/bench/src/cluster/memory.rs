//! The memory of containers. Their node is this machine, so their processes are in its `/proc`.

use std::fs;

use anyhow::Context as _;
use enlace_e2e::commands::json as get;
use enlace_e2e::installation::SYSTEM;
use serde_json::Value;

use crate::series::{Series, Unit};
use crate::status::Status;

/// The names of two figures for a machine: what is resident, and of it what is of no file.
type Keys = [&'static str; 2];

/// Of the operator and of the API, without a device.
pub(crate) const WITHOUT_DEVICES: [Keys; 2] =
    [["operatorEmptyRss", "operatorEmptyRssAnon"], ["apiEmptyRss", "apiEmptyRssAnon"]];
/// The same with devices.
pub(crate) const WITH_DEVICES: [Keys; 2] = [["operatorRss", "operatorRssAnon"], ["apiRss", "apiRssAnon"]];
/// The same after requests.
pub(crate) const AFTERWARDS: [Keys; 2] =
    [["operatorBusyRss", "operatorBusyRssAnon"], ["apiBusyRss", "apiBusyRssAnon"]];
/// Of a device.
pub(crate) const DEVICE: Keys = ["deviceRss", "deviceRssAnon"];

/// The memory of the operator and of the API, each in one pod; `when` is for a person.
///
/// # Errors
/// One of them has no process.
pub(crate) fn of_installation(keys: [Keys; 2], when: &str) -> anyhow::Result<Vec<Series>> {
    let [operator, api] = keys;
    let mut series = Vec::new();
    for (keys, component, name) in [(operator, "operator", "operator"), (api, "api", "API")] {
        let selector = format!("app.kubernetes.io/component={component}");
        let pods = get(&["--namespace", SYSTEM, "get", "pods", "--selector", &selector]);
        let pods = pods["items"].as_array().context("kubectl lists no pods")?;
        series.extend(read(keys, &format!("memory, {name}, {when}"), pods)?);
    }
    Ok(series)
}

/// The memory of the one program in each of these pods.
///
/// # Errors
/// A pod does not run.
pub(crate) fn read(keys: Keys, what: &str, pods: &[Value]) -> anyhow::Result<[Series; 2]> {
    let [resident_key, own_key] = keys;
    let mut resident = Series::new(resident_key, format!("{what} (VmRSS)"), Unit::Mebibytes);
    let mut own = Series::new(own_key, "of it its own (RssAnon)", Unit::Mebibytes);
    for pod in pods {
        let name = &pod["metadata"]["name"];
        let container = container(pod).with_context(|| format!("the pod {name} has no container"))?;
        let process = process(container)?.with_context(|| format!("the pod {name} has no process here"))?;
        let Status { resident: all, anonymous, threads: _ } = Status::of(process)?;
        resident.add(Unit::bytes(all));
        own.add(Unit::bytes(anonymous));
    }
    Ok([resident, own])
}

/// The identifier of a pod's one container: `containerd://IDENTIFIER`.
fn container(pod: &Value) -> Option<&str> {
    let container = pod["status"]["containerStatuses"][0]["containerID"].as_str()?;
    container.split_once("://").map(|(_, identifier)| identifier)
}

/// The first process of a container.
fn process(container: &str) -> anyhow::Result<Option<u32>> {
    let entries = fs::read_dir("/proc").context("/proc cannot be read")?;
    let processes = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    // A process may have ended meanwhile.
    let is_in_it = |process: &u32| {
        fs::read_to_string(format!("/proc/{process}/cgroup")).is_ok_and(|cgroups| is_of(&cgroups, container))
    };
    Ok(processes.filter(is_in_it).min())
}

/// Whether `/proc/PID/cgroup` is of a container: its cgroups have its identifier for a name, in every hierarchy of them.
fn is_of(cgroups: &str, container: &str) -> bool {
    cgroups.lines().any(|line| line.rsplit('/').next().is_some_and(|name| name == container))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_process_belongs_to_the_container_whose_cgroup_it_is_in() {
        let second = "0::/kubepods/burstable/pod12/abc\n";
        assert!(is_of(second, "abc"));
        assert!(!is_of(second, "ab") && !is_of(second, "pod12"));
        assert!(is_of("2:cpu:/\n1:memory:/kubepods/pod12/abc\n", "abc"));
        assert!(!is_of("0::/\n", "abc"));
    }

    #[test]
    fn a_pod_that_does_not_run_yet_has_no_container() {
        let pod = |container: Value| json!({"status": {"containerStatuses": [container]}});
        assert_eq!(container(&pod(json!({"containerID": "containerd://abc"}))), Some("abc"));
        assert_eq!(container(&pod(json!({"state": {"waiting": {}}}))), None);
    }
}
