//! What can be done.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Something that a token can be narrowed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
pub enum Action {
    /// List devices and read their state, without codes to link.
    #[serde(rename = "devices:read")]
    DevicesRead,
    /// Create, change, suspend and delete devices; log them out.
    #[serde(rename = "devices:write")]
    DevicesWrite,
    /// Link a phone: read QR and pairing codes, and ask for new ones. Whoever can, can link a phone of their own.
    #[serde(rename = "devices:pair")]
    DevicesPair,
    /// Read what became of messages that went out.
    #[serde(rename = "messages:read")]
    MessagesRead,
    /// Send messages.
    #[serde(rename = "messages:send")]
    MessagesSend,
    /// Read what came in, with its files.
    #[serde(rename = "inbox:read")]
    InboxRead,
    /// Follow events; what is in them is what the other actions allow to read.
    #[serde(rename = "events:read")]
    EventsRead,
    /// Make, list and end tokens of the own user that are no wider than this one.
    #[serde(rename = "tokens:write")]
    TokensWrite,
    /// List users. To create or delete them, to set a password and to end tokens of others takes an administrator's token that is not
    /// narrowed at all: whoever may do one of these can have everything.
    /// Administrators only.
    #[serde(rename = "users:write")]
    UsersWrite,
}

impl Action {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::DevicesRead,
        Self::DevicesWrite,
        Self::DevicesPair,
        Self::MessagesRead,
        Self::MessagesSend,
        Self::InboxRead,
        Self::EventsRead,
        Self::TokensWrite,
        Self::UsersWrite,
    ];

    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::DevicesRead => "devices:read",
            Self::DevicesWrite => "devices:write",
            Self::DevicesPair => "devices:pair",
            Self::MessagesRead => "messages:read",
            Self::MessagesSend => "messages:send",
            Self::InboxRead => "inbox:read",
            Self::EventsRead => "events:read",
            Self::TokensWrite => "tokens:write",
            Self::UsersWrite => "users:write",
        }
    }

    /// Whether it is for administrators only.
    pub const fn is_administration(self) -> bool {
        matches!(self, Self::UsersWrite)
    }
}

impl std::fmt::Display for Action {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_is_the_one_on_the_wire() {
        for action in Action::ALL {
            assert_eq!(serde_json::to_value(action).unwrap(), action.name());
        }
    }
}
