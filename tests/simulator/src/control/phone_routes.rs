//! What the people holding the phones do.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::error::Refusal;
use super::types::{
    Code, Done, HistoryRequest, HistorySize, InboxPage, Linked, NewFile, NewText, ReceiptPage, Registered,
    Scan, SentId, WaitQuery,
};
use crate::number::digits;
use crate::state::{Sim, lock};
use crate::{link_code, pairing, phone};

type Answer<T> = Result<Json<T>, Refusal>;
type Server = State<Arc<Sim>>;

/// The longest a request for new messages waits; clients ask again.
const MAX_WAIT: Duration = Duration::from_secs(30);

pub(super) fn routes() -> Router<Arc<Sim>> {
    Router::new()
        .route("/scan", post(scan))
        .route("/phone/{phone}/code", post(code))
        .route("/phone/{phone}/text", post(text))
        .route("/phone/{phone}/media", post(media))
        .route("/phone/{phone}/media/{id}", get(open_media))
        .route("/phone/{phone}/inbox", get(inbox))
        .route("/phone/{phone}/receipts", get(receipts))
        .route("/phone/{phone}/read/{id}", post(read))
        .route("/phone/{phone}/unlink/{device}", post(unlink))
        .route("/phone/{phone}/registered", put(registered))
        .route("/phone/{phone}/history", post(history))
}

/// The number as the account is spelled, when there is one.
fn spelled(sim: &Sim, phone: &str) -> String {
    let number = digits(phone);
    sim.state().spelled(&number).unwrap_or(number)
}

async fn scan(State(sim): Server, Json(body): Json<Scan>) -> Answer<Linked> {
    Ok(Json(pairing::scan(&sim, &body.qr, body.phone.as_deref(), body.push_name.as_deref())?))
}

async fn code(State(sim): Server, Path(phone): Path<String>, Json(body): Json<Code>) -> Answer<Linked> {
    Ok(Json(link_code::enter(&sim, &phone, &body.code).await?))
}

async fn text(State(sim): Server, Path(phone): Path<String>, Json(body): Json<NewText>) -> Answer<SentId> {
    Ok(Json(SentId { id: phone::text(&sim, &phone, &body.to, &body.text)? }))
}

async fn media(State(sim): Server, Path(phone): Path<String>, Json(body): Json<NewFile>) -> Answer<SentId> {
    let bytes = BASE64_STANDARD.decode(&body.bytes).context("the file is not base64")?;
    Ok(Json(SentId { id: phone::media(&sim, &phone, &body.to, &body.media, &bytes)? }))
}

async fn open_media(State(sim): Server, Path((phone, id)): Path<(String, String)>) -> Result<Bytes, Refusal> {
    let number = spelled(&sim, &phone);
    let held = lock(&*sim.phone(&number)?).inbox.media(&id);
    let media = held.with_context(|| format!("{number} has no message {id} with a file"))?;
    let blob = sim.state().media.get(&media.direct_path);
    let blob = blob.with_context(|| format!("nothing was uploaded at {}", media.direct_path))?;
    Ok(media.open(&blob)?.into())
}

async fn inbox(
    State(sim): Server,
    Path(phone): Path<String>,
    Query(query): Query<WaitQuery>,
) -> Answer<InboxPage> {
    let phone = sim.phone(&sim.ensure_account(Some(&phone), None)?)?;
    let page = || {
        let (messages, next) = lock(&phone).inbox.since(query.after);
        InboxPage { messages, next }
    };
    wait(&sim, &query, || !page().messages.is_empty()).await;
    Ok(Json(page()))
}

/// Waits as long as a request wants to for news of phones; a wait that brought nothing is no error.
async fn wait(sim: &Sim, query: &WaitQuery, arrived: impl Fn() -> bool) {
    let mut news = sim.phone_news.subscribe();
    let waiting = async { while !arrived() && news.changed().await.is_ok() {} };
    let _ = tokio::time::timeout(Duration::from_millis(query.wait_ms).min(MAX_WAIT), waiting).await;
}

async fn receipts(
    State(sim): Server,
    Path(phone): Path<String>,
    Query(query): Query<WaitQuery>,
) -> Answer<ReceiptPage> {
    let phone = sim.phone(&spelled(&sim, &phone))?;
    let page = || {
        let (receipts, next) = lock(&phone).inbox.receipts_since(query.after);
        ReceiptPage { receipts, next }
    };
    wait(&sim, &query, || !page().receipts.is_empty()).await;
    Ok(Json(page()))
}

async fn read(State(sim): Server, Path((phone, id)): Path<(String, String)>) -> Answer<Done> {
    phone::read(&sim, &spelled(&sim, &phone), &id)?;
    Ok(Json(Done {}))
}

async fn unlink(State(sim): Server, Path((phone, device)): Path<(String, u16)>) -> Answer<Done> {
    pairing::log_out(&sim, &spelled(&sim, &phone), device, true)?;
    Ok(Json(Done {}))
}

async fn registered(
    State(sim): Server,
    Path(phone): Path<String>,
    Json(body): Json<Registered>,
) -> Answer<Done> {
    if body.registered {
        sim.state().unregistered.remove(&digits(&phone));
        sim.ensure_account(Some(&phone), None)?;
    } else {
        sim.state().unregistered.insert(digits(&phone));
    }
    Ok(Json(Done {}))
}

async fn history(
    State(sim): Server,
    Path(phone): Path<String>,
    Json(body): Json<HistoryRequest>,
) -> Answer<HistorySize> {
    Ok(Json(phone::history(&sim, &spelled(&sim, &phone), body.chats, body.messages)?))
}
