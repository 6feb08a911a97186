//! Status, pairing, claim and logout.

use axum::Json as Answer;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use enlace_contract::problem::Problem;
use enlace_contract::state::{ClaimDecision, ClaimState, DeviceState, PairRequest};
use http::StatusCode;
use jiff::Timestamp;

use super::{Json, Shared, ask};
use crate::session::{Command, plausible};

/// `GET /v1/status`.
pub(super) async fn status(State(shared): State<Shared>) -> Answer<DeviceState> {
    Answer(shared.state.borrow().clone())
}

/// `POST /v1/pair`: shows codes again, or takes a session back, when the device rests.
pub(super) async fn pair(
    State(shared): State<Shared>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Answer<DeviceState>, Problem> {
    let body = body.map_err(|rejection| super::unread(&rejection))?;
    let request: PairRequest = if body.is_empty() { PairRequest::default() } else { super::read(&body)? };
    let at = request.requested_at.unwrap_or_else(Timestamp::now);
    if !plausible(&at) {
        let detail = "requestedAt must not be in the future: leave it out, or check the caller's clock";
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "InvalidTime", detail));
    }
    Ok(Answer(ask(&shared, |reply| Command::Pair(at, reply)).await?))
}

/// `PUT /v1/claim`: whether the device may have the number that linked.
pub(super) async fn claim(
    State(shared): State<Shared>,
    Json(ClaimDecision { number, granted }): Json<ClaimDecision>,
) -> Result<Answer<DeviceState>, Problem> {
    let linked = shared.state.borrow().account.as_ref().map(|account| account.phone_number.canonical());
    if linked.as_ref() != Some(&number) {
        return Err(Problem::new(
            StatusCode::CONFLICT,
            "OtherNumber",
            "this number is not the one that is linked",
        ));
    }
    let state = ask(&shared, |reply| Command::Claim(number, granted, reply)).await?;
    if granted != (state.claim == ClaimState::Granted) {
        return Err(Problem::new(
            StatusCode::CONFLICT,
            "ClaimNotPending",
            "the device does not wait for this claim",
        ));
    }
    Ok(Answer(state))
}

/// `POST /v1/logout`: unlinks the device at WhatsApp and erases the session.
pub(super) async fn log_out(State(shared): State<Shared>) -> Result<Answer<DeviceState>, Problem> {
    let phase = shared.state.borrow().phase;
    match ask(&shared, Command::LogOut).await? {
        Ok(state) => Ok(Answer(state)),
        Err(error) => {
            let problem =
                Problem::new(StatusCode::CONFLICT, "NotConnected", error.to_string()).with_phase(phase);
            // What rests is worth no other try.
            Err(if phase.is_final() { problem } else { problem.retry_after(10) })
        }
    }
}
