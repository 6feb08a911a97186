//! The packages and their dependencies.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use cargo_metadata::{DependencyKind, Metadata};

/// Packages by their identifier. Dependencies that only tests or build scripts have are not in it: they are in no program.
#[derive(Default)]
pub(super) struct Graph {
    packages: BTreeMap<String, Package>,
}

/// One package of one version.
#[derive(Default)]
pub(super) struct Package {
    /// Its name.
    pub(super) name: String,
    /// Whether it is of this workspace.
    pub(super) member: bool,
    /// The features that are on.
    pub(super) features: BTreeSet<String>,
    /// The identifiers of what it depends on.
    dependencies: BTreeSet<String>,
}

impl Graph {
    /// What cargo resolved.
    pub(super) fn from_metadata(metadata: &Metadata) -> Self {
        let mut packages: BTreeMap<String, Package> = metadata
            .packages
            .iter()
            .map(|package| {
                let member = metadata.workspace_members.contains(&package.id);
                let name = package.name.to_string();
                (package.id.repr.clone(), Package { name, member, ..Package::default() })
            })
            .collect();
        for node in metadata.resolve.iter().flat_map(|resolve| &resolve.nodes) {
            let Some(package) = packages.get_mut(&node.id.repr) else { continue };
            package.features = node.features.iter().map(ToString::to_string).collect();
            package.dependencies = node
                .deps
                .iter()
                .filter(|dependency| {
                    dependency.dep_kinds.iter().any(|kind| kind.kind == DependencyKind::Normal)
                })
                .map(|dependency| dependency.pkg.repr.clone())
                .collect();
        }
        Self { packages }
    }

    /// How many packages there are.
    pub(super) fn len(&self) -> usize {
        self.packages.len()
    }

    /// All packages.
    pub(super) fn packages(&self) -> impl Iterator<Item = &Package> {
        self.packages.values()
    }

    /// The packages of this workspace.
    pub(super) fn members(&self) -> impl Iterator<Item = &Package> {
        self.packages().filter(|package| package.member)
    }

    /// What a package itself depends on.
    pub(super) fn dependencies(&self, package: &Package) -> impl Iterator<Item = &Package> {
        package.dependencies.iter().filter_map(|id| self.packages.get(id))
    }

    /// The shortest way from a member to a package that matches, as names from the first to the last.
    pub(super) fn path(&self, from: &str, matches: impl Fn(&str) -> bool) -> Option<Vec<&str>> {
        let (start, _) = self.packages.iter().find(|(_, package)| package.member && package.name == from)?;
        let mut reached_from: BTreeMap<&str, Option<&str>> = BTreeMap::from([(start.as_str(), None)]);
        let mut queue = VecDeque::from([start.as_str()]);
        while let Some(id) = queue.pop_front() {
            let package = self.packages.get(id)?;
            if id != start && matches(&package.name) {
                let mut names = Vec::new();
                let mut step = Some(id);
                while let Some(id) = step {
                    names.extend(self.packages.get(id).map(|package| package.name.as_str()));
                    step = reached_from.get(id).copied().flatten();
                }
                names.reverse();
                return Some(names);
            }
            for next in &package.dependencies {
                if !reached_from.contains_key(next.as_str()) {
                    reached_from.insert(next, Some(id));
                    queue.push_back(next);
                }
            }
        }
        None
    }
}

#[cfg(test)]
impl Graph {
    /// A made-up graph of `name -> dependency dependency …` lines; a name with a `*` is a member, `name+feature` has that feature on.
    pub(super) fn of(lines: &str) -> Self {
        let mut graph = Self::default();
        for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let (head, tail) = line.split_once("->").unwrap_or((line, ""));
            let mut parts = head.trim().split('+');
            let marked = parts.next().unwrap_or_default();
            let name = marked.trim_end_matches('*').to_owned();
            let dependencies: BTreeSet<String> = tail.split_whitespace().map(str::to_owned).collect();
            for dependency in &dependencies {
                graph
                    .packages
                    .entry(dependency.clone())
                    .or_insert_with(|| Package { name: dependency.clone(), ..Package::default() });
            }
            let package = graph.packages.entry(name.clone()).or_default();
            package.name = name;
            package.member = marked.ends_with('*');
            package.features = parts.map(str::to_owned).collect();
            package.dependencies = dependencies;
        }
        graph
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shortest_way_is_found_and_a_circle_ends() {
        let graph = Graph::of("a* -> long short\nlong -> longer\nlonger -> goal a\nshort -> goal");
        assert_eq!(graph.path("a", |name| name == "goal"), Some(vec!["a", "short", "goal"]));
        assert_eq!(graph.path("a", |name| name == "elsewhere"), None);
    }
}
