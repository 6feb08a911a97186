//! The typed client of the control routes, for a simulator in this process or in another.

use std::fmt::Display;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{Method, Request, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use super::types::{
    Code, Done, HistoryRequest, HistorySize, Hold, InboxPage, Linked, LoginFailure, MediaKind, NewFile,
    NewMedia, NewText, PhoneMessage, PhoneReceipt, Problem, ReceiptPage, Refuse, Registered, RootKey, Scan,
    SentId, ServerState,
};
use crate::login_log::LoginRecord;
use crate::wire::WireMessage;

/// No answer is longer than this one: a full inbox.
const MAX_ANSWER: usize = 512 << 20;
/// The longest route waits for a companion's answer to a pairing code.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);
/// How long one request for new messages waits before it is asked again.
const POLL: Duration = Duration::from_secs(10);

/// Why a control request failed.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The simulator cannot be reached or its answer broke off.
    #[error("the simulator at {base} does not answer {path}")]
    Transport {
        /// Its base URL.
        base: String,
        /// The request.
        path: String,
        /// What went wrong.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The simulator refused, in its own words.
    #[error("{path}: {message}")]
    Refused {
        /// The request.
        path: String,
        /// The simulator's words.
        message: String,
    },
    /// The answer is not what this client expects.
    #[error("the answer to {path} cannot be read")]
    Answer {
        /// The request.
        path: String,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// What was waited for did not happen in time.
    #[error("no {what} of the phone {phone} matched within {waited:?}; it has {held}")]
    Waited {
        /// The phone.
        phone: String,
        /// A message or a receipt.
        what: &'static str,
        /// The limit.
        waited: Duration,
        /// What the phone had instead.
        held: String,
    },
}

/// A client of one simulator's controls. Clones share their connections.
#[derive(Debug, Clone)]
pub struct Control {
    base: String,
    http: Client<HttpConnector, Full<Bytes>>,
}

impl Control {
    /// A client of the simulator at `base`, such as `http://127.0.0.1:8788`.
    #[must_use]
    pub fn new(base: impl Into<String>) -> Self {
        let base = base.into();
        Self {
            base: base.trim_end_matches('/').to_owned(),
            http: Client::builder(TokioExecutor::new()).build_http(),
        }
    }

    /// The phone of a number: digits, with or without `+`. A new number gets an account when it is used.
    #[must_use]
    pub fn phone(&self, number: &str) -> PhoneControl {
        PhoneControl { control: self.clone(), number: crate::number::digits(number) }
    }

    /// The server itself.
    #[must_use]
    pub fn server(&self) -> ServerControl {
        ServerControl(self.clone())
    }

    /// A phone with a number that nobody has used scans a QR text.
    ///
    /// # Errors
    /// The ref is unknown, expired or already scanned.
    pub async fn scan(&self, qr: &str) -> Result<Linked, ControlError> {
        self.post("/scan", &Scan { qr: qr.to_owned(), phone: None, push_name: None }).await
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ControlError> {
        parse(path, &self.send(Method::GET, path, Bytes::new()).await?)
    }

    async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, ControlError> {
        self.with_body(Method::POST, path, body).await
    }

    async fn with_body<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, ControlError> {
        let body = serde_json::to_vec(body)
            .map_err(|source| ControlError::Answer { path: path.to_owned(), source })?;
        parse(path, &self.send(method, path, body.into()).await?)
    }

    async fn send(&self, method: Method, path: &str, body: Bytes) -> Result<Bytes, ControlError> {
        let failed = |source: Box<dyn std::error::Error + Send + Sync>| ControlError::Transport {
            base: self.base.clone(),
            path: path.to_owned(),
            source,
        };
        let exchange = async {
            let uri: Uri = format!("{}{path}", self.base).parse()?;
            let request = Request::builder()
                .method(method)
                .uri(uri)
                .header("content-type", "application/json")
                .body(Full::new(body))?;
            let answer = self.http.request(request).await?;
            let status = answer.status();
            let bytes = Limited::new(answer.into_body(), MAX_ANSWER).collect().await?.to_bytes();
            Ok((status, bytes))
        };
        let (status, bytes) = tokio::time::timeout(ANSWER_LIMIT, exchange)
            .await
            .map_err(|elapsed| failed(elapsed.into()))?
            .map_err(failed)?;
        if status.is_success() {
            return Ok(bytes);
        }
        let message = serde_json::from_slice::<Problem>(&bytes)
            .map(|problem| problem.error)
            .unwrap_or_else(|_| format!("{status} {}", String::from_utf8_lossy(&bytes)));
        Err(ControlError::Refused { path: path.to_owned(), message })
    }
}

fn parse<T: DeserializeOwned>(path: &str, bytes: &[u8]) -> Result<T, ControlError> {
    serde_json::from_slice(bytes).map_err(|source| ControlError::Answer { path: path.to_owned(), source })
}

/// The person who holds the phone of one number.
#[derive(Debug, Clone)]
pub struct PhoneControl {
    control: Control,
    number: String,
}

/// Every method fails with a [`ControlError`] when the simulator refuses or does not answer.
#[expect(clippy::missing_errors_doc, reason = "said once for all methods, above")]
impl PhoneControl {
    /// The number, in digits.
    #[must_use]
    pub fn number(&self) -> &str {
        &self.number
    }

    /// Scans a QR text and links the companion that shows it.
    pub async fn scan(&self, qr: &str) -> Result<Linked, ControlError> {
        let scan = Scan { qr: qr.to_owned(), phone: Some(self.number.clone()), push_name: None };
        self.control.post("/scan", &scan).await
    }

    /// Types in the pairing code that a companion shows for this number; returns when it is confirmed.
    pub async fn enter_code(&self, code: &str) -> Result<Linked, ControlError> {
        self.control.post(&self.path("code"), &Code { code: code.to_owned() }).await
    }

    /// Writes a text to another number, whose companions may be offline; returns the message id.
    pub async fn send_text(&self, to: &str, text: &str) -> Result<String, ControlError> {
        let body = NewText { to: to.to_owned(), text: text.to_owned() };
        let sent: SentId = self.control.post(&self.path("text"), &body).await?;
        Ok(sent.id)
    }

    /// Encrypts, uploads and sends a file; returns the message id.
    pub async fn send_media(&self, to: &str, media: NewMedia, bytes: &[u8]) -> Result<String, ControlError> {
        let body = NewFile { to: to.to_owned(), media, bytes: BASE64_STANDARD.encode(bytes) };
        let sent: SentId = self.control.post(&self.path("media"), &body).await?;
        Ok(sent.id)
    }

    /// [`Self::send_media`] for a document.
    pub async fn send_document(
        &self,
        to: &str,
        file_name: &str,
        mime_type: &str,
        bytes: &[u8],
    ) -> Result<String, ControlError> {
        let media = NewMedia {
            kind: MediaKind::Document,
            mime_type: mime_type.to_owned(),
            file_name: Some(file_name.to_owned()),
            caption: None,
        };
        self.send_media(to, media, bytes).await
    }

    /// All messages that the phone got, oldest first, each id once.
    pub async fn inbox(&self) -> Result<Vec<PhoneMessage>, ControlError> {
        Ok(self.page(0, Duration::ZERO).await?.messages)
    }

    /// The first message that matches, waiting for it until the limit.
    pub async fn wait_for_message(
        &self,
        mut matches: impl FnMut(&PhoneMessage) -> bool,
        limit: Duration,
    ) -> Result<PhoneMessage, ControlError> {
        let deadline = Instant::now() + limit;
        let mut after = 0;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let page = self.page(after, left.min(POLL)).await?;
            if let Some(found) = page.messages.into_iter().find(&mut matches) {
                return Ok(found);
            }
            after = page.next;
            if left.is_zero() {
                let inbox = self.inbox().await?.iter().map(summary).collect();
                return Err(self.waited("message", limit, inbox));
            }
        }
    }

    /// The first message with this text from somebody else.
    pub async fn wait_for_text(&self, text: &str, limit: Duration) -> Result<PhoneMessage, ControlError> {
        self.wait_for_message(|message| !message.own && message.text.as_deref() == Some(text), limit).await
    }

    /// The readable message with this id.
    pub async fn wait_for_id(&self, id: &str, limit: Duration) -> Result<PhoneMessage, ControlError> {
        self.wait_for_message(|message| message.error.is_none() && message.id == id, limit).await
    }

    /// Downloads and decrypts the file of a message in the inbox.
    pub async fn media(&self, message_id: &str) -> Result<Bytes, ControlError> {
        self.control.send(Method::GET, &self.path(format_args!("media/{message_id}")), Bytes::new()).await
    }

    /// The receipts that the phone got for its own messages.
    pub async fn receipts(&self) -> Result<Vec<PhoneReceipt>, ControlError> {
        Ok(self.receipt_page(0, Duration::ZERO).await?.receipts)
    }

    /// The first receipt that matches, waiting for it until the limit.
    pub async fn wait_for_receipt(
        &self,
        mut matches: impl FnMut(&PhoneReceipt) -> bool,
        limit: Duration,
    ) -> Result<PhoneReceipt, ControlError> {
        let deadline = Instant::now() + limit;
        let mut after = 0;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let page = self.receipt_page(after, left.min(POLL)).await?;
            if let Some(found) = page.receipts.into_iter().find(&mut matches) {
                return Ok(found);
            }
            after = page.next;
            if left.is_zero() {
                let receipts = self.receipts().await?;
                let list: Vec<String> = receipts
                    .iter()
                    .map(|receipt| format!("{} {}", receipt.message_id, receipt.kind))
                    .collect();
                return Err(self.waited("receipt", limit, list));
            }
        }
    }

    /// Reads a message: its sender gets a read receipt.
    pub async fn read(&self, message_id: &str) -> Result<(), ControlError> {
        self.done(format_args!("read/{message_id}")).await
    }

    /// Removes a linked device: the server logs it out.
    pub async fn unlink(&self, device: u16) -> Result<(), ControlError> {
        self.done(format_args!("unlink/{device}")).await
    }

    /// Declares whether the number is on WhatsApp. Unknown numbers are, by default, as soon as they are used.
    pub async fn set_registered(&self, registered: bool) -> Result<(), ControlError> {
        let body = Registered { registered };
        let _: Done = self.control.with_body(Method::PUT, &self.path("registered"), &body).await?;
        Ok(())
    }

    /// Sends a made-up history to all companions of the number.
    pub async fn send_history(&self, chats: u64, messages: u64) -> Result<HistorySize, ControlError> {
        self.control.post(&self.path("history"), &HistoryRequest { chats, messages }).await
    }

    fn path(&self, rest: impl Display) -> String {
        format!("/phone/{}/{rest}", self.number)
    }

    async fn done(&self, rest: impl Display) -> Result<(), ControlError> {
        let _: Done = self.control.post(&self.path(rest), &Done {}).await?;
        Ok(())
    }

    fn waited(&self, what: &'static str, waited: Duration, held: Vec<String>) -> ControlError {
        ControlError::Waited { phone: self.number.clone(), what, waited, held: held.join(", ") }
    }

    async fn receipt_page(&self, after: u64, wait: Duration) -> Result<ReceiptPage, ControlError> {
        let wait_ms = wait.as_millis();
        self.control.get(&self.path(format_args!("receipts?after={after}&waitMs={wait_ms}"))).await
    }

    async fn page(&self, after: u64, wait: Duration) -> Result<InboxPage, ControlError> {
        self.control.get(&self.path(format_args!("inbox?after={after}&waitMs={}", wait.as_millis()))).await
    }
}

fn summary(message: &PhoneMessage) -> String {
    match &message.error {
        Some(error) => format!("{} unreadable ({error})", message.id),
        None => format!("{} {}{:?}", message.id, if message.own { "own " } else { "" }, message.kind),
    }
}

/// The operator of the server.
#[derive(Debug, Clone)]
pub struct ServerControl(Control);

/// Every method fails with a [`ControlError`] when the simulator refuses or does not answer.
#[expect(clippy::missing_errors_doc, reason = "said once for all methods, above")]
impl ServerControl {
    /// Drops the TCP connection of a device without a goodbye.
    pub async fn drop_connection(&self, phone: &str, device: u16) -> Result<(), ControlError> {
        self.device(phone, device, "drop").await
    }

    /// Closes the WebSocket of a device.
    pub async fn close(&self, phone: &str, device: u16) -> Result<(), ControlError> {
        self.device(phone, device, "close").await
    }

    /// Sends `<stream:error code=…>` to a device and closes.
    pub async fn stream_error(&self, phone: &str, device: u16, code: u32) -> Result<(), ControlError> {
        self.device(phone, device, format_args!("stream-error/{code}")).await
    }

    /// Tells a device that another client took its place, and closes. No other login happens.
    pub async fn replace(&self, phone: &str, device: u16) -> Result<(), ControlError> {
        self.device(phone, device, "replace").await
    }

    /// Logs a device out: a 401 now, and a 401 at its next login.
    pub async fn log_out(&self, phone: &str, device: u16) -> Result<(), ControlError> {
        self.device(phone, device, "log-out").await
    }

    /// Turns the connection of a device into a black hole: it stays open, nothing is answered or forwarded.
    pub async fn silence(&self, phone: &str, device: u16) -> Result<(), ControlError> {
        self.device(phone, device, "silence").await
    }

    /// Ends the XML stream of a device and leaves the socket open.
    pub async fn end_stream(&self, phone: &str, device: u16) -> Result<(), ControlError> {
        self.device(phone, device, "end").await
    }

    /// Flips a bit in the next message to a device (0 is the phone), so that it cannot decrypt it and asks again.
    pub async fn corrupt_next_message(&self, phone: &str, device: u16) -> Result<(), ControlError> {
        self.device(phone, device, "corrupt").await
    }

    /// The next login, of whoever it is, gets this failure. Several calls answer several logins.
    pub async fn fail_next_login(&self, failure: LoginFailure) -> Result<(), ControlError> {
        self.post("/server/fail-next-login", &failure).await
    }

    /// A new Noise static key: clients that resume with IK must fall back.
    pub async fn rotate_static_key(&self) -> Result<(), ControlError> {
        self.post("/server/rotate-static-key", &Done {}).await
    }

    /// Answers the next `count` messages of a number with an error code instead of relaying them.
    pub async fn refuse_messages(&self, phone: &str, code: u32, count: u32) -> Result<(), ControlError> {
        self.post(&format!("/server/refuse/{phone}"), &Refuse { code, count }).await
    }

    /// Relays messages but keeps their acknowledgements back; `false` sends the ones kept.
    pub async fn hold_acks(&self, hold: bool) -> Result<(), ControlError> {
        self.post("/server/hold-acks", &Hold { hold }).await
    }

    /// All logins, oldest first. See [`crate::overlaps`].
    pub async fn logins(&self) -> Result<Vec<LoginRecord>, ControlError> {
        self.0.get("/server/logins").await
    }

    /// All message ids on the wire.
    pub async fn wire(&self) -> Result<Vec<WireMessage>, ControlError> {
        self.0.get("/server/wire").await
    }

    /// The message ids on the wire from the companions of one number.
    pub async fn wire_messages(&self, phone: &str) -> Result<Vec<WireMessage>, ControlError> {
        self.0.get(&format!("/server/wire?phone={}", crate::number::digits(phone))).await
    }

    /// What the server knows.
    pub async fn state(&self) -> Result<ServerState, ControlError> {
        self.0.get("/server/state").await
    }

    /// The public root key of the certificate chain, in hex, for clients that check it.
    pub async fn root_key(&self) -> Result<String, ControlError> {
        let root: RootKey = self.0.get("/server/root-key").await?;
        Ok(root.key)
    }

    async fn device(&self, phone: &str, device: u16, what: impl Display) -> Result<(), ControlError> {
        self.post(&format!("/device/{}/{device}/{what}", crate::number::digits(phone)), &Done {}).await
    }

    async fn post(&self, path: &str, body: &impl Serialize) -> Result<(), ControlError> {
        let _: Done = self.0.post(path, body).await?;
        Ok(())
    }
}
