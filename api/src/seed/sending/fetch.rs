//! Files by URL. Callers choose the URL, so it must not lead into the installation's own network: names are resolved here, each address is
//! checked, and the connection goes to the address that was checked. The same holds for every redirect.

use std::error::Error as StdError;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http::header;
use ipnet::IpNet;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::{Client, Response, Url, redirect};

use super::file::{Claims, File, MAX_FILE, plain_name};
use crate::seed::answers::Refusal;

/// How long a file may take to arrive, redirects included.
const LIMIT: Duration = Duration::from_secs(30);
/// How long a connection may take to open.
const CONNECT: Duration = Duration::from_secs(5);
/// How many redirects are followed.
const REDIRECTS: usize = 3;
/// The longest URL.
const MAX_URL: usize = 2048;

/// Fetches files.
#[derive(Debug)]
pub struct Fetcher {
    client: Client,
    guard: Guard,
}

/// A file that was not fetched. The texts are for the caller: they say nothing of what is at an address.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    #[error("La URL del archivo no es válida: se acepta http o https")]
    Url,
    #[error("La dirección de la URL del archivo no está permitida")]
    Forbidden,
    #[error("La URL del archivo redirige más de {REDIRECTS} veces")]
    Redirects,
    #[error("El archivo de la URL supera el límite de {MAX_FILE} bytes")]
    TooLarge,
    #[error("El archivo de la URL no llegó en {} segundos", LIMIT.as_secs())]
    Slow,
    #[error("La URL del archivo respondió con el estado {0}")]
    Status(u16),
    #[error("No se pudo descargar el archivo de la URL")]
    Failed(#[source] reqwest::Error),
    #[error("El archivo de la URL está vacío")]
    Empty,
}

impl From<FetchError> for Refusal {
    fn from(error: FetchError) -> Self {
        tracing::info!(error = &error as &dyn StdError, "a file was not fetched");
        Self::bad_request(error.to_string())
    }
}

impl Fetcher {
    /// A fetcher that reaches public addresses, and those that are allowed beside.
    ///
    /// # Errors
    /// The client cannot be made.
    pub fn new(allowed: &[IpNet]) -> Result<Self, reqwest::Error> {
        // Another one may be installed already, which does as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let guard = Guard(allowed.into());
        let client = Client::builder()
            .dns_resolver(Arc::new(guard.clone()))
            .redirect(redirect::Policy::none())
            // A proxy would do the resolving; and it is inside.
            .no_proxy()
            .connect_timeout(CONNECT)
            // What was connected to once is checked anew the next time.
            .pool_max_idle_per_host(0)
            .referer(false)
            .build()?;
        Ok(Self { client, guard })
    }

    /// Fetches a file. Its name and type are those of the answer where the caller gives none.
    pub(super) async fn fetch(&self, url: &str, claims: Claims<'_>) -> Result<File, FetchError> {
        tokio::time::timeout(LIMIT, self.follow(url, claims)).await.map_err(|_| FetchError::Slow)?
    }

    async fn follow(&self, url: &str, claims: Claims<'_>) -> Result<File, FetchError> {
        if url.len() > MAX_URL {
            return Err(FetchError::Url);
        }
        let mut url = Url::parse(url).map_err(|_| FetchError::Url)?;
        for _ in 0..=REDIRECTS {
            self.check(&url)?;
            let response = self.client.get(url.clone()).send().await.map_err(failed)?;
            if !response.status().is_redirection() {
                return read(response, &url, claims).await;
            }
            let location = response.headers().get(header::LOCATION).and_then(|value| value.to_str().ok());
            url = location.and_then(|location| url.join(location).ok()).ok_or(FetchError::Url)?;
        }
        Err(FetchError::Redirects)
    }

    /// What can be said of a URL before its name is resolved. An address in it is not resolved: it is checked here.
    fn check(&self, url: &Url) -> Result<(), FetchError> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err(FetchError::Url);
        }
        let host = url.host_str().ok_or(FetchError::Url)?;
        match host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
            Ok(address) if !self.guard.allows(address) => Err(FetchError::Forbidden),
            _ => Ok(()),
        }
    }
}

async fn read(mut response: Response, url: &Url, claims: Claims<'_>) -> Result<File, FetchError> {
    if !response.status().is_success() {
        return Err(FetchError::Status(response.status().as_u16()));
    }
    if response.content_length().is_some_and(|length| length > MAX_FILE as u64) {
        return Err(FetchError::TooLarge);
    }
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(failed)? {
        if bytes.len() + chunk.len() > MAX_FILE {
            return Err(FetchError::TooLarge);
        }
        bytes.extend_from_slice(&chunk);
    }
    if bytes.is_empty() {
        return Err(FetchError::Empty);
    }
    let mime = response.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let name = url.path_segments().and_then(|mut segments| segments.next_back()).and_then(unescaped);
    let name = claims.name.map(str::to_owned).or(name);
    Ok(File::new(bytes, Claims { name: name.as_deref(), mime: claims.mime.or(mime) }))
}

/// A part of a path without its percent signs.
fn unescaped(segment: &str) -> Option<String> {
    let escaped = segment.replace('+', "%2B");
    let (name, _) = form_urlencoded::parse(escaped.as_bytes()).next()?;
    plain_name(&name)
}

fn failed(error: reqwest::Error) -> FetchError {
    let mut cause = StdError::source(&error);
    while let Some(source) = cause {
        if source.is::<NotAllowed>() {
            return FetchError::Forbidden;
        }
        cause = source.source();
    }
    FetchError::Failed(error.without_url())
}

/// Which addresses may be reached.
#[derive(Clone, Debug)]
struct Guard(Arc<[IpNet]>);

/// A name has no address that may be reached.
#[derive(Debug, thiserror::Error)]
#[error("no address of this name may be reached")]
struct NotAllowed;

impl Guard {
    fn allows(&self, address: IpAddr) -> bool {
        self.0.iter().any(|range| range.contains(&address)) || is_public(address)
    }
}

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = self.clone();
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let allowed: Vec<SocketAddr> = found.filter(|found| guard.allows(found.ip())).collect();
            if allowed.is_empty() {
                return Err(Box::new(NotAllowed) as Box<dyn StdError + Send + Sync>);
            }
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}

/// Whether an address is one of the public network (IANA's special-purpose registries, RFC 6890).
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let special = address.is_private()
        || address.is_loopback()
        // With 169.254.169.254, where clouds give away credentials.
        || address.is_link_local()
        || address.is_multicast()
        || address.is_documentation()
        || a == 0
        // Shared among a provider's customers, and used inside clusters.
        || (a == 100 && (64..128).contains(&b))
        || (a == 192 && b == 0 && c == 0)
        || (a == 192 && b == 88 && c == 99)
        || (a == 198 && matches!(b, 18 | 19))
        || a >= 240;
    !special
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    if let Some(address) = address.to_ipv4_mapped() {
        return is_public_v4(address);
    }
    let s = address.segments();
    let embedded = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        is_public_v4(Ipv4Addr::new(a, b, c, d))
    };
    match s {
        // Translated (RFC 6052), and 6to4: what is behind counts.
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => embedded(high, low),
        [0x2002, high, low, ..] => embedded(high, low),
        // Teredo, benchmarks, ORCHID and others; documentation.
        [0x2001, second, ..] if second < 0x200 || second == 0xdb8 => false,
        [0x3fff, second, ..] if second < 0x1000 => false,
        // Everything that is given out as public today.
        [first, ..] => first & 0xe000 == 0x2000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_public_addresses_are_reached() {
        for address in ["8.8.8.8", "190.1.2.3", "172.32.0.1", "2606:4700::1111", "64:ff9b::808:808"] {
            assert!(is_public(address.parse().unwrap()), "{address}");
        }
        for address in [
            "127.0.0.1",
            "127.8.8.8",
            "0.0.0.0",
            "10.96.0.1",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "192.0.0.192",
            "198.18.0.1",
            "203.0.113.1",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b:1::1",
            "2002:7f00:1::",
            "2001::1",
            "2001:db8::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "ff02::1",
        ] {
            assert!(!is_public(address.parse().unwrap()), "{address}");
        }
    }

    #[test]
    fn an_address_is_checked_however_it_is_written() {
        let fetcher = Fetcher::new(&[]).unwrap();
        for url in [
            "http://127.0.0.1/a",
            "http://2130706433/a",
            "http://0x7f.1/a",
            "http://017700000001/a",
            "http://127.1/a",
            "http://[::1]/a",
            "http://[::ffff:169.254.169.254]/latest",
            "https://169.254.169.254/latest",
        ] {
            let refused = fetcher.check(&Url::parse(url).unwrap());
            assert!(matches!(refused, Err(FetchError::Forbidden)), "{url}");
        }
        for url in ["file:///etc/passwd", "ftp://example.com/a", "gopher://example.com/"] {
            assert!(matches!(fetcher.check(&Url::parse(url).unwrap()), Err(FetchError::Url)), "{url}");
        }
    }

    #[tokio::test]
    async fn a_name_is_checked_by_its_address() {
        let refused = Fetcher::new(&[]).unwrap().fetch("http://localhost:1/a", Claims::default()).await;
        assert!(matches!(refused, Err(FetchError::Forbidden)));
        let range = ["127.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()];
        let allowed = Fetcher::new(&range).unwrap().fetch("http://localhost:1/a", Claims::default()).await;
        assert!(matches!(allowed, Err(FetchError::Failed(_))));
    }
}
