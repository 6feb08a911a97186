//! The description of the routes, OpenAPI 3.1, from the code.
//!
//! A copy is in `api/openapi.json`, and a test holds it to the code.

use std::sync::LazyLock;

use axum::response::{IntoResponse, Response};
use enlace_contract::problem::{MEDIA_TYPE, Problem};
use http::{HeaderValue, header};
use serde_json::{Value, json};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::{Modify, OpenApi};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{App, devices, events, forward, health, session, tokens, users};

#[derive(OpenApi)]
#[openapi(
    info(title = "Enlace", description = "WhatsApp numbers as resources.", license(name = "Apache-2.0", identifier = "Apache-2.0")),
    components(schemas(Problem)),
    modifiers(&BearerToken),
    tags(
        (name = "devices", description = "The numbers."),
        (name = "linking", description = "Linking a phone."),
        (name = "messages", description = "What goes out and what came in."),
        (name = "events", description = "Live streams."),
        (name = "session", description = "Login."),
        (name = "tokens", description = "What opens the API."),
        (name = "users", description = "Who may use it."),
        (name = "health", description = "For probes."),
    )
)]
struct Description;

struct BearerToken;

impl Modify for BearerToken {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let scheme = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
        openapi.components.get_or_insert_default().add_security_scheme("token", scheme);
    }
}

/// The routes that need a token.
pub(super) fn guarded() -> OpenApiRouter<App> {
    OpenApiRouter::with_openapi(Description::openapi())
        .routes(routes!(session::me))
        .routes(routes!(session::logout))
        .routes(routes!(devices::list, devices::create))
        .routes(routes!(devices::get, devices::update, devices::delete))
        .routes(routes!(devices::suspend))
        .routes(routes!(devices::resume))
        .routes(routes!(devices::status))
        .routes(routes!(devices::pair))
        .routes(routes!(devices::log_out))
        .routes(routes!(devices::declaration_errors))
        .routes(routes!(forward::qr))
        .routes(routes!(forward::pairing_code))
        .routes(routes!(forward::messages, forward::send))
        .routes(routes!(forward::message))
        .routes(routes!(forward::inbox))
        .routes(routes!(forward::media))
        .routes(routes!(events::of_device))
        .routes(routes!(events::of_all))
        .routes(routes!(tokens::list, tokens::create))
        .routes(routes!(tokens::delete))
        .routes(routes!(users::list, users::create))
        .routes(routes!(users::delete))
        .routes(routes!(users::change_password))
}

/// The routes that need none.
pub(super) fn open() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(session::login))
        .routes(routes!(health::live))
        .routes(routes!(health::ready))
}

/// The description.
pub fn description() -> Value {
    let (_, mut openapi) = guarded().split_for_parts();
    let (_, open) = open().split_for_parts();
    openapi.merge(open);
    let mut document = serde_json::to_value(openapi).unwrap_or_default();
    // The resource has its schema already; a second one by hand would drift from it.
    if let Some(schemas) = document.pointer_mut("/components/schemas").and_then(Value::as_object_mut) {
        let resource = resource_schema();
        let mut create = resource.clone();
        if let Some(create) = create.as_object_mut() {
            create.remove("required");
        }
        if let Some(properties) = create.get_mut("properties").and_then(Value::as_object_mut) {
            properties.remove("status");
        }
        schemas.insert("WhatsAppDevice".to_owned(), resource);
        schemas.insert("CreateDevice".to_owned(), create);
    }
    let problem = json!({
        "description": "Not followed; the reason says why",
        "content": { MEDIA_TYPE: { "schema": { "$ref": "#/components/schemas/Problem" } } },
    });
    let paths = document.get_mut("paths").and_then(Value::as_object_mut);
    for operation in paths.into_iter().flat_map(|paths| paths.values_mut()).filter_map(Value::as_object_mut) {
        for answers in operation.values_mut().filter_map(|one| one.get_mut("responses")?.as_object_mut()) {
            answers.insert("default".to_owned(), problem.clone());
        }
    }
    document
}

/// The schema of the resource, as an API server has it, with what every resource has.
fn resource_schema() -> Value {
    let crd = enlace_crds::yaml::crd_yaml().unwrap_or_default();
    let crd: Value = serde_saphyr::from_str(&crd).unwrap_or_default();
    let mut schema = crd.pointer("/spec/versions/0/schema/openAPIV3Schema").cloned().unwrap_or_default();
    if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        let text = json!({ "type": "string" });
        let texts = json!({ "type": "object", "additionalProperties": { "type": "string" } });
        properties.insert("apiVersion".to_owned(), text.clone());
        properties.insert("kind".to_owned(), text.clone());
        properties.insert(
            "metadata".to_owned(),
            json!({ "type": "object", "required": ["name"], "properties": {
                "name": text, "namespace": text, "uid": text, "labels": texts, "annotations": texts,
                "creationTimestamp": { "type": "string", "format": "date-time" },
                "generation": { "type": "integer" },
            } }),
        );
    }
    schema
}

static DOCUMENT: LazyLock<String> = LazyLock::new(|| description().to_string());

/// `GET /v1/openapi.json`.
pub(super) async fn document() -> Response {
    let mut response = DOCUMENT.as_str().into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
