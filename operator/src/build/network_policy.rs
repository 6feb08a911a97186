//! Who reaches a device, and what it reaches.

use enlace_contract::name::DeviceKey;
use enlace_crds::{WhatsAppDevice, names};
use k8s_openapi::api::networking::v1::{
    IPBlock, NetworkPolicy, NetworkPolicyEgressRule, NetworkPolicyIngressRule, NetworkPolicyPeer,
    NetworkPolicyPort, NetworkPolicySpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::{child, owned, seal};

/// Link-local addresses: the metadata services of clouds answer there with the node's credentials.
const LINK_LOCAL: &str = "169.254.0.0/16";
/// The same of IPv6, where a cloud has one.
const LINK_LOCAL_6: [&str; 2] = ["fe80::/10", "fd00:ec2::254/128"];
/// Where the cluster's DNS listens on each node when it has a cache there.
const NODE_DNS: &str = "169.254.20.10/32";

/// The NetworkPolicy of a device of the installation in a namespace.
pub fn network_policy(device: &WhatsAppDevice, key: &DeviceKey, installation: &str) -> NetworkPolicy {
    let from_ours = NetworkPolicyIngressRule {
        from: Some(vec![NetworkPolicyPeer {
            namespace_selector: Some(LabelSelector {
                match_labels: Some(owned([("kubernetes.io/metadata.name", installation.to_owned())])),
                ..LabelSelector::default()
            }),
            pod_selector: Some(LabelSelector {
                match_labels: Some(owned([(names::APP_NAME, "enlace".to_owned())])),
                match_expressions: Some(vec![LabelSelectorRequirement {
                    key: names::APP_COMPONENT.to_owned(),
                    operator: "In".to_owned(),
                    values: Some(vec!["operator".to_owned(), "api".to_owned()]),
                }]),
            }),
            ip_block: None,
        }]),
        ports: Some(vec![port("TCP", "http")]),
    };
    let metrics = NetworkPolicyIngressRule { from: None, ports: Some(vec![port("TCP", "metrics")]) };
    let out = NetworkPolicyEgressRule {
        to: Some(vec![block("0.0.0.0/0", &[LINK_LOCAL]), block("::/0", &LINK_LOCAL_6)]),
        ports: None,
    };
    let dns = NetworkPolicyEgressRule {
        to: Some(vec![block(NODE_DNS, &[])]),
        ports: Some(vec![number("UDP", 53), number("TCP", 53)]),
    };
    seal(NetworkPolicy {
        metadata: child(device, key, names::network_policy(key)),
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(LabelSelector {
                match_labels: Some(owned(names::pod_selector(key))),
                ..LabelSelector::default()
            }),
            policy_types: Some(vec!["Ingress".to_owned(), "Egress".to_owned()]),
            ingress: Some(vec![from_ours, metrics]),
            egress: Some(vec![out, dns]),
        }),
    })
}

fn port(protocol: &str, name: &str) -> NetworkPolicyPort {
    NetworkPolicyPort {
        protocol: Some(protocol.to_owned()),
        port: Some(IntOrString::String(name.to_owned())),
        end_port: None,
    }
}

fn number(protocol: &str, port: i32) -> NetworkPolicyPort {
    NetworkPolicyPort {
        protocol: Some(protocol.to_owned()),
        port: Some(IntOrString::Int(port)),
        end_port: None,
    }
}

fn block(cidr: &str, except: &[&str]) -> NetworkPolicyPeer {
    NetworkPolicyPeer {
        ip_block: Some(IPBlock {
            cidr: cidr.to_owned(),
            except: (!except.is_empty()).then(|| except.iter().map(|&range| range.to_owned()).collect()),
        }),
        ..NetworkPolicyPeer::default()
    }
}
