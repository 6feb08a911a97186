//! Where WhatsApp is, and which version this client claims to be.

use std::fmt;
use std::str::FromStr;

const URL: &str = "ENLACE_WHATSAPP_URL";

/// Where WhatsApp is. The defaults are the real ones.
#[derive(Clone, Debug)]
pub struct Endpoints {
    /// The WebSocket of the chat server.
    pub websocket: String,
    /// Where media is fetched and stored instead of WhatsApp's own hosts (`http://HOST:PORT`).
    #[cfg(feature = "simulator-trust")]
    pub media: Option<String>,
    /// The version of WhatsApp Web to claim, when it is newer than the built-in one.
    pub version: Option<WebVersion>,
}

/// A version of WhatsApp Web, like `2.3000.1042742319`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct WebVersion(pub u32, pub u32, pub u32);

/// The newest version that was known when this program was made.
pub const BUILT_IN_VERSION: WebVersion = WebVersion(2, 3000, 1_042_742_319);

/// The text is not a version.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not a WhatsApp Web version: three numbers with dots, like 2.3000.1042742319")]
pub struct InvalidVersion(String);

/// A setting of the environment is not of its form.
#[derive(Debug, thiserror::Error)]
#[error("{name}: {problem}")]
pub struct InvalidSetting {
    name: &'static str,
    problem: String,
}

impl Default for Endpoints {
    fn default() -> Self {
        Self {
            websocket: whatsapp_rust::wacore::net::WHATSAPP_WEB_WS_URL.to_owned(),
            #[cfg(feature = "simulator-trust")]
            media: None,
            version: None,
        }
    }
}

impl Endpoints {
    /// The environment's settings: `ENLACE_WHATSAPP_URL`, `ENLACE_WHATSAPP_VERSION` and, in a program with the simulator's trust,
    /// `ENLACE_WHATSAPP_MEDIA_URL`. Such a program needs a simulator: it believes whoever answers in WhatsApp's place.
    ///
    /// # Errors
    /// When one of them is not of its form, or a program with the simulator's trust is not told where a simulator is.
    pub fn from_environment() -> Result<Self, InvalidSetting> {
        Self::from_variables(|name| std::env::var(name).ok())
    }

    fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Result<Self, InvalidSetting> {
        let variable = |name| variable(name).filter(|value| !value.is_empty());
        let mut endpoints = Self::default();
        if let Some(url) = variable(URL) {
            if !url.starts_with("ws://") && !url.starts_with("wss://") {
                let problem = format!("{url:?} is not a WebSocket URL: it begins with wss:// or ws://");
                return Err(InvalidSetting { name: URL, problem });
            }
            endpoints.websocket = url;
        }
        #[cfg(feature = "simulator-trust")]
        if is_whatsapp(&endpoints.websocket) {
            let problem = "this build trusts a simulated WhatsApp and must not meet the real one: set it to a simulator's, \
                           like ws://127.0.0.1:8788/ws/chat, or use a build without simulator-trust";
            return Err(InvalidSetting { name: URL, problem: problem.to_owned() });
        }
        if let Some(version) = variable("ENLACE_WHATSAPP_VERSION") {
            let version = version.parse().map_err(|error: InvalidVersion| InvalidSetting {
                name: "ENLACE_WHATSAPP_VERSION",
                problem: error.to_string(),
            })?;
            endpoints.version = Some(version);
        }
        #[cfg(feature = "simulator-trust")]
        {
            endpoints.media = variable("ENLACE_WHATSAPP_MEDIA_URL");
        }
        Ok(endpoints)
    }

    /// The newest of the built-in, the configured and a found version.
    pub fn version(&self, found: Option<WebVersion>) -> WebVersion {
        [self.version, found].into_iter().flatten().fold(BUILT_IN_VERSION, WebVersion::max)
    }
}

/// Whether a URL is of WhatsApp's own servers.
#[cfg(feature = "simulator-trust")]
fn is_whatsapp(url: &str) -> bool {
    let host = url.parse::<http::Uri>().ok().and_then(|url| url.host().map(str::to_lowercase));
    // A name may end in the dot of the root.
    host.as_deref().map(|host| host.trim_end_matches('.')).is_some_and(|host| {
        ["whatsapp.com", "whatsapp.net"].into_iter().any(|domain| {
            host.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        })
    })
}

impl WebVersion {
    fn max(self, other: Self) -> Self {
        Ord::max(self, other)
    }
}

impl FromStr for WebVersion {
    type Err = InvalidVersion;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let numbers: Result<Vec<u32>, _> = text.split('.').map(str::parse).collect();
        match numbers.as_deref() {
            Ok([a, b, c]) => Ok(Self(*a, *b, *c)),
            _ => Err(InvalidVersion(text.to_owned())),
        }
    }
}

impl fmt::Display for WebVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_version_is_claimed() {
        let newer = WebVersion(2, 3000, BUILT_IN_VERSION.2 + 1);
        let mut endpoints = Endpoints::default();
        assert_eq!(endpoints.version(None), BUILT_IN_VERSION);
        assert_eq!(endpoints.version(Some(newer)), newer);
        endpoints.version = Some("2.3000.1".parse().unwrap());
        assert_eq!(endpoints.version(None), BUILT_IN_VERSION, "an old setting does not hold it back");
    }

    #[test]
    fn a_bad_version_is_refused_with_the_form() {
        let error = "2.3000".parse::<WebVersion>().unwrap_err().to_string();
        assert!(error.contains("like 2.3000.1042742319"), "{error}");
    }

    fn read(variables: &[(&str, &str)]) -> Result<Endpoints, InvalidSetting> {
        Endpoints::from_variables(|name| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn settings_are_read_or_refused_by_their_names() {
        let url = "ws://127.0.0.1:8788/ws/chat";
        let endpoints = read(&[(URL, url), ("ENLACE_WHATSAPP_VERSION", "2.3000.1")]).unwrap();
        assert_eq!((endpoints.websocket.as_str(), endpoints.version), (url, Some(WebVersion(2, 3000, 1))));
        let error = read(&[(URL, "http://127.0.0.1")]).unwrap_err().to_string();
        assert!(error.starts_with("ENLACE_WHATSAPP_URL: ") && error.contains("wss:// or ws://"), "{error}");
        let error = read(&[(URL, url), ("ENLACE_WHATSAPP_VERSION", "2")]).unwrap_err().to_string();
        assert!(error.starts_with("ENLACE_WHATSAPP_VERSION: "), "{error}");
    }

    #[cfg(feature = "simulator-trust")]
    #[test]
    fn a_build_for_the_simulator_never_meets_whatsapp() {
        for variables in [
            [].as_slice(),
            &[(URL, "")],
            &[(URL, "wss://web.whatsapp.com/ws/chat")],
            &[(URL, "ws://G.WhatsApp.net:443/ws/chat")],
            &[(URL, "wss://web.WHATSAPP.com./ws/chat")],
            &[(URL, "wss://whatsapp.net.")],
        ] {
            let error = read(variables).unwrap_err().to_string();
            assert!(error.contains("trusts a simulated WhatsApp"), "{variables:?}: {error}");
            assert!(!error.contains('\n'), "{error}");
        }
        assert!(read(&[(URL, "ws://notwhatsapp.com/ws/chat")]).is_ok());
    }

    #[cfg(not(feature = "simulator-trust"))]
    #[test]
    fn without_settings_it_is_whatsapp_itself() {
        assert!(read(&[]).unwrap().websocket.contains("whatsapp.com"));
    }
}
