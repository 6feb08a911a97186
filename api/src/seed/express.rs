//! What Express does to a request before a route sees it, as far as clients can tell: paths are the same in upper
//! and lower case and with a slash at their end, and bodies may be compressed. The limit of a body counts what comes
//! out.

use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{RawPathParams, Request};
use axum::middleware::Next;
use axum::response::Response;
use http::uri::PathAndQuery;
use http::{HeaderValue, StatusCode, Uri, header};
use tower_http::decompression::RequestDecompressionLayer;

use super::answers::Refusal;

/// A request with its path as the routes have it, and its encoding in lower case: an empty one is none.
pub(crate) fn routed(mut request: Request) -> Request {
    if let Some(uri) = as_routed(request.uri()) {
        *request.uri_mut() = uri;
    }
    let encoding = request.headers().get(header::CONTENT_ENCODING);
    if let Some(lower) = encoding.map(|encoding| encoding.as_bytes().to_ascii_lowercase()) {
        match HeaderValue::from_bytes(&lower) {
            Ok(lower) if !lower.is_empty() => {
                drop(request.headers_mut().insert(header::CONTENT_ENCODING, lower))
            }
            _ => drop(request.headers_mut().remove(header::CONTENT_ENCODING)),
        }
    }
    request
}

/// A path of this API as the routes have it; none when it is so, or is no path of this API. What stands for a
/// parameter keeps its case.
fn as_routed(uri: &Uri) -> Option<Uri> {
    let path = uri.path();
    let mut segments = path.strip_suffix('/').unwrap_or(path).splitn(4, '/').skip(1);
    let first = segments.next()?.to_ascii_lowercase();
    if !matches!(first.as_str(), "api" | "health" | "system-status") {
        return None;
    }
    let mut routed = format!("/{first}");
    if let Some(name) = segments.next() {
        routed = format!("{routed}/{}", name.to_ascii_lowercase());
    }
    if let Some(parameter) = segments.next() {
        routed = format!("{routed}/{parameter}");
    }
    if routed == path {
        return None;
    }
    if let Some(query) = uri.query() {
        routed = format!("{routed}?{query}");
    }
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(routed).ok()?);
    Uri::from_parts(parts).ok()
}

/// Opens bodies in the encodings that are known; others are left as they are. Brotli is none of them: whoever sends
/// a few bytes of it chooses that 16 MB of memory are taken.
pub(super) fn opened() -> RequestDecompressionLayer {
    RequestDecompressionLayer::new().pass_through_unaccepted(true)
}

/// Refuses what no handler could read: a parameter that is no text, and a body that was left as it was.
pub(super) async fn readable(
    parameters: Result<RawPathParams, RawPathParamsRejection>,
    request: Request,
    next: Next,
) -> Result<Response, Refusal> {
    if matches!(parameters, Err(RawPathParamsRejection::InvalidUtf8InPathParam(_))) {
        return Err(Refusal::bad_request("La dirección no es UTF-8 válido"));
    }
    let encoding = request.headers().get(header::CONTENT_ENCODING);
    if encoding.is_some_and(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        let error = "La codificación del cuerpo no se admite: use gzip, deflate o ninguna";
        return Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "UnknownEncoding", error).with_time());
    }
    Ok(next.run(request).await)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_the_same_in_upper_and_lower_case_and_with_a_slash_at_its_end() {
        for (asked, routed) in [
            ("/api/health/", "/api/health"),
            ("/API/Health", "/api/health"),
            ("/HEALTH/", "/health"),
            ("/System-Status?x=Y", "/system-status?x=Y"),
            ("/api/qr/", "/api/qr"),
            ("/Api/QR/NTI1aB/?t=A", "/api/qr/NTI1aB?t=A"),
            ("/api/qr/a//", "/api/qr/a/"),
            ("/api/", "/api"),
        ] {
            let uri = as_routed(&asked.parse().unwrap()).map(|uri| uri.to_string());
            assert_eq!(uri.as_deref(), Some(routed), "{asked}");
        }
        for same in
            ["/api/health", "/api/qr/NTI1aB?t=A", "/V1/me", "/v1/devices/", "/", "/socket.io/", "//api/me"]
        {
            assert_eq!(as_routed(&same.parse().unwrap()), None, "{same}");
        }
    }
}
