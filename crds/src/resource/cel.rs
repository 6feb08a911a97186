//! The rules of the schema, in CEL, each with the sentence that a person reads, after the path of the field, when it is broken.
//!
//! They run in the API server and, from the same schema, in [`crate::manifest`]. Every string that a rule touches has a `maxLength` and
//! every map a `maxProperties`: the API server refuses a schema whose rules could cost too much. `duration()` of Kubernetes knows no
//! days, overflows after 292 years, and an error inside a rule hides its message; so the form is matched before the value is read. Lengths are
//! matched too where a text is not ASCII: `size()` counts characters in the API server and bytes in the evaluator here.

use kube::core::{Reason, Rule};

/// A rule, its message, and where the error is shown when that is not where the rule stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Text {
    pub(super) rule: &'static str,
    pub(super) message: &'static str,
    field: Option<&'static str>,
    forbidden: bool,
}

const fn value(rule: &'static str, message: &'static str) -> Text {
    Text { rule, message, field: None, forbidden: false }
}

/// A change or a combination that is forbidden, shown at a field below the rule.
const fn forbidden(rule: &'static str, message: &'static str, field: &'static str) -> Text {
    Text { rule, message, field: Some(field), forbidden: true }
}

pub(super) const NAME: Text = value(
    "size(self.metadata.name) <= 52 && self.metadata.name.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",
    "metadata.name must be at most 52 lower-case letters, digits and '-', and begin and end with a letter or digit",
);

pub(super) const NUMBER: Text = value(
    "self.matches('^[1-9][0-9]{6,14}$')",
    "must be the country code and the number, 7 to 15 digits without '+' or spaces, like 525550000001",
);

pub(super) const NUMBER_SET_ONCE: Text = forbidden(
    "!has(oldSelf.phoneNumber) || (has(self.phoneNumber) && self.phoneNumber == oldSelf.phoneNumber)",
    "cannot change or be removed once it is set: create another device for another number",
    ".phoneNumber",
);

/// Only when the number is written down, of a device that is connected: nothing that the operator writes to the status can break it. It is
/// compared as by [`PhoneNumber::canonical`](enlace_contract::number::PhoneNumber::canonical): either is the other, or the other without a
/// digit. It asks for the phase, and has no list in it: the API server takes the cost of a condition, or of a list, for too much.
pub(super) const NUMBER_IS_LINKED: Text = forbidden(
    "!has(self.spec.phoneNumber) || has(oldSelf.spec.phoneNumber) || !has(self.status) || !has(self.status.account) \
     || !has(self.status.phase) || !(self.status.phase in ['Connected', 'Reconnecting']) \
     || self.spec.phoneNumber == self.status.account.phoneNumber \
     || (self.spec.phoneNumber.matches('^(521|549)[0-9]{10}$') && self.status.account.phoneNumber == \
     self.spec.phoneNumber.substring(0, 2) + self.spec.phoneNumber.substring(3)) \
     || (self.status.account.phoneNumber.matches('^(521|549)[0-9]{10}$') && self.spec.phoneNumber == \
     self.status.account.phoneNumber.substring(0, 2) + self.status.account.phoneNumber.substring(3)) \
     || (self.spec.phoneNumber.matches('^55[0-9]{2}9[6-9][0-9]{7}$') && self.status.account.phoneNumber == \
     self.spec.phoneNumber.substring(0, 4) + self.spec.phoneNumber.substring(5)) \
     || (self.status.account.phoneNumber.matches('^55[0-9]{2}9[6-9][0-9]{7}$') && self.spec.phoneNumber == \
     self.status.account.phoneNumber.substring(0, 4) + self.status.account.phoneNumber.substring(5))",
    "is not the number that is linked (status.account.phoneNumber): write that one, or create another device",
    ".spec.phoneNumber",
);

pub(super) const CODE_NEEDS_NUMBER: Text = Text {
    rule: "self.pairing.method != 'PairingCode' || has(self.phoneNumber)",
    message: "is needed for pairing.method PairingCode: WhatsApp makes the code for one number",
    field: Some(".phoneNumber"),
    forbidden: false,
};

pub(super) const DISPLAY_NAME: Text = value(
    r"self.matches('^\\P{Cc}{1,100}$')",
    "must be 1 to 100 characters, without control characters such as line breaks",
);

pub(super) const TIMEOUT: Text = value(
    "self.matches('^([0-9]{1,6}(h|m|s|ms))+$') && duration(self) >= duration('1m') && duration(self) <= duration('168h')",
    "must be a duration from 1m to 168h, like 90s, 15m or 1h30m",
);

pub(super) const RECONNECT_DELAY: Text = value(
    "self.matches('^([0-9]{1,6}(h|m|s|ms))+$') && duration(self) >= duration('1s') && duration(self) <= duration('5m')",
    "must be a duration from 1s to 5m, like 5s or 1m30s",
);

pub(super) const SENDING_INTERVAL: Text = value(
    "self.matches('^([0-9]{1,6}(h|m|s|ms))+$') && duration(self) <= duration('1h')",
    "must be a duration from 0s to 1h, like 500ms, 5s or 1m",
);

/// Below 16Mi the database and its journal have no room.
pub(super) const SIZE: Text = value(
    "isQuantity(self) && quantity(self).compareTo(quantity('16Mi')) >= 0",
    "must be a quantity of at least 16Mi, like 512Mi or 1Gi",
);

pub(super) const SIZE_GROWS: Text = Text {
    rule: "!isQuantity(self) || !isQuantity(oldSelf) || quantity(self).compareTo(quantity(oldSelf)) >= 0",
    message: "can grow but not shrink",
    field: None,
    forbidden: true,
};

pub(super) const STORAGE_CLASS_IMMUTABLE: Text = forbidden(
    "has(self.storageClassName) == has(oldSelf.storageClassName) && (!has(self.storageClassName) || self.storageClassName == oldSelf.storageClassName)",
    "cannot change: the volume exists",
    ".storageClassName",
);

pub(super) const ACCESS_MODE_IMMUTABLE: Text = forbidden(
    "has(self.accessMode) == has(oldSelf.accessMode) && (!has(self.accessMode) || self.accessMode == oldSelf.accessMode)",
    "cannot change: the volume exists",
    ".accessMode",
);

pub(super) const LABELS: Text = value(
    "self.all(key, !key.startsWith('enlace.dev/') && !key.startsWith('app.kubernetes.io/'))",
    "must not use keys of enlace.dev/ or app.kubernetes.io/: they are the operator's",
);

pub(super) const LABEL_VALUES: Text = value(
    "self.all(key, self[key].matches('^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$'))",
    "values must be letters, digits, '-', '_' and '.', and begin and end with a letter or digit",
);

pub(super) const ANNOTATIONS: Text = value(
    "self.all(key, !key.startsWith('enlace.dev/') && !key.startsWith('app.kubernetes.io/'))",
    "must not use keys of enlace.dev/ or app.kubernetes.io/: they are the operator's",
);

/// Every rule, for the test that none was dropped on its way into the schema.
#[cfg(test)]
pub(super) const ALL: [Text; 16] = [
    NAME,
    NUMBER,
    NUMBER_SET_ONCE,
    NUMBER_IS_LINKED,
    CODE_NEEDS_NUMBER,
    DISPLAY_NAME,
    TIMEOUT,
    RECONNECT_DELAY,
    SENDING_INTERVAL,
    SIZE,
    SIZE_GROWS,
    STORAGE_CLASS_IMMUTABLE,
    ACCESS_MODE_IMMUTABLE,
    LABELS,
    LABEL_VALUES,
    ANNOTATIONS,
];

/// The rule as the schema has it.
pub(super) fn rule(text: Text) -> Rule {
    let Text { rule, message, field, forbidden } = text;
    let mut built = Rule::new(rule).message(message);
    if let Some(field) = field {
        built = built.field_path(field);
    }
    if forbidden {
        built = built.reason(Reason::FieldValueForbidden);
    } else if field.is_some() {
        built = built.reason(Reason::FieldValueRequired);
    }
    built
}
