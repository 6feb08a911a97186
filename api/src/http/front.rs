//! What stands in front of the API: other replicas, proxies, pages of other origins.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use axum::extract::{ConnectInfo, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use clap::Args;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header};
use ipnet::IpNet;
use tower_http::cors::CorsLayer;

use super::App;
use super::observe::REQUEST_ID;

/// What a client behind a proxy is told by: each proxy adds whom it was called by at the end.
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// The same from Cloudflare, alone.
const CONNECTING_IP: HeaderName = HeaderName::from_static("cf-connecting-ip");
/// How long a browser may remember what an origin may do.
const PREFLIGHT: Duration = Duration::from_secs(600);

/// What an installation may say of what stands in front.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "In front of the API")]
pub struct Front {
    /// How many replicas of the API answer at this address. With more than one, Socket.IO works over WebSockets only.
    #[arg(long, value_name = "COUNT", env = "ENLACE_REPLICAS", default_value_t = 1,
        value_parser = clap::value_parser!(u32).range(1..))]
    pub replicas: u32,
    /// Pages of which origins may call the API, like https://panel.example.com; separated by commas [default: none but its own].
    #[arg(long, value_name = "ORIGIN", env = "ENLACE_CORS_ORIGINS", value_delimiter = ',', value_parser = origin)]
    pub cors_origins: Vec<HeaderValue>,
    /// Proxies that are believed when they say who calls (X-Forwarded-For, CF-Connecting-IP): addresses or networks like 10.0.0.0/8,
    /// separated by commas [default: none].
    #[arg(long, value_name = "CIDR", env = "ENLACE_TRUSTED_PROXIES", value_delimiter = ',', value_parser = network)]
    pub trusted_proxies: Vec<IpNet>,
}

impl Default for Front {
    fn default() -> Self {
        Self { replicas: 1, cors_origins: Vec::new(), trusted_proxies: Vec::new() }
    }
}

impl Front {
    /// What lets pages of other origins call; none when there are none.
    pub(super) fn cors(&self) -> Option<CorsLayer> {
        let methods = [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];
        (!self.cors_origins.is_empty()).then(|| {
            CorsLayer::new()
                .allow_origin(self.cors_origins.clone())
                .allow_methods(methods)
                .allow_headers([header::AUTHORIZATION, header::CONTENT_TYPE, IDEMPOTENCY_KEY, LAST_EVENT_ID])
                .expose_headers([REQUEST_ID, header::RETRY_AFTER])
                .max_age(PREFLIGHT)
        })
    }

    /// Who calls: the peer, or, when that is a trusted proxy, whom it names.
    fn client(&self, peer: SocketAddr, headers: &HeaderMap) -> SocketAddr {
        let trusted = |ip: IpAddr| {
            let ip = ip.to_canonical();
            self.trusted_proxies.iter().any(|network| network.contains(&ip))
        };
        if !trusted(peer.ip()) {
            return peer;
        }
        let named: Vec<&str> = headers
            .get_all(FORWARDED_FOR)
            .iter()
            .flat_map(|value| value.to_str().unwrap_or_default().split(','))
            .collect();
        let named = if named.is_empty() {
            headers.get(CONNECTING_IP).and_then(|value| value.to_str().ok()).into_iter().collect()
        } else {
            named
        };
        let mut client = peer.ip();
        // From the end: what stands further to the left was said by whoever is not trusted.
        for hop in named.into_iter().rev() {
            let Some(ip) = address(hop) else { break };
            client = ip;
            if !trusted(ip) {
                break;
            }
        }
        if client == peer.ip() { peer } else { SocketAddr::new(client, 0) }
    }
}

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// Puts the client's address in the place of a trusted proxy's.
pub(super) async fn client_address(State(app): State<App>, mut request: Request, next: Next) -> Response {
    if let Some(peer) = peer(&request) {
        let client = app.front().client(peer, request.headers());
        request.extensions_mut().insert(ConnectInfo(client));
    }
    next.run(request).await
}

/// Who calls, when that is known.
pub(crate) fn peer(request: &Request) -> Option<SocketAddr> {
    request.extensions().get::<ConnectInfo<SocketAddr>>().map(|info| info.0)
}

/// An address, also with a port.
fn address(hop: &str) -> Option<IpAddr> {
    let hop = hop.trim();
    let with_port = || hop.parse::<SocketAddr>().ok().map(|address| address.ip());
    let bare = hop.strip_prefix('[').and_then(|hop| hop.strip_suffix(']')).unwrap_or(hop);
    bare.parse().ok().or_else(with_port).map(|ip: IpAddr| ip.to_canonical())
}

fn network(text: &str) -> Result<IpNet, String> {
    let text = text.trim();
    let network = text.parse::<IpNet>().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
    network.ok_or_else(|| format!("{text:?} is neither an address nor a network like 10.0.0.0/8"))
}

fn origin(text: &str) -> Result<HeaderValue, String> {
    let text = text.trim();
    let wrong = || {
        format!(
            "{text:?} is no origin: it has a scheme, a host and perhaps a port, like https://panel.example.com"
        )
    };
    let uri: Uri = text.parse().map_err(|_| wrong())?;
    let plain = matches!(uri.scheme_str(), Some("http" | "https")) && uri.authority().is_some();
    let whole =
        format!("{}://{}", uri.scheme_str().unwrap_or_default(), uri.authority().map_or("", |a| a.as_str()));
    if !plain || whole != text {
        return Err(wrong());
    }
    HeaderValue::from_str(text).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(front: &Front, peer: &str, headers: &[(&'static str, &'static str)]) -> String {
        let headers = headers
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect();
        front.client(SocketAddr::new(peer.parse().unwrap(), 1), &headers).ip().to_string()
    }

    fn trusting(networks: &[&str]) -> Front {
        let trusted_proxies = networks.iter().map(|text| network(text).unwrap()).collect();
        Front { trusted_proxies, ..Front::default() }
    }

    #[test]
    fn nobody_is_believed_unless_trusted() {
        let claims = [("x-forwarded-for", "192.0.2.9"), ("cf-connecting-ip", "192.0.2.9")];
        assert_eq!(client(&Front::default(), "203.0.113.1", &claims), "203.0.113.1");
        assert_eq!(client(&trusting(&["10.0.0.0/8"]), "203.0.113.1", &claims), "203.0.113.1");
    }

    #[test]
    fn the_last_hop_that_is_not_trusted_is_the_client() {
        let front = trusting(&["10.0.0.0/8", "127.0.0.1"]);
        // The client made the first one up.
        let chain = [("x-forwarded-for", "198.51.100.1, 192.0.2.9, 10.1.2.3")];
        assert_eq!(client(&front, "127.0.0.1", &chain), "192.0.2.9");
        assert_eq!(client(&front, "::ffff:127.0.0.1", &chain), "192.0.2.9");
        assert_eq!(client(&front, "10.9.9.9", &[("x-forwarded-for", "[2001:db8::1]:443")]), "2001:db8::1");
        assert_eq!(client(&front, "127.0.0.1", &[("cf-connecting-ip", "192.0.2.9")]), "192.0.2.9");
        let both = [("cf-connecting-ip", "198.51.100.1"), ("x-forwarded-for", "192.0.2.9")];
        assert_eq!(client(&front, "127.0.0.1", &both), "192.0.2.9");
        assert_eq!(client(&front, "127.0.0.1", &[("x-forwarded-for", "192.0.2.9, nonsense")]), "127.0.0.1");
        assert_eq!(client(&front, "127.0.0.1", &[]), "127.0.0.1");
    }

    #[test]
    fn an_origin_is_an_origin() {
        assert!(origin("https://panel.example.com").is_ok());
        assert!(origin("http://localhost:8080").is_ok());
        for wrong in [
            "*",
            "panel.example.com",
            "https://panel.example.com/",
            "https://a.example/path",
            "ftp://a.example",
        ] {
            assert!(origin(wrong).is_err(), "{wrong}");
        }
        assert!(network("10.0.0.0/33").is_err());
    }
}
