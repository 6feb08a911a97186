//! A companion that speaks just enough of the protocol: handshake, pairing, login, stanzas.
//!
//! It checks no certificate and encrypts no message; the published clients do that elsewhere.

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use buffa::{Message as _, MessageField};
use futures::{FutureExt as _, SinkExt as _, StreamExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use wacore_binary::builder::NodeBuilder as B;
use wacore_binary::consts::NOISE_PATTERN_XX;
use wacore_binary::{Node, NodeContent, OwnedNodeRef};
use wacore_libsignal::protocol::KeyPair;
use wacore_noise::framing::{FrameDecoder, encode_frame};
use wacore_noise::{NoiseCipher, NoiseHandshake};
use waproto::whatsapp as wa;
use waproto::whatsapp::handshake_message::{ClientFinish, ClientHello};
use whatsapp_simulator::{Linked, Simulator};

const PROLOGUE: &[u8] = b"WA\x06\x03";
/// No answer of a loopback server takes this long.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

/// A companion's keys, and who it is once linked.
pub(crate) struct Companion {
    noise: KeyPair,
    identity: KeyPair,
    pub(crate) linked: Option<Linked>,
}

/// An open connection after its handshake.
pub(crate) struct Connection {
    socket: WebSocketStream<TcpStream>,
    decoder: FrameDecoder,
    write: (NoiseCipher, u32),
    read: (NoiseCipher, u32),
}

impl Companion {
    pub(crate) fn new() -> Self {
        let mut rng = rand::rng();
        Self { noise: KeyPair::generate(&mut rng), identity: KeyPair::generate(&mut rng), linked: None }
    }

    /// Connects without an account, and returns the refs that the server gave.
    pub(crate) async fn begin_pairing(&self, simulator: &Simulator) -> (Connection, Vec<String>) {
        let identity = self.identity.public_key.public_key_bytes().to_vec();
        let data = wa::client_payload::DevicePairingRegistrationData {
            e_regid: Some(vec![0, 0, 0, 1]),
            e_ident: Some(identity.clone()),
            e_skey_id: Some(vec![0, 0, 1]),
            e_skey_val: Some(identity),
            e_skey_sig: Some(vec![0; 64]),
            ..Default::default()
        };
        let payload =
            wa::ClientPayload { device_pairing_data: MessageField::some(data), ..Default::default() };
        let mut connection = Connection::open(simulator, &self.noise, &payload).await;
        let offer = connection.next().await.expect("refs");
        let refs = offer.get_optional_child("pair-device").unwrap().get_children_by_tag("ref");
        let refs = refs.map(|node| match &node.content {
            Some(NodeContent::Bytes(bytes)) => String::from_utf8(bytes.to_vec()).unwrap(),
            other => panic!("a ref is bytes, not {other:?}"),
        });
        let refs = refs.collect();
        (connection, refs)
    }

    /// The QR text for a ref.
    pub(crate) fn qr(&self, reference: &str) -> String {
        let encode = |pair: &KeyPair| BASE64_STANDARD.encode(pair.public_key.public_key_bytes());
        let secret = BASE64_STANDARD.encode([7_u8; 32]);
        format!("{reference},{},{},{secret},1", encode(&self.noise), encode(&self.identity))
    }

    /// A companion that the phone of `number` has linked; its pairing connection is over.
    pub(crate) async fn link(simulator: &Simulator, number: &str) -> Self {
        let mut companion = Self::new();
        let (mut connection, refs) = companion.begin_pairing(simulator).await;
        let linked = simulator.control().phone(number).scan(&companion.qr(&refs[0])).await.unwrap();
        let success = connection.next().await.expect("pair-success");
        let id = success.attrs.get("id").unwrap().to_string();
        let identity = B::new("device-identity").bytes(vec![1]).build();
        let sign = B::new("pair-device-sign").children([identity]).build();
        connection.send(B::new("iq").attr("id", id).attr("type", "result").children([sign]).build()).await;
        let restart = connection.next().await.expect("a stream error");
        assert_eq!(restart.attrs.get("code").unwrap().to_string(), "515");
        companion.linked = Some(linked);
        companion
    }

    /// Logs in; the server's answer is the next stanza.
    pub(crate) async fn connect(&self, simulator: &Simulator) -> Connection {
        let linked = self.linked.as_ref().expect("linked");
        let payload = wa::ClientPayload {
            username: Some(linked.phone.parse().unwrap()),
            device: Some(u32::from(linked.device)),
            passive: Some(true),
            ..Default::default()
        };
        Connection::open(simulator, &self.noise, &payload).await
    }

    /// Logs in and expects success.
    pub(crate) async fn login(&self, simulator: &Simulator) -> Connection {
        let mut connection = self.connect(simulator).await;
        let answer = connection.next().await.expect("an answer to the login");
        assert_eq!(answer.tag, "success");
        connection
    }
}

impl Connection {
    async fn open(simulator: &Simulator, keys: &KeyPair, payload: &wa::ClientPayload) -> Self {
        let stream = TcpStream::connect(simulator.address()).await.unwrap();
        let (mut socket, _) =
            tokio_tungstenite::client_async(simulator.websocket_url(), stream).await.unwrap();
        let mut decoder = FrameDecoder::new();
        let ephemeral = KeyPair::generate(&mut rand::rng());
        let own = ephemeral.public_key.public_key_bytes();
        let mut noise = NoiseHandshake::new(NOISE_PATTERN_XX, PROLOGUE).unwrap();
        noise.authenticate(own);
        let hello = ClientHello { ephemeral: Some(own.to_vec()), ..Default::default() };
        let hello = wa::HandshakeMessage { client_hello: MessageField::some(hello), ..Default::default() };
        let first = encode_frame(&hello.encode_to_vec(), Some(PROLOGUE)).unwrap();
        socket.send(Message::Binary(first.into())).await.unwrap();

        let answer = frame(&mut socket, &mut decoder).await.expect("a ServerHello");
        let answer = waproto::codec::handshake_message_decode(&answer).unwrap();
        let answer = answer.server_hello.into_option().unwrap();
        let theirs: [u8; 32] = answer.ephemeral.unwrap().try_into().unwrap();
        noise.authenticate(&theirs);
        noise.mix_shared_secret(ephemeral.private_key.serialize(), &theirs).unwrap();
        let server: [u8; 32] = noise.decrypt(&answer.r#static.unwrap()).unwrap().try_into().unwrap();
        noise.mix_shared_secret(ephemeral.private_key.serialize(), &server).unwrap();
        noise.decrypt(&answer.payload.unwrap()).unwrap();
        let own_static = noise.encrypt(keys.public_key.public_key_bytes()).unwrap();
        noise.mix_shared_secret(keys.private_key.serialize(), &theirs).unwrap();
        let payload = noise.encrypt(&payload.encode_to_vec()).unwrap();
        let finish =
            ClientFinish { r#static: Some(own_static), payload: Some(payload), ..Default::default() };
        let finish = wa::HandshakeMessage { client_finish: MessageField::some(finish), ..Default::default() };
        let finish = encode_frame(&finish.encode_to_vec(), None).unwrap();
        socket.send(Message::Binary(finish.into())).await.unwrap();
        let (write, read) = noise.finish().unwrap();
        Self { socket, decoder, write: (write, 0), read: (read, 0) }
    }

    pub(crate) async fn send(&mut self, node: Node) {
        let plain = wacore_binary::marshal(&node).unwrap();
        let ciphertext = self.write.0.encrypt_with_counter(self.write.1, &plain).unwrap();
        self.write.1 += 1;
        self.socket.send(Message::Binary(encode_frame(&ciphertext, None).unwrap().into())).await.unwrap();
    }

    /// The next stanza; `None` when the server has ended the connection.
    pub(crate) async fn next(&mut self) -> Option<Node> {
        let mut frame = frame(&mut self.socket, &mut self.decoder).await?;
        self.read.0.decrypt_in_place_with_counter(self.read.1, &mut frame).unwrap();
        self.read.1 += 1;
        let plain = wacore_binary::util::unpack_bytes(frame).unwrap();
        Some(OwnedNodeRef::new(plain).unwrap().to_owned_node())
    }

    /// Sends a close frame and does not wait for the answer.
    pub(crate) async fn say_goodbye(&mut self) {
        self.socket.send(Message::Close(None)).await.unwrap();
    }

    /// Whether the server has not ended it, and nothing else came.
    pub(crate) fn is_open(&mut self) -> bool {
        self.socket.next().now_or_never().is_none()
    }

    /// Whether the server answers a goodbye with one of its own before it ends the connection.
    pub(crate) async fn is_answered(&mut self) -> bool {
        let next = tokio::time::timeout(LIMIT, self.socket.next()).await;
        matches!(
            next.expect("the server neither answers nor ends the connection"),
            Some(Ok(Message::Close(_)))
        )
    }

    /// Ends as the kernel ends a killed process with unread data: with a reset.
    pub(crate) fn reset(self) {
        self.socket.get_ref().set_zero_linger().unwrap();
    }

    /// Asks for something that every server answers.
    pub(crate) async fn ping(&mut self, id: &str) {
        self.send(B::new("iq").attr("id", id).attr("type", "get").attr("xmlns", "w:p").build()).await;
    }
}

async fn frame(
    socket: &mut WebSocketStream<TcpStream>,
    decoder: &mut FrameDecoder,
) -> Option<bytes::BytesMut> {
    tokio::time::timeout(LIMIT, async {
        loop {
            if let Some(frame) = decoder.decode_frame() {
                return Some(frame);
            }
            match socket.next().await? {
                Ok(Message::Binary(bytes)) => decoder.feed(&bytes),
                Ok(Message::Close(_)) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    })
    .await
    .expect("the server neither answers nor ends the connection")
}
