//! The node's links, and the packet filter that makes an island of the cluster.

use std::fs;
use std::process::Command;

use anyhow::{Context as _, bail};

use super::host;
use super::layout::{
    self, FILTER_TABLE, NODE_ADDRESS, NODE_LINK, NODE_NETWORK, POD_LINK, POD_NETWORK, SERVICE_NETWORK,
};
use crate::setup;

/// What must be on while the cluster runs. Packets between pods on one bridge pass the filters only with the second, which Services need.
const SYSCTLS: [&str; 2] = ["net/ipv4/ip_forward", "net/bridge/bridge-nf-call-iptables"];
/// The tables of kube-proxy.
const PROXY_TABLES: [(&str, &str); 2] = [("ip", "kube-proxy"), ("ip6", "kube-proxy")];

/// Whether another cluster's Services are on this machine.
pub(super) fn is_taken() -> bool {
    PROXY_TABLES.iter().any(|(family, table)| setup::answers(nft().args(["list", "table", family, table])))
}

/// Makes the node's address, the filter and the settings of the kernel.
///
/// # Errors
/// A command fails: its own words.
pub(super) fn make() -> anyhow::Result<()> {
    ip(&["link", "add", NODE_LINK, "type", "bridge"])?;
    ip(&["address", "add", &format!("{NODE_ADDRESS}/24"), "dev", NODE_LINK])?;
    ip(&["link", "set", NODE_LINK, "up"])?;
    let rules = layout::path("filter.nft");
    fs::write(&rules, filter())?;
    quietly(nft().arg("--file").arg(&rules))?;
    let mut before = String::new();
    for name in SYSCTLS {
        let file = format!("/proc/sys/{name}");
        // The second is there once the kernel has its module for filtered bridges.
        let Ok(value) = fs::read_to_string(&file) else { continue };
        before.push_str(&format!("{name} {}\n", value.trim()));
        fs::write(layout::path("sysctls"), &before)?;
        if value.trim() != "1" {
            fs::write(&file, "1").with_context(|| format!("cannot write {file}"))?;
        }
    }
    Ok(())
}

/// Takes all of it away, and what kube-proxy and the CNI plugins made. What is not there is no fault.
pub(super) fn remove() {
    for (family, table) in PROXY_TABLES.into_iter().chain([("inet", FILTER_TABLE)]) {
        setup::answers(nft().args(["delete", "table", family, table]));
    }
    for link in [POD_LINK, NODE_LINK] {
        setup::answers(Command::new("ip").args(["link", "delete", link]));
    }
    for line in fs::read_to_string(layout::path("sysctls")).unwrap_or_default().lines() {
        if let Some((name, value)) = line.split_once(' ') {
            // Best effort: the value was read from there.
            let _ = fs::write(format!("/proc/sys/{name}"), value);
        }
    }
}

/// Nothing comes in from other machines, also not by way of a route that somebody set to this one, and no pod gets out.
fn filter() -> String {
    format!(
        r#"table inet {FILTER_TABLE} {{
  set cluster {{
    type ipv4_addr; flags interval;
    elements = {{ {NODE_NETWORK}, {SERVICE_NETWORK}, {POD_NETWORK} }}
  }}
  # Before kube-proxy turns a Service's address into a pod's.
  chain arriving {{
    type filter hook prerouting priority mangle;
    iifname != {{ "lo", "{NODE_LINK}", "{POD_LINK}" }} ip daddr @cluster drop
  }}
  chain passing {{
    type filter hook forward priority filter;
    iifname "{POD_LINK}" oifname != {{ "{NODE_LINK}", "{POD_LINK}" }} drop
    oifname "{POD_LINK}" iifname != {{ "{NODE_LINK}", "{POD_LINK}" }} drop
  }}
}}
"#
    )
}

fn ip(arguments: &[&str]) -> anyhow::Result<()> {
    quietly(Command::new("ip").args(arguments)).map(drop)
}

fn nft() -> Command {
    Command::new(host::find("nft").unwrap_or_else(|| "nft".into()))
}

/// Runs a program whose output matters only when it fails.
///
/// # Errors
/// Its own words.
pub(super) fn quietly(command: &mut Command) -> anyhow::Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| format!("cannot start {name}"))?;
    if !output.status.success() {
        bail!("{name} failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
