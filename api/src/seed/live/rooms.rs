//! Which connections hear what: a room for each user and action, or, for tokens that are narrowed to devices, for each of these as well.

use crate::auth::{Action, Principal};

/// What can be heard, by the action that allows it.
const HEARD: [Action; 4] = [Action::EventsRead, Action::DevicesPair, Action::InboxRead, Action::MessagesRead];

/// The rooms of a caller.
pub(super) fn of_caller(caller: &Principal) -> Vec<String> {
    let actions = HEARD.into_iter().filter(|action| caller.may(*action));
    let user = caller.user.id.as_str();
    match &caller.token.devices {
        None => actions.map(|action| of_all(user, action)).collect(),
        Some(devices) => actions
            .flat_map(|action| devices.iter().map(move |device| of_one(user, &device.uid, action)))
            .collect(),
    }
}

/// The rooms that hear of a device of a user.
pub(super) fn of_device(user: &str, device_uid: &str, action: Action) -> [String; 2] {
    [of_all(user, action), of_one(user, device_uid, action)]
}

fn of_all(user: &str, action: Action) -> String {
    format!("{user} {}", action.name())
}

fn of_one(user: &str, device_uid: &str, action: Action) -> String {
    format!("{user} {} {device_uid}", action.name())
}
