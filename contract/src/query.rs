//! Query strings and paths: the parameters that several routes have, and what is wrong with one, for a person, beside what is said of
//! [bodies](crate::body).

use std::time::Duration;

use axum::extract::path::ErrorKind;
use axum::extract::rejection::{PathRejection, QueryRejection};
use serde::Deserialize;

use crate::body::{of_value, plain};
use crate::duration::Period;
use crate::messages::MAX_WAIT_SECONDS;

/// Of `limit`.
const LIMIT: &str = "limit: must be a whole number from 1 to 500";

/// The size of a page: `?limit=`, 100 unless told.
///
/// # Errors
/// When it is not from 1 to 500.
pub fn page_size(limit: Option<u32>) -> Result<u32, &'static str> {
    match limit.unwrap_or(100) {
        size @ 1..=500 => Ok(size),
        _ => Err(LIMIT),
    }
}

/// `?wait=10s`: how long to wait for a message to be sent.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wait {
    wait: Option<Period>,
}

impl Wait {
    /// How long to wait; none without one.
    ///
    /// # Errors
    /// When it is longer than anybody waits ([`MAX_WAIT_SECONDS`]).
    pub fn patience(self) -> Result<Option<Duration>, String> {
        match self.wait.map(Period::get) {
            Some(wait) if wait > Duration::from_secs(MAX_WAIT_SECONDS) => {
                Err(format!("wait: must be {MAX_WAIT_SECONDS}s at most"))
            }
            wait => Ok(wait),
        }
    }
}

/// Of a query string.
pub fn of_query(rejection: &QueryRejection) -> String {
    let said = rejection.body_text();
    of_text(said.strip_prefix("Failed to deserialize query string: ").unwrap_or(&said))
}

/// Of a query string, from serde's words.
fn of_text(said: &str) -> String {
    if let Some((_, rest)) = said.split_once("unknown field `") {
        return of_unknown(rest);
    }
    let Some((name, why)) = said.split_once(": ") else { return of_value("", said) };
    match (name, why) {
        ("limit", _) => LIMIT.to_owned(),
        (name, "provided string was not `true` or `false`") => format!("{name}: must be true or false"),
        (name, "invalid digit found in string" | "cannot parse integer from empty string") => {
            format!("{name}: must be a whole number")
        }
        (name, "number too large to fit in target type") => format!("{name}: is too large"),
        (name, "number too small to fit in target type") => format!("{name}: is too small"),
        (name, why) => of_value(name, why),
    }
}

/// Of a parameter that is none, from what serde says after its opening quote: the parameter, then those that are known.
fn of_unknown(rest: &str) -> String {
    let mut names = rest.split('`').step_by(2);
    let unknown = names.next().unwrap_or_default();
    match names.filter(|name| !name.is_empty()).collect::<Vec<_>>().as_slice() {
        [] => format!("{unknown}: is not a parameter; this route has none"),
        known => format!("{unknown}: is not a parameter; the parameters are {}", known.join(", ")),
    }
}

/// Of the segments of a path.
pub fn of_path(rejection: &PathRejection) -> String {
    let PathRejection::FailedToDeserializePathParams(error) = rejection else {
        return "the path cannot be read".to_owned();
    };
    match error.kind() {
        ErrorKind::ParseErrorAtKey { key, expected_type, .. } => {
            format!("{key}: must be {}", plain(expected_type))
        }
        ErrorKind::InvalidUtf8InPathParam { key } => format!("{key}: is not UTF-8"),
        ErrorKind::DeserializeError { key, message, .. } => format!("{key}: {message}"),
        _ => "the path cannot be read".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use axum::extract::{FromRequestParts as _, Query};
    use http::Request;

    use super::*;

    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    enum Format {
        Png,
        Svg,
        Terminal,
    }

    #[expect(dead_code, reason = "it is read by no test")]
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Listing {
        after: Option<i64>,
        limit: Option<u32>,
        all: Option<bool>,
        format: Option<Format>,
        wait: Option<Period>,
    }

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Nothing {}

    async fn refused<T: serde::de::DeserializeOwned>(query: &str) -> String {
        let mut parts = Request::get(format!("/?{query}")).body(()).unwrap().into_parts().0;
        match Query::<T>::from_request_parts(&mut parts, &()).await {
            Ok(_) => panic!("{query} was taken"),
            Err(rejection) => of_query(&rejection),
        }
    }

    #[tokio::test]
    async fn a_wrong_query_is_said_with_its_parameter() {
        for (query, sentence) in [
            ("limit=few", LIMIT),
            ("limit=99999999999", LIMIT),
            ("after=x", "after: must be a whole number"),
            ("after=", "after: must be a whole number"),
            ("after=99999999999999999999", "after: is too large"),
            ("all=yes", "all: must be true or false"),
            ("format=gif", "format: must be png, svg or terminal, not gif"),
            (
                "wait=soon",
                "wait: \"soon\" is not a duration: write whole numbers with the units ms, s, m, h or d, like 5s or 1h30m",
            ),
            ("limit=1&limit=2", "limit: is there twice"),
            ("x=1", "x: is not a parameter; the parameters are after, limit, all, format, wait"),
        ] {
            assert_eq!(refused::<Listing>(query).await, sentence, "{query}");
        }
        assert_eq!(refused::<Wait>("wiat=3s").await, "wiat: is not a parameter; the parameters are wait");
        assert_eq!(refused::<Nothing>("x=1").await, "x: is not a parameter; this route has none");
    }

    #[test]
    fn patience_and_pages_have_a_bound() {
        let wait = |seconds| Wait { wait: Some(Period::from_secs(seconds)) }.patience();
        assert_eq!(wait(60), Ok(Some(Duration::from_secs(60))));
        assert_eq!(wait(61), Err("wait: must be 60s at most".into()));
        let sizes = [None, Some(1), Some(500), Some(0), Some(501)].map(page_size);
        assert_eq!(sizes, [Ok(100), Ok(1), Ok(500), Err(LIMIT), Err(LIMIT)]);
    }
}
