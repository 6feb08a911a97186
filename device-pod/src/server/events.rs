//! The event stream.
//!
//! State changes coalesce: a slow reader gets the newest state, not each one. Journal records are read from the database and so never
//! missed. Changes of outgoing messages are dropped for a reader that is far behind, and counted.

use std::collections::VecDeque;
use std::convert::Infallible;

use axum::extract::State;
use axum::response::Sse;
use axum::response::sse::{Event, KeepAlive};
use enlace_contract::events::{DeviceEvent, KEEP_ALIVE};
use enlace_contract::messages::Message;
use enlace_contract::problem::Problem;
use enlace_contract::state::DeviceState;
use futures::Stream;
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, watch};

use super::{Query, Shared, invalid_query};
use crate::store::Store;

/// How many records are read at a time.
const BATCH: u32 = 100;

/// `?after=`, for clients that cannot set a header, and `?kinds=state,message,messageState`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Start {
    after: Option<i64>,
    kinds: Option<String>,
}

/// Which events a reader wants.
#[derive(Clone, Copy)]
struct Kinds {
    state: bool,
    message: bool,
    message_state: bool,
}

impl Kinds {
    /// All, or those of a list.
    fn parse(list: Option<&str>) -> Result<Self, Problem> {
        let Some(list) = list else { return Ok(Self { state: true, message: true, message_state: true }) };
        let mut kinds = Self { state: false, message: false, message_state: false };
        for kind in list.split(',') {
            match kind {
                "state" => kinds.state = true,
                "message" => kinds.message = true,
                "messageState" => kinds.message_state = true,
                _ => {
                    let detail =
                        "kinds must be one or more of state, message, messageState, separated by commas";
                    return Err(invalid_query(detail));
                }
            }
        }
        Ok(kinds)
    }
}

/// `GET /v1/events`: from the record after `Last-Event-ID` (or `?after=`) on; without it, from now on.
pub(super) async fn stream(
    State(shared): State<Shared>,
    headers: HeaderMap,
    Query(Start { after, kinds }): Query<Start>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Problem> {
    let kinds = Kinds::parse(kinds.as_deref())?;
    let after = match headers.get("last-event-id") {
        Some(value) => Some(value.to_str().ok().and_then(|value| value.parse().ok()).ok_or_else(|| {
            Problem::new(
                StatusCode::BAD_REQUEST,
                "InvalidLastEventId",
                "Last-Event-ID must be a sequence number of the inbox",
            )
        })?),
        None => after,
    };
    let mut state = shared.state.clone();
    state.mark_changed();
    let mut newest = shared.newest.clone();
    let last = *newest.borrow_and_update();
    // A position beyond the newest record is another journal's (a volume that was made anew): what comes now must not be skipped.
    let position = after.map_or(last, |after| after.min(last));
    newest.mark_changed();
    let reader = Reader {
        kinds,
        state,
        newest,
        changes: kinds.message_state.then(|| shared.changes.subscribe()),
        store: shared.store.clone(),
        position,
        ready: VecDeque::new(),
    };
    let events = futures::stream::unfold(reader, async |mut reader| {
        let event = reader.next().await?;
        Some((Ok(event.to_sse()), reader))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)))
}

struct Reader {
    kinds: Kinds,
    state: watch::Receiver<DeviceState>,
    newest: watch::Receiver<i64>,
    /// None when they are not wanted.
    changes: Option<broadcast::Receiver<Message>>,
    store: Store,
    position: i64,
    ready: VecDeque<DeviceEvent>,
}

impl Reader {
    /// The next event; none when the device has stopped.
    async fn next(&mut self) -> Option<DeviceEvent> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(event);
            }
            tokio::select! {
                biased;
                // Also where no states are wanted: its end is the device's.
                changed = self.state.changed() => {
                    changed.ok()?;
                    let state = self.state.borrow_and_update().clone();
                    if self.kinds.state {
                        return Some(DeviceEvent::State(state));
                    }
                }
                changed = self.newest.changed(), if self.kinds.message => {
                    changed.ok()?;
                    self.newest.borrow_and_update();
                    self.read_records().await?;
                }
                change = next(&mut self.changes) => match change {
                    Ok(message) => return Some(DeviceEvent::MessageState(message)),
                    Err(RecvError::Lagged(missed)) => {
                        metrics::counter!("enlace_device_events_dropped_total").increment(missed);
                    }
                    Err(RecvError::Closed) => return None,
                },
            }
        }
    }

    async fn read_records(&mut self) -> Option<()> {
        match self.store.inbox(self.position, BATCH).await {
            Ok(page) => {
                if let Some(last) = page.items.last() {
                    self.position = last.sequence;
                }
                if page.next.is_some() {
                    self.newest.mark_changed();
                }
                self.ready.extend(page.items.into_iter().map(DeviceEvent::Message));
                Some(())
            }
            Err(error) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "an event stream ended because the database failed"
                );
                None
            }
        }
    }
}

/// The next change, when they are wanted.
async fn next(changes: &mut Option<broadcast::Receiver<Message>>) -> Result<Message, RecvError> {
    match changes {
        Some(changes) => changes.recv().await,
        None => std::future::pending().await,
    }
}
