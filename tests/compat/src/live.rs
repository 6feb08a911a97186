//! The live events: somebody who listens from the first token on, and notes what comes.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use futures::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

/// How long the connection may take.
const LIMIT: Duration = Duration::from_secs(10);

/// Somebody who listens.
pub(crate) struct Listener {
    events: Arc<Mutex<Vec<Value>>>,
    task: JoinHandle<()>,
}

impl Listener {
    /// Connects with a token (Engine.IO 4 over a WebSocket, then Socket.IO's default namespace).
    ///
    /// # Errors
    /// There is no connection.
    pub(crate) async fn connect(base: &str, token: &str) -> anyhow::Result<Self> {
        let url = format!("{}/socket.io/?EIO=4&transport=websocket", base.replacen("http", "ws", 1));
        let mut request = url.into_client_request()?;
        request.headers_mut().insert("authorization", format!("Bearer {token}").parse()?);
        let connected = tokio::time::timeout(LIMIT, tokio_tungstenite::connect_async(request)).await;
        let (mut socket, _) =
            connected.context("the live events do not answer")?.context("no live events")?;
        let events: Arc<Mutex<Vec<Value>>> = Arc::default();
        let noted = Arc::clone(&events);
        let hello = format!("40{}", json!({ "token": token }));
        let task = tokio::spawn(async move {
            while let Some(Ok(message)) = socket.next().await {
                let Message::Text(text) = message else { continue };
                let answer = match text.as_str() {
                    "2" => Some("3".to_owned()),
                    text if text.starts_with('0') => Some(hello.clone()),
                    text => {
                        let event = text.strip_prefix("42").and_then(|text| serde_json::from_str(text).ok());
                        noted.lock().unwrap_or_else(PoisonError::into_inner).extend(event.and_then(note));
                        None
                    }
                };
                if let Some(answer) = answer
                    && socket.send(Message::text(answer)).await.is_err()
                {
                    return;
                }
            }
        });
        Ok(Self { events, task })
    }

    /// What came of the events that were recorded, but for the times. A code that takes another's place is the same wait, and what is told
    /// twice is told.
    pub(crate) fn noted(&self, recorded: &Value) -> Value {
        let known: Vec<&Value> =
            recorded.as_array().into_iter().flatten().map(|event| &event["ev"]).collect();
        let mut events = self.events.lock().unwrap_or_else(PoisonError::into_inner).clone();
        events.retain(|event| known.contains(&&event["ev"]));
        let waits = |event: &Value| event["d"]["qr"].is_string().then(|| event["d"]["instancia_id"].clone());
        events.dedup_by(|next, before| {
            next == before || (waits(next).is_some() && waits(next) == waits(before))
        });
        events.into()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn note(event: Value) -> Option<Value> {
    Some(json!({ "ev": event.get(0)?, "d": event.get(1)? }))
}

/// Recorded events without what the recording added.
pub(crate) fn recorded(body: &Value) -> Value {
    let events = body.as_array().cloned().unwrap_or_default().into_iter();
    let events = events.filter(|event| event.get("ev").is_some_and(|name| name != "connect"));
    events
        .map(|mut event| {
            if let Some(event) = event.as_object_mut() {
                event.remove("t");
            }
            event
        })
        .collect()
}
