//! What the operator of the server does: trouble on command, and the records.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use anyhow::{Context as _, Result, bail};
use axum::extract::{Path, Query, State};
use axum::routing::{get, post};
use axum::{Json, Router};
use wacore_binary::builder::NodeBuilder as B;

use super::error::Refusal;
use super::types::{
    AccountState, DeviceState, Done, Hold, LoginFailure, Refuse, RootKey, ServerState, WireQuery,
};
use crate::connection::handle::Handle;
use crate::login_log::LoginRecord;
use crate::number::digits;
use crate::pairing;
use crate::stanza::conflict;
use crate::state::{Account, Sim};
use crate::wire::WireMessage;

type Answer<T> = Result<Json<T>, Refusal>;
type Server = State<Arc<Sim>>;

pub(super) fn routes() -> Router<Arc<Sim>> {
    Router::new()
        .route("/device/{phone}/{device}/{what}", post(device))
        .route("/device/{phone}/{device}/stream-error/{code}", post(stream_error))
        .route("/server/refuse/{phone}", post(refuse))
        .route("/server/fail-next-login", post(fail_next_login))
        .route("/server/rotate-static-key", post(rotate_static_key))
        .route("/server/hold-acks", post(hold_acks))
        .route("/server/state", get(state))
        .route("/server/logins", get(logins))
        .route("/server/wire", get(wire))
        .route("/server/root-key", get(root_key))
}

/// The live connection of a device.
fn connection(sim: &Sim, phone: &str, device: u16) -> Result<Handle> {
    let number = digits(phone);
    let mut state = sim.state();
    let number = state.spelled(&number).unwrap_or(number);
    let known = state.device_mut(&number, device)?;
    known.connection.clone().with_context(|| format!("{number}:{device} is not connected"))
}

async fn device(
    State(sim): Server,
    Path((phone, device, what)): Path<(String, u16, String)>,
) -> Answer<Done> {
    match what.as_str() {
        "corrupt" => *sim.state().corrupt.entry((digits(&phone), device)).or_default() += 1,
        "log-out" => pairing::log_out(&sim, &digits(&phone), device, true)?,
        _ => trouble(&connection(&sim, &phone, device)?, &what)?,
    }
    Ok(Json(Done {}))
}

fn trouble(connection: &Handle, what: &str) -> Result<()> {
    match what {
        "drop" => connection.abort(),
        "close" => connection.close(),
        "end" => connection.send(B::new("xmlstreamend").build()),
        "silence" => connection.silence(),
        "replace" => connection.finish(conflict("replaced")),
        other => bail!("{other} is none of drop, close, end, silence, replace, log-out, corrupt"),
    }
    Ok(())
}

async fn stream_error(
    State(sim): Server,
    Path((phone, device, code)): Path<(String, u16, String)>,
) -> Answer<Done> {
    let error = B::new("stream:error").attr("code", code.as_str()).build();
    connection(&sim, &phone, device)?.finish(error);
    Ok(Json(Done {}))
}

async fn refuse(State(sim): Server, Path(phone): Path<String>, Json(body): Json<Refuse>) -> Answer<Done> {
    let number = digits(&phone);
    let mut state = sim.state();
    match body.count {
        0 => state.refuse.remove(&number),
        count => state.refuse.insert(number, (body.code, count)),
    };
    Ok(Json(Done {}))
}

async fn fail_next_login(State(sim): Server, Json(failure): Json<LoginFailure>) -> Answer<Done> {
    sim.state().next_failures.push_back(failure);
    Ok(Json(Done {}))
}

async fn rotate_static_key(State(sim): Server) -> Answer<Done> {
    let rotated = sim.keys().rotated()?;
    sim.set_keys(rotated);
    Ok(Json(Done {}))
}

async fn hold_acks(State(sim): Server, Json(body): Json<Hold>) -> Answer<Done> {
    let mut state = sim.state();
    if body.hold {
        state.held_acks.get_or_insert_default();
    } else {
        for (connection, ack) in state.held_acks.take().into_iter().flatten() {
            connection.send(ack);
        }
    }
    Ok(Json(Done {}))
}

async fn logins(State(sim): Server) -> Json<Vec<LoginRecord>> {
    Json(sim.state().logins.records())
}

async fn wire(State(sim): Server, Query(query): Query<WireQuery>) -> Json<Vec<WireMessage>> {
    let number = query.phone.as_deref().map(digits);
    Json(sim.state().wire.of(number.as_deref()))
}

async fn root_key(State(sim): Server) -> Json<RootKey> {
    Json(RootKey { key: hex::encode(sim.keys().root_public()) })
}

async fn state(State(sim): Server) -> Json<ServerState> {
    let state = sim.state();
    let mut accounts: Vec<AccountState> = state.accounts.values().map(describe).collect();
    accounts.sort_by(|a, b| a.phone.cmp(&b.phone));
    Json(ServerState {
        accounts,
        pairings: state.pairings.len(),
        groups: state.groups.len(),
        media: state.media.len(),
        stanzas_in: sim.stanzas_in.load(Ordering::Relaxed),
        stanzas_out: sim.stanzas_out.load(Ordering::Relaxed),
        wire_dropped: state.wire.dropped,
    })
}

fn describe(account: &Account) -> AccountState {
    let devices = account.devices.values().map(|device| DeviceState {
        id: device.id,
        paired: !device.signed_identity.is_empty(),
        online: device.connection.as_ref().is_some_and(|connection| !connection.is_closing()),
        active: device.active,
        logged_out: device.logged_out,
        prekeys: device.prekeys.len(),
        pending: device.pending.len(),
    });
    AccountState {
        phone: account.number.clone(),
        lid: account.lid.clone(),
        push_name: account.push_name.clone(),
        devices: devices.collect(),
    }
}
