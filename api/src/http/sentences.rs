//! What is wrong with a request's path or query, for a person, beside what is said of [bodies](enlace_contract::body).

use axum::extract::path::ErrorKind;
use axum::extract::rejection::PathRejection;
use enlace_contract::body::{of_value, plain};

/// Of `limit`.
pub(super) const LIMIT: &str = "limit: must be a whole number from 1 to 500";

/// Of a query string, from axum's words.
pub(super) fn of_query(said: &str) -> String {
    let said = said.strip_prefix("Failed to deserialize query string: ").unwrap_or(said);
    let Some((name, why)) = said.split_once(": ") else { return of_value("", said) };
    match (name, why) {
        ("limit", _) => LIMIT.to_owned(),
        (name, "provided string was not `true` or `false`") => format!("{name}: must be true or false"),
        (name, why) if why.contains("invalid digit") => format!("{name}: must be a whole number"),
        (name, why) => format!("{name}: {why}"),
    }
}

/// Of the segments of a path.
pub(super) fn of_path(rejection: &PathRejection) -> String {
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
    use super::*;

    #[test]
    fn a_wrong_query_is_said_with_its_parameter() {
        let of = |said: &str| of_query(&format!("Failed to deserialize query string: {said}"));
        assert_eq!(of("limit: invalid digit found in string"), LIMIT);
        assert_eq!(of("after: invalid digit found in string"), "after: must be a whole number");
        assert_eq!(of("duplicate field `limit`"), "limit: is there twice");
    }
}
