//! The device that sends, and whether it can.
//!
//! | phase | a message |
//! |---|---|
//! | `Connected`, `Reconnecting` | is stored; it goes out when its turn comes and there is a connection |
//! | `Pending`, `Starting` | the same when a number was linked before, as after a restart; else it is refused |
//! | every other | is refused with 400 `Sesión de WhatsApp no lista`: nothing would send it until a person does something |

use std::time::Duration;

use enlace_contract::client::DeviceClient;
use enlace_contract::number::PhoneNumber;
use enlace_contract::state::Phase;
use enlace_crds::rules::claims::session;
use futures::StreamExt as _;
use http::StatusCode;
use jiff::Timestamp;
use serde::Serialize as _;

use crate::auth::Action;
use crate::directory::Away;
use crate::http::App;
use crate::seed::answers::Refusal;
use crate::seed::extract::{Fields, SeedUser};
use crate::seed::instances::{self, Instance};

/// The fields that name a sender.
const NAMES: [&str; 4] = ["fromNumber", "instancia_id", "instanceId", "from"];

/// How long a device that was linked may take to start: less than others wait for the room that a file has meanwhile.
const START: Duration = Duration::from_secs(6);

/// Who sends.
pub(super) struct Sender {
    /// The device.
    pub(super) instance: Instance,
    /// `from` in the answer: as it was given, or the number of what was given in base64.
    pub(super) from: String,
}

impl Sender {
    /// The sender that a request names, among the caller's own devices; else the one of the caller's own number.
    pub(super) async fn of(app: &App, user: &SeedUser, fields: &Fields) -> Result<Self, Refusal> {
        let missing =
            || Refusal::new(StatusCode::NOT_FOUND, "NotFound", "Dispositivo no encontrado para envío");
        for name in NAMES {
            let Some(named) = fields.text_or_integer(name)? else { continue };
            let instance = instances::find(app, user, &named).await?.ok_or_else(missing)?;
            let as_given = instance.id == named || named.parse::<PhoneNumber>().is_ok();
            let from = instance.number().filter(|_| !as_given).unwrap_or(&named).to_owned();
            return Ok(Self { instance, from });
        }
        Self::own(app, user).await?.ok_or_else(missing)
    }

    /// The device of the caller's own number.
    pub(super) async fn own(app: &App, user: &SeedUser) -> Result<Option<Self>, Refusal> {
        let account = app.database().account(user.id()).await?;
        let Some(from) = account.and_then(|account| account.phone_number) else { return Ok(None) };
        let found = instances::find(app, user, &from).await?;
        Ok(found.map(|instance| Self { instance, from }))
    }

    /// The way to the device, when it can send.
    pub(super) async fn ready(&self, app: &App) -> Result<DeviceClient, Refusal> {
        let linked_before = match self.instance.device.phase() {
            Phase::Connected | Phase::Reconnecting => true,
            Phase::Pending | Phase::Starting => self.was_linked(app).await,
            _ => false,
        };
        if !linked_before {
            return Err(self.not_ready());
        }
        self.reached(app).await
    }

    /// The way to the device. After a restart devices start one after the other: one that is about to is waited for.
    async fn reached(&self, app: &App) -> Result<DeviceClient, Refusal> {
        let (directory, key) = (app.directory(), self.instance.key());
        let starts = |reached: &Result<_, Away>| {
            matches!(reached, Err(Away { phase: Phase::Pending | Phase::Starting, .. }))
        };
        let mut reached = directory.client(key).await;
        if starts(&reached) {
            let mut changes = directory.watch();
            let started = async {
                while starts(&reached) && changes.next().await.is_some() {
                    reached = directory.client(key).await;
                }
            };
            // When it does not come in time, that is the answer.
            let _ = tokio::time::timeout(START, started).await;
        }
        Ok(reached?)
    }

    /// Whether there is a session, as the device says; where it cannot be asked yet, as its status does.
    async fn was_linked(&self, app: &App) -> bool {
        let state = match app.directory().client(self.instance.key()).await {
            Ok(client) => client.state().await.ok(),
            Err(_) => None,
        };
        let status = self.instance.device.resource.status.clone().unwrap_or_default();
        session(state.as_ref(), &status).is_some()
    }

    /// `Sesión de WhatsApp no lista`.
    fn not_ready(&self) -> Refusal {
        let word = self.instance.word(Timestamp::now());
        let device = self.instance.number().unwrap_or(&self.instance.id);
        let state = word.serialize(serde_json::value::Serializer).unwrap_or_default();
        Refusal::new(StatusCode::BAD_REQUEST, "NotReady", "Sesión de WhatsApp no lista")
            .with("device", device)
            .with("state", state)
    }
}

/// That a caller may send.
pub(super) fn may(user: &SeedUser) -> Result<(), Refusal> {
    user.needs(Action::MessagesSend)
}

/// The digits of a number that somebody wrote, without spaces, dashes and the like.
pub(super) fn recipient(text: &str) -> Result<String, Refusal> {
    let wrong = || Refusal::bad_request("Número de destino inválido: solo dígitos, con código de país");
    // A JID of a person is its number; there are no groups here.
    let number = match text.split_once('@') {
        None => text,
        Some((number, "s.whatsapp.net" | "c.us")) => number,
        Some(_) => return Err(wrong()),
    };
    let digits: String = number.chars().filter(char::is_ascii_digit).collect();
    digits.parse::<PhoneNumber>().map(|number| number.as_str().to_owned()).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_its_digits() {
        for text in ["+52 555-000 0001", "525550000001", "(52) 555.000.0001", "525550000001@s.whatsapp.net"] {
            assert_eq!(recipient(text).unwrap(), "525550000001", "{text}");
        }
        for text in ["", "12", "abc", "0525550000001", "1234567890123456", "525550000001-1@g.us"] {
            assert!(recipient(text).is_err(), "{text}");
        }
    }
}
