//! What the API server refuses, in the words of the directory.

use enlace_contract::name::DeviceKey;
use kube::core::Status;

use crate::directory::DirectoryError;

/// An error of a call about a device.
pub(super) fn refused(key: &DeviceKey, error: kube::Error) -> DirectoryError {
    let kube::Error::Api(status) = error else {
        let detail = "the cluster's API server cannot be asked now; try again".to_owned();
        return DirectoryError::Unavailable { detail, source: Some(Box::new(error)) };
    };
    let about = status.details.as_ref().map(|details| (details.kind.as_str(), details.name.as_str()));
    match (status.code, about) {
        (404, Some(("namespaces" | "namespace", namespace))) => DirectoryError::Invalid(format!(
            "metadata.namespace: there is no namespace {namespace} in this cluster"
        )),
        (404, Some((_, name))) if !name.is_empty() => DirectoryError::NotFound(key.clone()),
        // Of the whole resource, not of one object.
        (404, _) => unavailable(
            "the cluster does not know WhatsAppDevices: Enlace's CustomResourceDefinition is not installed",
            status,
        ),
        _ if status.is_already_exists() => DirectoryError::AlreadyExists {
            key: key.clone(),
            detail: "there is a WhatsAppDevice of this name in the cluster".to_owned(),
        },
        (409, _) => unavailable("it was changed by others at the same time; try again", status),
        (400 | 422, _) => DirectoryError::Invalid(sentences(&status)),
        // The API itself may not do it: whoever installed it must mend that.
        (403, _) if status.message.contains(" cannot ") && status.message.contains("User ") => unavailable(
            "the API is not allowed to do this in the cluster; its log says what is missing",
            status,
        ),
        // A quota that is new; it is known in a moment.
        (403, _) if status.message.contains("status unknown for quota") => {
            unavailable("a quota of the namespace is not known yet; try again", status)
        }
        // A quota, a policy, a namespace that is being removed.
        (403, _) => DirectoryError::Invalid(status.message.clone()),
        _ => {
            let detail = format!("the cluster's API server refused: {}", status.message);
            DirectoryError::Unavailable { detail, source: Some(status) }
        }
    }
}

fn unavailable(detail: &str, source: Box<Status>) -> DirectoryError {
    DirectoryError::Unavailable { detail: detail.to_owned(), source: Some(source) }
}

/// A line for each thing that is wrong, as the directory of a folder says it.
fn sentences(status: &Status) -> String {
    let causes = status.details.as_ref().map(|details| details.causes.as_slice()).unwrap_or_default();
    if causes.is_empty() {
        return status.message.clone();
    }
    let line = |cause: &kube::core::response::StatusCause| match cause.field.as_str() {
        "" | "<nil>" => cause.message.clone(),
        field => format!("{field}: {}", cause.message),
    };
    causes.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn told(status: Value) -> DirectoryError {
        let key = "shop/a".parse().unwrap();
        refused(&key, kube::Error::Api(Box::new(serde_json::from_value(status).unwrap())))
    }

    #[test]
    fn rules_that_are_broken_are_told_line_by_line() {
        let error = told(
            json!({"code": 422, "reason": "Invalid", "message": "WhatsAppDevice \"a\" is invalid", "details": {"causes": [
                {"reason": "FieldValueForbidden", "field": "spec.phoneNumber", "message": "cannot change"},
                {"reason": "FieldValueInvalid", "field": "<nil>", "message": "Invalid value: null"},
            ]}}),
        );
        let DirectoryError::Invalid(text) = error else { panic!("{error:?}") };
        assert_eq!(text, "spec.phoneNumber: cannot change\nInvalid value: null");
    }

    #[test]
    fn what_is_missing_is_named() {
        let namespace = json!({"code": 404, "reason": "NotFound", "message": "namespaces \"shop\" not found",
            "details": {"kind": "namespaces", "name": "shop"}});
        assert!(
            matches!(told(namespace), DirectoryError::Invalid(text) if text.contains("no namespace shop"))
        );
        let device =
            json!({"code": 404, "reason": "NotFound", "details": {"kind": "whatsappdevices", "name": "a"}});
        assert!(matches!(told(device), DirectoryError::NotFound(_)));
        let definition = json!({"code": 404, "message": "404 page not found"});
        assert!(
            matches!(told(definition), DirectoryError::Unavailable { detail, .. } if detail.contains("CustomResourceDefinition"))
        );
    }

    #[test]
    fn a_quota_is_the_callers_affair_and_a_missing_permission_is_not() {
        let quota = "whatsappdevices.enlace.dev \"a\" is forbidden: exceeded quota: devices, requested: count/whatsappdevices.enlace.dev=1, used: 5, limited: 5";
        let quota = told(json!({"code": 403, "reason": "Forbidden", "message": quota}));
        assert!(matches!(quota, DirectoryError::Invalid(text) if text.contains("exceeded quota")));
        let role = "whatsappdevices.enlace.dev is forbidden: User \"system:serviceaccount:enlace-system:enlace-api\" cannot create resource \"whatsappdevices\"";
        let role = told(json!({"code": 403, "reason": "Forbidden", "message": role}));
        assert!(matches!(role, DirectoryError::Unavailable { detail, .. } if detail.contains("not allowed")));
    }
}
