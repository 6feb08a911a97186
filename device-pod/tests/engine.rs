//! The engine as published against the simulator: what both sides agree on, before any code of the device.
#![cfg(feature = "simulator-trust")]
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use whatsapp_rust::UploadOptions;
use whatsapp_rust::anyhow::Result;
use whatsapp_rust::async_channel::Receiver;
use whatsapp_rust::http::{HttpClient, HttpRequest, HttpResponse, UreqHttpClient};
use whatsapp_rust::media::{DocumentOptions, document_message};
use whatsapp_rust::pair_code::PairCodeOptions;
use whatsapp_rust::prelude::*;
use whatsapp_rust::transport::TokioWebSocketTransportFactory;
use whatsapp_rust::wacore::download::MediaType;
use whatsapp_rust::wacore::net::{StreamingHttpResponse, UploadBody};
use whatsapp_simulator::{Control, LoginFailure, LoginOutcome, Options, Simulator, overlaps};

const OWN: &str = "5255500000001";
const OTHER: &str = "5255500000002";
/// Generous, since a debug build on a shared machine derives keys slowly.
const LIMIT: Duration = Duration::from_secs(60);

/// Sends every request to the simulator, whatever host it names.
struct Redirected {
    inner: UreqHttpClient,
    base: String,
}

impl Redirected {
    fn rewrite(&self, mut request: HttpRequest) -> HttpRequest {
        if let Some((_, rest)) = request.url.split_once("://") {
            let path = rest.find('/').map_or("", |at| &rest[at..]);
            request.url = format!("{}{path}", self.base);
        }
        request
    }
}

#[async_trait]
impl HttpClient for Redirected {
    async fn execute(&self, request: HttpRequest) -> Result<HttpResponse> {
        self.inner.execute(self.rewrite(request)).await
    }

    fn supports_streaming(&self) -> bool {
        self.inner.supports_streaming()
    }

    fn execute_streaming(&self, request: HttpRequest) -> Result<StreamingHttpResponse> {
        self.inner.execute_streaming(self.rewrite(request))
    }

    fn supports_upload_streaming(&self) -> bool {
        self.inner.supports_upload_streaming()
    }

    fn execute_upload(&self, request: HttpRequest, body: UploadBody, length: u64) -> Result<HttpResponse> {
        self.inner.execute_upload(self.rewrite(request), body, length)
    }
}

/// One linked client with its store and its events.
struct Companion {
    client: Arc<Client>,
    handle: Option<BotHandle>,
    events: Receiver<Arc<Event>>,
    store: tempfile::TempDir,
}

impl Companion {
    async fn start(simulator: &Simulator) -> Self {
        Self::start_in(simulator, tempfile::tempdir().unwrap()).await
    }

    async fn start_in(simulator: &Simulator, store: tempfile::TempDir) -> Self {
        let backend = SqliteStore::new(store.path().join("engine.db").to_str().unwrap()).await.unwrap();
        let http =
            Redirected { inner: UreqHttpClient::new(), base: format!("http://{}", simulator.address()) };
        let (handler, events) = ChannelEventHandler::new();
        let bot = Bot::builder()
            .with_backend(backend)
            .with_transport_factory(TokioWebSocketTransportFactory::new().with_url(simulator.websocket_url()))
            .with_http_client(http)
            .with_version((2, 3000, 1_042_742_319))
            .skip_history_sync()
            .with_wanted_pre_key_count(20)
            .build()
            .await
            .unwrap();
        let client = bot.client();
        client.subscribe_handler(handler).detach();
        Self { client, handle: Some(bot.spawn()), events, store }
    }

    async fn link(simulator: &Simulator, number: &str) -> (Self, u16) {
        let companion = Self::start(simulator).await;
        let qr = companion.qr().await;
        let linked = simulator.control().phone(number).scan(&qr).await.unwrap();
        assert_eq!(linked.phone, number);
        companion.connected().await;
        (companion, linked.device)
    }

    async fn qr(&self) -> String {
        self.next(|event| match event {
            Event::PairingQrCode(qr) => Some(qr.code.clone()),
            _ => None,
        })
        .await
    }

    async fn connected(&self) {
        self.next(|event| matches!(event, Event::Connected(_)).then_some(())).await;
    }

    /// The first event that `wanted` accepts; earlier ones are gone.
    async fn next<T>(&self, mut wanted: impl FnMut(&Event) -> Option<T>) -> T {
        tokio::time::timeout(LIMIT, async {
            loop {
                let event = self.events.recv().await.unwrap();
                if let Some(found) = wanted(&event) {
                    return found;
                }
            }
        })
        .await
        .expect("the event did not come")
    }

    /// The next message with this id.
    async fn message(&self, id: &str) -> InboundMessage {
        self.next(|event| event.messages().find(|message| message.info.id == id).cloned()).await
    }

    async fn ack(&self, id: &str) -> Option<String> {
        self.next(|event| match event {
            Event::ServerAck(ack) if ack.id == id && ack.class.as_deref() == Some("message") => {
                Some(ack.error.clone())
            }
            _ => None,
        })
        .await
    }

    /// Says goodbye and leaves its store.
    async fn stop(mut self) -> tempfile::TempDir {
        self.handle.take().unwrap().shutdown().await;
        self.store
    }
}

fn lid(lid: bool) -> Options {
    Options { lid, ..Options::default() }
}

/// Copies the database with its write-ahead log, as a careless backup would.
fn copy_store(from: &std::path::Path, to: &std::path::Path) {
    for file in std::fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
}

async fn a_text_and_a_document_go_both_ways(options: Options) {
    let is_lid = options.lid;
    let simulator = Simulator::start(options).await.unwrap();
    let control = simulator.control();
    let (companion, device) = Companion::link(&simulator, OWN).await;
    let other = control.phone(OTHER);

    let sent = companion.client.send_text(Jid::pn(OTHER), "hola").await.unwrap();
    assert_eq!(companion.ack(&sent.message_id).await, None);
    let got = other.wait_for_id(&sent.message_id, LIMIT).await.unwrap();
    assert_eq!((got.text.as_deref(), got.from.as_str(), got.from_device), (Some("hola"), OWN, device));
    other.read(&sent.message_id).await.unwrap();
    let read = companion.next(|event| match event {
        Event::Receipt(receipt) if receipt.r#type == whatsapp_rust::types::presence::ReceiptType::Read => {
            Some(receipt.message_ids.clone())
        }
        _ => None,
    });
    assert_eq!(read.await, std::slice::from_ref(&sent.message_id));

    let id = other.send_text(OWN, "qué tal").await.unwrap();
    let message = companion.message(&id).await;
    assert_eq!(message.message.text_content(), Some("qué tal"));
    assert_eq!(message.info.source.sender.is_lid(), is_lid);

    let file = b"%PDF-1.7 factura ".repeat(5000);
    let upload =
        companion.client.upload(file.clone(), MediaType::Document, UploadOptions::default()).await.unwrap();
    let document = document_message(
        upload,
        DocumentOptions {
            mimetype: Some("application/pdf".to_owned()),
            file_name: Some("factura.pdf".to_owned()),
            ..DocumentOptions::default()
        },
    );
    let sent = companion.client.send_message(Jid::pn(OTHER), document).await.unwrap();
    let got = other.wait_for_id(&sent.message_id, LIMIT).await.unwrap();
    assert_eq!((got.kind.as_str(), got.file_name.as_deref()), ("document", Some("factura.pdf")));
    assert_eq!(other.media(&sent.message_id).await.unwrap(), file);

    let id = other.send_document(OWN, "acuse.pdf", "application/pdf", &file).await.unwrap();
    let message = companion.message(&id).await;
    let document = message.message.document_message.as_option().unwrap();
    assert_eq!(document.file_name.as_deref(), Some("acuse.pdf"));
    assert_eq!(companion.client.download(document).await.unwrap(), file);

    let wire = control.server().wire_messages(OWN).await.unwrap();
    assert_eq!(wire.iter().map(|message| message.count).collect::<Vec<_>>(), [1, 1]);
    assert_eq!(wire[0].texts, ["hola"]);
    assert!(overlaps(&control.server().logins().await.unwrap()).is_empty());
    companion.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn texts_and_documents_go_both_ways_by_phone_number() {
    a_text_and_a_document_go_both_ways(lid(false)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn texts_and_documents_go_both_ways_by_lid() {
    a_text_and_a_document_go_both_ways(lid(true)).await;
}

/// No identity had two live sockets at any time.
async fn one_client_at_a_time(control: &Control) {
    let logins = control.server().logins().await.unwrap();
    assert!(overlaps(&logins).is_empty(), "{logins:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pairing_code_links_the_phone_it_was_made_for() {
    let simulator = Simulator::start(lid(false)).await.unwrap();
    let companion = Companion::start(&simulator).await;
    companion.qr().await;
    let code = companion
        .client
        .pair_with_code(PairCodeOptions { phone_number: OWN.to_owned(), ..PairCodeOptions::default() })
        .await
        .unwrap();
    let phone = simulator.control().phone(OWN);
    let stranger = simulator.control().phone(OTHER).enter_code(&code).await.unwrap_err();
    assert!(stranger.to_string().contains("no companion waits"), "{stranger}");
    let linked = phone.enter_code(&code).await.unwrap();
    assert_eq!(linked.phone, OWN);
    companion.connected().await;
    companion.stop().await;
    one_client_at_a_time(&simulator.control()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_client_gets_what_was_sent_meanwhile_and_does_not_overlap() {
    let simulator = Simulator::start(lid(true)).await.unwrap();
    let control = simulator.control();
    let (companion, device) = Companion::link(&simulator, OWN).await;
    let store = companion.stop().await;
    let other = control.phone(OTHER);
    let id = other.send_text(OWN, "mientras").await.unwrap();
    let companion = Companion::start_in(&simulator, store).await;
    assert_eq!(companion.message(&id).await.message.text_content(), Some("mientras"));
    let logins = control.server().logins().await.unwrap();
    assert!(logins.len() >= 2 && logins.iter().all(|login| login.device == device));
    assert_eq!(logins.last().unwrap().pattern, "IK");
    assert!(overlaps(&logins).is_empty(), "{logins:#?}");
    companion.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn trouble_on_command_reaches_the_client_as_the_right_event() {
    let simulator = Simulator::start(lid(false)).await.unwrap();
    let server = simulator.control().server();
    let (companion, device) = Companion::link(&simulator, OWN).await;

    server.fail_next_login(LoginFailure::with_reason(503)).await.unwrap();
    server.rotate_static_key().await.unwrap();
    server.drop_connection(OWN, device).await.unwrap();
    companion.next(|event| matches!(event, Event::Disconnected(_)).then_some(())).await;
    companion.next(|event| matches!(event, Event::ConnectFailure(_)).then_some(())).await;
    companion.connected().await;
    let logins = server.logins().await.unwrap();
    assert!(logins.iter().any(|login| login.outcome == LoginOutcome::Refused { reason: 503 }));
    assert!(logins.iter().any(|login| login.pattern == "XXfallback"));
    assert!(overlaps(&logins).is_empty(), "{logins:#?}");

    server.refuse_messages(OWN, 479, 1).await.unwrap();
    let sent = companion.client.send_text(Jid::pn(OTHER), "no").await.unwrap();
    assert_eq!(companion.ack(&sent.message_id).await.as_deref(), Some("479"));

    server.log_out(OWN, device).await.unwrap();
    companion.next(|event| matches!(event, Event::LoggedOut(_)).then_some(())).await;
    companion.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_cannot_be_decrypted_is_asked_for_again() {
    for is_lid in [false, true] {
        let simulator = Simulator::start(lid(is_lid)).await.unwrap();
        let control = simulator.control();
        let (companion, device) = Companion::link(&simulator, OWN).await;
        let other = control.phone(OTHER);
        let first = other.send_text(OWN, "uno").await.unwrap();
        companion.message(&first).await;
        control.server().corrupt_next_message(OWN, device).await.unwrap();
        let second = other.send_text(OWN, "dos").await.unwrap();
        assert_eq!(companion.message(&second).await.message.text_content(), Some("dos"));

        control.server().corrupt_next_message(OTHER, 0).await.unwrap();
        let sent = companion.client.send_text(Jid::pn(OTHER), "tres").await.unwrap();
        let got = other.wait_for_id(&sent.message_id, LIMIT).await.unwrap();
        assert_eq!(got.text.as_deref(), Some("tres"));
        let wire = control.server().wire_messages(OWN).await.unwrap();
        assert_eq!((wire[0].count, wire[0].resends), (1, 1));
        companion.stop().await;
        one_client_at_a_time(&simulator.control()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_client_on_one_session_is_an_overlap() {
    let simulator = Simulator::start(lid(false)).await.unwrap();
    let control = simulator.control();
    let (companion, _) = Companion::link(&simulator, OWN).await;
    let copy = tempfile::tempdir().unwrap();
    copy_store(companion.store.path(), copy.path());
    let second = Companion::start_in(&simulator, copy).await;
    companion.next(|event| matches!(event, Event::StreamReplaced(_)).then_some(())).await;
    second.connected().await;
    let pairs = overlaps(&control.server().logins().await.unwrap());
    assert_eq!(pairs.len(), 1, "{pairs:#?}");
    second.stop().await;
    companion.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_companions_of_one_number_see_what_the_other_writes() {
    for is_lid in [false, true] {
        let simulator = Simulator::start(lid(is_lid)).await.unwrap();
        let control = simulator.control();
        let (first, _) = Companion::link(&simulator, OWN).await;
        let (second, device) = Companion::link(&simulator, OWN).await;
        let sent = second.client.send_text(Jid::pn(OTHER), "hola").await.unwrap();
        let copy = first.message(&sent.message_id).await;
        assert!(copy.info.source.is_from_me);
        assert_eq!((copy.message.text_content(), device), (Some("hola"), 2));
        let id = control.phone(OTHER).send_text(OWN, "a las dos").await.unwrap();
        first.message(&id).await;
        second.message(&id).await;
        first.stop().await;
        second.stop().await;
        one_client_at_a_time(&simulator.control()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mexican_number_is_found_under_its_other_spelling_and_an_unregistered_one_is_not() {
    let simulator = Simulator::start(lid(false)).await.unwrap();
    let control: Control = simulator.control();
    let (companion, _) = Companion::link(&simulator, OTHER).await;
    control.phone("5215500000077").set_registered(true).await.unwrap();
    control.phone("5255500000099").set_registered(false).await.unwrap();
    let asked = [Jid::pn("525500000077"), Jid::pn("5255500000099"), Jid::pn("5255500000033")];
    let found = companion.client.contacts().is_on_whatsapp(&asked).await.unwrap();
    let found: Vec<_> = found.iter().map(|user| (user.jid.user.as_str(), user.is_registered)).collect();
    assert_eq!(found, [("5215500000077", true), ("5255500000099", false), ("5255500000033", true)]);
    companion.stop().await;
    one_client_at_a_time(&simulator.control()).await;
}
