//! The description.

use enlace_api::http::openapi::description;

#[test]
fn the_committed_description_is_what_would_be_generated() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("openapi.json");
    let generated = format!("{:#}\n", description());
    if std::env::var_os("ENLACE_UPDATE_OPENAPI").is_some() {
        std::fs::write(&path, &generated).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == generated,
        "api/openapi.json is out of date: ENLACE_UPDATE_OPENAPI=1 cargo test -p enlace-api --test api openapi"
    );
}

#[test]
fn the_description_is_of_openapi_3_1_and_complete() {
    let document = description();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"), "{}", document["openapi"]);
    let text = document.to_string();
    for part in text.split("\"$ref\":\"#/components/schemas/").skip(1) {
        let name = part.split('"').next().unwrap();
        assert!(document["components"]["schemas"].get(name).is_some(), "{name} is not described");
    }
    let device = &document["components"]["schemas"]["WhatsAppDevice"];
    assert!(device["properties"]["spec"]["properties"]["phoneNumber"].is_object());
    let spec = &document["paths"]["/v1/devices/{namespace}/{name}/messages"]["post"];
    assert!(spec["requestBody"].is_object() && spec["responses"]["default"].is_object());
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            assert!(operation["summary"].is_string(), "{method} {path} has no summary");
        }
    }
}

#[test]
fn the_description_names_only_routes_that_there_are() {
    let document = description();
    let known: Vec<&String> = document["paths"].as_object().unwrap().keys().collect();
    let text = document.to_string();
    for method in ["GET", "POST", "PUT", "PATCH", "DELETE"] {
        for part in text.split(&format!("`{method} ")).skip(1) {
            let path = part.split('`').next().unwrap().to_owned();
            assert!(known.contains(&&path), "{method} {path}");
        }
    }
    let spec = &document["components"]["schemas"]["WhatsAppDevice"]["properties"]["spec"];
    assert_eq!(spec["properties"]["displayName"]["maxLength"], 100, "as the rule says");
    assert!(!text.contains("linked to this cluster"));
}
