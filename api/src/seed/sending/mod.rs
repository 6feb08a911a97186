//! Messages, files and invoices of the compatible API. The queue is the device's outbox: it keeps the order and the pace, and what waits at a
//! restart is sent after it.
//!
//! * [`router`]: the routes,
//! * [`message`]: `send-message`, `send-media`, `send-whatsap`; [`legacy`]: XML and PDF of a billing system; [`receipt`]: several files,
//! * [`body`]: what a request says, as JSON, as a form (`form` has its nested names) or as multipart,
//! * [`sender`]: the device that sends, and whether it can,
//! * [`file`]: the bytes of a file, its name, its MIME type and its kind; [`fetch`]: files by URL, and which addresses are refused,
//! * [`delivery`]: handing over to the device, the numbers of `queue_id`, and waiting for the outcome.
//!
//! No file is written anywhere here: what is not handed over to a device is gone with its request.

mod body;
mod delivery;
mod fetch;
mod file;
mod form;
mod legacy;
mod message;
mod receipt;
mod sender;

use axum::Router;
use axum::routing::post;

use super::listed;
use crate::http::App;

pub use fetch::Fetcher;

/// The routes, with the names that older guides have for them.
pub(super) fn router() -> Router<App> {
    Router::new()
        .route("/api/send-message", listed(post(message::plain), "POST"))
        .route("/api/send-media", listed(post(message::media), "POST"))
        .route("/api/send-whatsap", listed(post(message::document), "POST"))
        .route("/api/send", listed(post(message::plain), "POST"))
        .route("/api/send-file", listed(post(message::media), "POST"))
        .route("/api/send-whatsap-legacy", listed(post(legacy::invoice), "POST"))
        .route("/api/send-receipt", listed(post(receipt::receipt), "POST"))
}
