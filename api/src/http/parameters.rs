//! Which query parameters a route knows: those of its description. One that is not among them is a mistake, which would otherwise look as if
//! it had been followed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use axum::extract::{MatchedPath, Request};
use axum::middleware::Next;
use axum::response::Response;
use serde_json::Value;

use super::failure::Failure;
use super::openapi;

/// The parameters of each path and method.
static KNOWN: LazyLock<BTreeMap<(String, String), BTreeSet<String>>> =
    LazyLock::new(|| known_of(&openapi::description()));

/// Refuses query parameters that the route does not have. What is passed on to a device is judged there.
pub(super) async fn known(request: Request, next: Next) -> Result<Response, Failure> {
    if let Some(query) = request.uri().query()
        && let Some(path) = request.extensions().get::<MatchedPath>()
        && !is_passed_on(path.as_str(), request.method().as_str())
        && let Some(known) = KNOWN.get(&(path.as_str().to_owned(), request.method().as_str().to_lowercase()))
        && let Some(unknown) = names(query).find(|name| !known.contains(*name))
    {
        return Err(Failure::invalid_query(refusal(unknown, known)));
    }
    Ok(next.run(request).await)
}

fn refusal(unknown: &str, known: &BTreeSet<String>) -> String {
    if known.is_empty() {
        return format!("{unknown}: is not a parameter; this route has none");
    }
    let known: Vec<&str> = known.iter().map(String::as_str).collect();
    format!("{unknown}: is not a parameter; the parameters are {}", known.join(", "))
}

/// The names, as they were written: none that is known needs percent signs.
fn names(query: &str) -> impl Iterator<Item = &str> {
    query.split('&').filter(|pair| !pair.is_empty()).map(|pair| pair.split('=').next().unwrap_or_default())
}

fn is_passed_on(path: &str, method: &str) -> bool {
    let Some(rest) = path.strip_prefix("/v1/devices/{namespace}/{name}/") else { return false };
    match rest.split('/').next() {
        Some("messages" | "inbox") => true,
        Some("qr" | "pairing-code" | "events") => method == "GET",
        _ => false,
    }
}

fn known_of(description: &Value) -> BTreeMap<(String, String), BTreeSet<String>> {
    let paths = description["paths"].as_object().into_iter().flatten();
    let operations = paths.flat_map(|(path, operations)| {
        let operations = operations.as_object().into_iter().flatten();
        operations.map(move |(method, operation)| (path, method, operation))
    });
    operations
        .map(|(path, method, operation)| {
            let parameters = operation["parameters"].as_array().into_iter().flatten();
            let names = parameters
                .filter(|parameter| parameter["in"] == "query")
                .filter_map(|parameter| parameter["name"].as_str().map(str::to_owned));
            ((path.clone(), method.clone()), names.collect())
        })
        .collect()
}
