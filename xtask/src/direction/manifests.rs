//! What each manifest must say in the same way: versions and lints come from the workspace.

use toml::{Table, Value};

const DEPENDENCIES: [&str; 3] = ["dependencies", "dev-dependencies", "build-dependencies"];
const INHERITED: [&str; 5] = ["version", "edition", "rust-version", "license", "publish"];

/// One line for each thing that the manifest of a package says for itself.
pub(super) fn check(package: &str, manifest: &str) -> Vec<String> {
    let manifest: Table = match manifest.parse() {
        Ok(table) => table,
        Err(error) => return vec![format!("{package}: its manifest cannot be read: {error}")],
    };
    let mut violations = Vec::new();
    if !manifest.get("lints").is_some_and(inherits) {
        violations.push(format!("{package}: [lints] must say workspace = true"));
    }
    let about = manifest.get("package");
    violations.extend(
        INHERITED
            .iter()
            .filter(|field| !about.and_then(|about| about.get(**field)).is_some_and(inherits))
            .map(|field| format!("{package}: [package] must say {field}.workspace = true")),
    );
    let targets = manifest.get("target").and_then(Value::as_table).into_iter().flat_map(Table::values);
    let tables = targets.filter_map(Value::as_table).chain([&manifest]);
    for (kind, dependencies) in tables.flat_map(|table| DEPENDENCIES.map(|kind| (kind, table.get(kind)))) {
        violations.extend(
            dependencies
                .and_then(Value::as_table)
                .into_iter()
                .flatten()
                .filter(|(_, dependency)| !inherits(dependency))
                .map(|(name, _)| format!("{package}: [{kind}] {name} must say workspace = true")),
        );
    }
    violations
}

fn inherits(value: &Value) -> bool {
    value.get("workspace").and_then(Value::as_bool) == Some(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "
        [package]
        name = \"x\"
        version.workspace = true
        edition.workspace = true
        rust-version.workspace = true
        license.workspace = true
        publish.workspace = true
        [lints]
        workspace = true
        [dependencies]
        serde.workspace = true
        kube = { workspace = true, features = [\"derive\"] }
        ";

    #[test]
    fn a_manifest_that_inherits_is_accepted() {
        assert_eq!(check("x", GOOD), Vec::<String>::new());
    }

    #[test]
    fn a_version_of_its_own_is_found_in_every_table() {
        let manifest = format!(
            "{GOOD}
            rand = \"0.10\"
            [dev-dependencies]
            tempfile = {{ version = \"3\" }}
            [target.'cfg(unix)'.build-dependencies]
            cc = \"1\""
        );
        let mut found = check("x", &manifest);
        found.sort();
        assert_eq!(
            found,
            [
                "x: [build-dependencies] cc must say workspace = true",
                "x: [dependencies] rand must say workspace = true",
                "x: [dev-dependencies] tempfile must say workspace = true",
            ]
        );
    }

    #[test]
    fn lints_and_package_fields_of_its_own_are_found() {
        let manifest = GOOD
            .replace("[lints]\n        workspace = true", "[lints.rust]\n        unsafe_code = \"allow\"")
            .replace("edition.workspace = true", "edition = \"2024\"");
        assert_eq!(
            check("x", &manifest),
            ["x: [lints] must say workspace = true", "x: [package] must say edition.workspace = true"]
        );
    }
}
