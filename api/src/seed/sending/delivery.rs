//! Handing messages over to a device, their numbers, and their outcome.

use std::time::Duration;

use enlace_contract::client::{ClientError, DeviceClient};
use enlace_contract::messages::{MAX_IDEMPOTENCY_KEY, Message, MessageError, MessageState, SendBatch};
use enlace_contract::problem::Problem;
use http::{HeaderMap, StatusCode};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};

use super::sender::Sender;
use crate::database::NewQueued;
use crate::http::App;
use crate::seed::answers::{Json, Refusal};
use crate::seed::extract::SeedUser;

/// How long a caller that waits for its message does.
pub(super) const WAIT: Duration = Duration::from_secs(10);
/// For how long a number of a message is known.
const REMEMBERED: SignedDuration = SignedDuration::from_hours(30 * 24);
/// So many numbers are given until old ones are looked for.
const BETWEEN_PRUNES: i64 = 64;
/// The most numbers that are forgotten at a time: more than were given meanwhile.
const PRUNED: u32 = 512;

/// Messages that a device has stored.
pub(super) struct Delivery {
    app: App,
    client: DeviceClient,
    items: Vec<Message>,
    /// Their numbers; none when they could not be numbered.
    ids: Vec<i64>,
    /// `from` in the answer.
    from: String,
    /// `to` in the answer.
    to: String,
}

/// What the answer says of messages that went out, and of those that wait still when the caller's patience ends.
pub(super) struct Texts {
    pub(super) sent: &'static str,
    pub(super) waiting: &'static str,
}

/// What became of messages.
enum Outcome {
    /// All of them went out.
    Sent,
    /// They wait still.
    Waiting,
    /// One of them failed.
    Failed(Failed),
}

/// A message that was not sent.
struct Failed {
    to: String,
    error: MessageError,
}

impl Delivery {
    /// Has a device store messages that belong together: all of them or none, each only once for a key.
    pub(super) async fn store(
        app: &App,
        user: &SeedUser,
        sender: Sender,
        to: String,
        batch: &SendBatch,
        headers: &HeaderMap,
    ) -> Result<Self, Refusal> {
        let key = idempotency_key(headers)?;
        let client = sender.ready(app).await?;
        let items = client.send_batch(batch, key).await.map_err(refused)?.items;
        crate::seed::log::stored(app, &client, &sender.instance.device, &to, &items);
        let device = sender.instance.key();
        let new: Vec<_> = items
            .iter()
            .map(|message| NewQueued { user_id: user.id(), device, message_id: &message.id })
            .collect();
        // They are stored and will go out, whatever the database does: an error would have the caller send them again.
        let ids = match app.database().enqueue(&new, Timestamp::now()).await {
            Ok(ids) => ids,
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::error!(device = %device, error, "messages of {device} are stored without numbers");
                Vec::new()
            }
        };
        if ids.iter().any(|id| id % BETWEEN_PRUNES == 0) {
            tokio::spawn(prune(app.clone()));
        }
        Ok(Self { app: app.clone(), client, items, ids, from: sender.from, to })
    }

    /// The answer to a caller that waits so long at most, with more fields than every answer has.
    pub(super) async fn outcome(
        &self,
        patience: Duration,
        texts: Texts,
        more: Map<String, Value>,
    ) -> Result<Json<Map<String, Value>>, Refusal> {
        let (text, warning) = match self.settled(patience).await? {
            Outcome::Sent => (texts.sent, None),
            Outcome::Failed(failed) => return Err(failed.into()),
            Outcome::Waiting => (texts.waiting, Some("timeout")),
        };
        let Json(mut answer) = self.answer(text, more);
        answer.extend(warning.map(|warning| ("warning".to_owned(), warning.into())));
        Ok(Json(answer))
    }

    /// An answer, with more fields than every one has.
    pub(super) fn answer(&self, message: &str, more: Map<String, Value>) -> Json<Map<String, Value>> {
        let Self { app: _, client: _, items, ids, from, to } = self;
        let answer = json!({
            "success": true, "succes": true, "queue_id": ids.first(), "message": message, "from": from, "to": to,
        });
        let Value::Object(mut answer) = answer else { return Json(more) };
        if items.len() > 1 {
            answer.insert("queue_ids".to_owned(), json!(ids));
        }
        answer.extend(more);
        Json(answer)
    }

    /// Waits until all messages went out or one failed. They wait still when that takes longer or the device cannot be asked.
    async fn settled(&self, patience: Duration) -> Result<Outcome, Refusal> {
        // When one fails those after it do: the last one tells of all.
        let Some(last) = self.items.last() else { return Ok(Outcome::Sent) };
        let settled = tokio::select! {
            settled = self.client.settled(&last.id, patience) => settled,
            () = self.app.stopping() => return Ok(Outcome::Waiting),
        };
        let last = match settled {
            Ok(last) => last,
            Err(ClientError::Refused(problem)) if problem.status == StatusCode::NOT_FOUND => {
                let text = "Error verificando estado";
                return Err(Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "Lost", text));
            }
            Err(error) => {
                // It is stored: an error would have the caller send it again.
                tracing::warn!(error = &error as &dyn std::error::Error, "a message's outcome is not known");
                return Ok(Outcome::Waiting);
            }
        };
        match last.state {
            MessageState::Sent | MessageState::Delivered | MessageState::Read => Ok(Outcome::Sent),
            MessageState::Queued | MessageState::Sending => Ok(Outcome::Waiting),
            MessageState::Failed => Ok(Outcome::Failed(self.first_failure(last).await)),
        }
    }

    /// The failure on account of which the last one failed.
    async fn first_failure(&self, last: Message) -> Failed {
        for item in &self.items {
            if let Ok(message) = self.client.message(&item.id).await
                && message.state == MessageState::Failed
            {
                return Failed::of(message);
            }
        }
        Failed::of(last)
    }
}

impl Failed {
    fn of(message: Message) -> Self {
        let error =
            message.error.unwrap_or_else(|| MessageError { reason: String::new(), message: String::new() });
        Self { to: message.to, error }
    }
}

impl From<Failed> for Refusal {
    fn from(Failed { to, error }: Failed) -> Self {
        let text = match error.reason.as_str() {
            "NotOnWhatsApp" => {
                let text = "Número no registrado en WhatsApp";
                return Self::new(StatusCode::BAD_REQUEST, "NotOnWhatsApp", text).with("number", to);
            }
            "RefusedByWhatsApp" => "WhatsApp rechazó el mensaje",
            "AccountChanged" => "El dispositivo se vinculó con otro número antes del envío",
            _ => "No se pudo enviar el mensaje",
        };
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "NotSent", text)
    }
}

async fn prune(app: App) {
    let before = Timestamp::now().saturating_sub(REMEMBERED).unwrap_or(Timestamp::MIN);
    if let Err(error) = app.database().prune_queue(before, PRUNED).await {
        tracing::warn!(error = &error as &dyn std::error::Error, "old numbers of messages are left");
    }
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<&str>, Refusal> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    match value.to_str() {
        Ok(key) if (1..=MAX_IDEMPOTENCY_KEY).contains(&key.len()) => Ok(Some(key)),
        _ => Err(Refusal::bad_request(format!(
            "Idempotency-Key debe tener de 1 a {MAX_IDEMPOTENCY_KEY} caracteres ASCII visibles"
        ))),
    }
}

/// A device's refusal in this API's words.
fn refused(error: ClientError) -> Refusal {
    let ClientError::Refused(Problem { status, reason, .. }) = &error else { return error.into() };
    let (status, text) = match reason.as_str() {
        "InvalidRecipient" => (StatusCode::BAD_REQUEST, "Número de destino inválido"),
        "InvalidText" => (StatusCode::BAD_REQUEST, "El mensaje está vacío o supera los 64 KiB"),
        "InvalidMedia" => (StatusCode::BAD_REQUEST, "El archivo no es válido"),
        "InvalidBatch" => (StatusCode::BAD_REQUEST, "Demasiados archivos en un envío"),
        "BodyTooLarge" => (StatusCode::PAYLOAD_TOO_LARGE, "Los archivos son demasiado grandes"),
        "IdempotencyKeyReused" => {
            (StatusCode::UNPROCESSABLE_ENTITY, "Idempotency-Key ya se usó para otro envío")
        }
        "OutboxFull" => {
            let text = "Demasiados mensajes en cola, intente más tarde";
            return Refusal::new(StatusCode::TOO_MANY_REQUESTS, "OutboxFull", text).retry_after(60);
        }
        "DiskFull" => return Refusal::unavailable("El dispositivo no tiene espacio", 60),
        _ => {
            tracing::info!(status, reason, "a device refused a message");
            return error.into();
        }
    };
    Refusal::new(status, "RefusedByDevice", text)
}
