//! The directions, and who crosses them.

use super::graph::Graph;

/// The packages of this workspace, and which others of it each may depend on. Tests may depend on more: they are in no program.
const DIRECTIONS: [(&str, &[&str]); 15] = [
    ("enlace-contract", &[]),
    ("enlace-crds", &["enlace-contract"]),
    ("enlace-device-pod", &["enlace-contract"]),
    ("enlace-operator", &["enlace-contract", "enlace-crds"]),
    ("enlace-api", &["enlace-contract", "enlace-crds"]),
    ("enlace-cli", &["enlace-api", "enlace-contract", "enlace-crds", "enlace-device-pod"]),
    ("whatsapp-simulator", &[]),
    ("xtask", &[]),
    ("enlace-demo", &["enlace-contract", "whatsapp-simulator"]),
    (
        "enlace-bench",
        &["enlace-contract", "enlace-crds", "enlace-databases", "enlace-e2e", "whatsapp-simulator"],
    ),
    ("enlace-e2e", &["enlace-contract", "enlace-crds", "whatsapp-simulator"]),
    ("enlace-compat", &["enlace-databases", "whatsapp-simulator"]),
    ("enlace-peers", &[]),
    ("enlace-databases", &[]),
    ("enlace-chart-tests", &[]),
];

/// Kubernetes' crates.
const KUBERNETES: Family =
    Family { what: "Kubernetes", names: &["k8s-openapi", "kube"], prefixes: &["kube-"] };
/// The WhatsApp engine's crates.
const WHATSAPP: Family = Family {
    what: "WhatsApp",
    names: &["wacore", "waproto", "whatsapp-rust"],
    prefixes: &["wacore-", "whatsapp-rust-"],
};

/// What each package must not reach, by any way.
const OUT_OF_REACH: [(&str, &Family); 6] = [
    ("enlace-contract", &KUBERNETES),
    ("enlace-contract", &WHATSAPP),
    ("enlace-crds", &WHATSAPP),
    ("enlace-device-pod", &KUBERNETES),
    ("enlace-operator", &WHATSAPP),
    ("enlace-api", &WHATSAPP),
];

/// The feature that trusts a simulator, by its name in each package that has it.
const TRUST: [(&str, &str); 3] = [
    ("enlace-cli", "simulator-trust"),
    ("enlace-device-pod", "simulator-trust"),
    ("whatsapp-rust", "danger-skip-cert-chain-verify"),
];

/// Crates that belong together.
struct Family {
    what: &'static str,
    names: &'static [&'static str],
    prefixes: &'static [&'static str],
}

impl Family {
    fn has(&self, name: &str) -> bool {
        self.names.contains(&name) || self.prefixes.iter().any(|prefix| name.starts_with(prefix))
    }
}

/// One line for each direction that is crossed.
pub(super) fn check(graph: &Graph) -> Vec<String> {
    let mut violations = Vec::new();
    for member in graph.members() {
        let Some((_, allowed)) = DIRECTIONS.iter().find(|(name, _)| *name == member.name) else {
            violations.push(format!(
                "{}: not in the table of directions (xtask/src/direction/rules.rs): say there what it may depend on",
                member.name
            ));
            continue;
        };
        violations.extend(
            graph
                .dependencies(member)
                .filter(|dependency| dependency.member && !allowed.contains(&dependency.name.as_str()))
                .map(|dependency| format!("{} must not depend on {}", member.name, dependency.name)),
        );
    }
    violations.extend(OUT_OF_REACH.iter().filter_map(|(name, family)| {
        let path = graph.path(name, |reached| family.has(reached))?;
        Some(format!("{name} must not reach {}: {}", family.what, path.join(" -> ")))
    }));
    violations
}

/// One line for each place where the simulator's trust is on without being asked for.
pub(super) fn check_defaults(graph: &Graph) -> Vec<String> {
    graph
        .packages()
        .flat_map(|package| {
            TRUST
                .iter()
                .filter(|(name, feature)| *name == package.name && package.features.contains(*feature))
                .map(|(name, feature)| {
                    format!("{name}: the feature {feature} is on by default in this workspace")
                })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "
        enlace-contract* -> axum
        enlace-crds* -> enlace-contract kube
        kube -> kube-core
        enlace-device-pod* -> enlace-contract whatsapp-rust
        enlace-api* -> enlace-contract enlace-crds
        enlace-cli* -> enlace-api enlace-device-pod
        whatsapp-rust -> wacore wacore-libsignal
        whatsapp-simulator* -> wacore";

    fn with(line: &str) -> Vec<String> {
        let name = line.split_once('*').map(|(name, _)| name).unwrap_or_default();
        let kept: Vec<&str> =
            GOOD.lines().filter(|kept| !kept.trim().starts_with(&format!("{name}*"))).collect();
        check(&Graph::of(&format!("{}\n{line}", kept.join("\n"))))
    }

    #[test]
    fn the_arrows_of_the_design_are_accepted() {
        assert_eq!(check(&Graph::of(GOOD)), Vec::<String>::new());
    }

    #[test]
    fn a_device_that_reaches_kubernetes_is_shown_the_way() {
        assert_eq!(
            with("enlace-device-pod* -> enlace-contract metrics\nmetrics -> kube"),
            ["enlace-device-pod must not reach Kubernetes: enlace-device-pod -> metrics -> kube"]
        );
    }

    #[test]
    fn an_api_that_reaches_the_engine_is_shown_the_way() {
        assert_eq!(
            with("enlace-api* -> enlace-crds pictures\npictures -> wacore-libsignal"),
            ["enlace-api must not reach WhatsApp: enlace-api -> pictures -> wacore-libsignal"]
        );
    }

    #[test]
    fn the_contract_reaches_neither_side() {
        assert_eq!(
            with("enlace-contract* -> k8s-openapi waproto"),
            [
                "enlace-contract must not reach Kubernetes: enlace-contract -> k8s-openapi",
                "enlace-contract must not reach WhatsApp: enlace-contract -> waproto",
                // Whoever depends on the contract reaches them as well.
                "enlace-crds must not reach WhatsApp: enlace-crds -> enlace-contract -> waproto",
                "enlace-device-pod must not reach Kubernetes: enlace-device-pod -> enlace-contract -> k8s-openapi",
                "enlace-api must not reach WhatsApp: enlace-api -> enlace-contract -> waproto",
            ]
        );
    }

    #[test]
    fn operator_and_api_do_not_depend_on_each_other() {
        assert_eq!(with("enlace-operator* -> enlace-api"), ["enlace-operator must not depend on enlace-api"]);
    }

    #[test]
    fn the_simulator_is_in_no_product() {
        assert_eq!(
            with("enlace-cli* -> enlace-api enlace-device-pod whatsapp-simulator"),
            ["enlace-cli must not depend on whatsapp-simulator"]
        );
    }

    #[test]
    fn a_new_package_must_say_what_it_may_depend_on() {
        let violations = with("enlace-surprise* -> enlace-contract");
        assert_eq!(violations.len(), 1, "{violations:?}");
        assert!(violations[0].starts_with("enlace-surprise: not in the table"), "{violations:?}");
    }

    #[test]
    fn names_that_only_begin_alike_are_not_of_the_family() {
        assert_eq!(with("enlace-device-pod* -> enlace-contract kubernetes-free"), Vec::<String>::new());
    }

    #[test]
    fn trust_in_a_simulator_that_nobody_asked_for_is_found() {
        let graph =
            Graph::of("enlace-device-pod* -> whatsapp-rust\nwhatsapp-rust+danger-skip-cert-chain-verify");
        assert_eq!(
            check_defaults(&graph),
            ["whatsapp-rust: the feature danger-skip-cert-chain-verify is on by default in this workspace"]
        );
        assert_eq!(check_defaults(&Graph::of(GOOD)), Vec::<String>::new());
    }
}
