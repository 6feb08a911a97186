//! One WebSocket: intro, handshake, then frames in and frames out until it ends.

pub(crate) mod handle;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use axum::extract::ws::{Message, WebSocket};
use bytes::{Bytes, BytesMut};
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt, StreamExt};
use tokio::sync::mpsc;
use wacore_binary::OwnedNodeRef;
use wacore_noise::NoiseCipher;
use wacore_noise::framing::{FrameDecoder, encode_frame};

use self::handle::{Handle, Out, Socket};
use crate::login::LoginRequest;
use crate::login_log::LoginEnd;
use crate::node::{big_endian, servers_as_jids, show};
use crate::noise::{self, AfterHello, Established};
use crate::state::Sim;
use crate::{login, pairing, stanza};

/// A client that has not finished its handshake by then is not going to; the real clients allow 20 s.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(20);
/// How long queued goodbyes (a stream error, a close frame) may take to leave.
const GOODBYE_LIMIT: Duration = Duration::from_millis(500);
/// How long a client may take to end the connection after a stanza that tells it to. whatsmeow handles stanzas
/// apart from the socket, and sees an end that comes at once first.
const LINGER: Duration = Duration::from_secs(1);
/// How long a client may take to close after that, or after the server's close frame.
const CLOSE_LIMIT: Duration = Duration::from_secs(2);

/// Who speaks on a connection.
pub(crate) struct Session {
    pub(crate) handle: Handle,
    /// Number and device id, once logged in.
    pub(crate) who: Option<(String, u16)>,
}

/// Serves one WebSocket to its end.
pub(crate) async fn serve(sim: Arc<Sim>, ws: WebSocket, socket: Socket, host: Option<String>) {
    let id = sim.next();
    let (sink, stream) = ws.split();
    let (handle, receiver) = Handle::new(id, socket, host);
    let mut wire = Wire { sink, reader: Reader { stream, decoder: FrameDecoder::new() } };
    let established = tokio::select! {
        () = sim.stopping.cancelled() => return,
        result = tokio::time::timeout(HANDSHAKE_LIMIT, wire.handshake(&sim)) => result,
    };
    match established {
        Ok(Ok(established)) => converse(&sim, handle, receiver, wire, established).await,
        Ok(Err(error)) => tracing::info!(connection = id, "connection {id}: no handshake: {error:#}"),
        Err(_) => tracing::info!(connection = id, "connection {id}: the handshake took too long"),
    }
}

async fn converse(
    sim: &Arc<Sim>,
    handle: Handle,
    receiver: mpsc::Receiver<Out>,
    wire: Wire,
    established: Established,
) {
    let id = handle.id();
    let Established { enc, dec, client_static, payload, pattern } = established;
    tracing::info!(
        connection = id,
        "connection {id}: handshake {pattern}, username {:?}, device {:?}, pairing {}",
        payload.username,
        payload.device,
        payload.device_pairing_data.is_set()
    );
    let Wire { sink, reader } = wire;
    let writer = tokio::spawn(write(sim.clone(), handle.clone(), sink, receiver, enc));
    let mut session = Session { handle: handle.clone(), who: None };
    let admitted = if payload.device_pairing_data.is_set() {
        pairing::begin(sim, &handle, client_static, &payload)
    } else {
        let request = LoginRequest { client_static, payload: &payload, pattern };
        login::login(sim, &handle, &request).await.map(|who| session.who = Some(who))
    };
    let ended = match admitted {
        Ok(()) => read(sim, &mut session, reader, dec).await,
        Err(error) => {
            wait_for_end(sim, &handle, reader).await;
            Err(error)
        }
    };
    if let Err(error) = ended {
        tracing::info!(connection = id, "connection {id} ended: {error:#}");
    }
    offline(sim, &handle);
    let stop = writer.abort_handle();
    if !handle.is_aborted() {
        handle.close();
        // Past the limit the goodbye is lost, as it may be on a real network.
        let _ = tokio::time::timeout(GOODBYE_LIMIT, writer).await;
    }
    stop.abort();
    handle.shut_down();
}

/// The socket is over: nothing more is sent to it, and the login log says so.
fn offline(sim: &Sim, handle: &Handle) {
    let end = if handle.is_closing() { LoginEnd::Server } else { LoginEnd::Client };
    handle.mark_over();
    let mut state = sim.state();
    state.logins.close(handle.id(), end);
    pairing::forget(&mut state, handle.id());
    for account in state.accounts.values_mut() {
        for device in account.devices.values_mut() {
            if device.connection.as_ref().is_some_and(|held| held.id() == handle.id()) {
                device.connection = None;
                device.active = false;
                tracing::info!(
                    phone = account.number,
                    device = device.id,
                    "{}:{} is offline",
                    account.number,
                    device.id
                );
            }
        }
    }
}

async fn read(
    sim: &Arc<Sim>,
    session: &mut Session,
    mut reader: Reader,
    decipher: NoiseCipher,
) -> Result<()> {
    let handle = session.handle.clone();
    let mut counter = 0_u32;
    let unanswered_close = closed_long_ago(&handle);
    tokio::pin!(unanswered_close);
    loop {
        let frame = tokio::select! {
            () = sim.stopping.cancelled() => bail!("the simulator stops"),
            () = handle.aborted() => bail!("dropped"),
            () = &mut unanswered_close => bail!("the client did not close"),
            frame = reader.frame() => frame?,
        };
        let Some(mut frame) = frame else { return Ok(()) };
        decipher.decrypt_in_place_with_counter(counter, &mut frame)?;
        counter += 1;
        if handle.is_silent() {
            continue;
        }
        sim.stanzas_in.fetch_add(1, Ordering::Relaxed);
        let node = OwnedNodeRef::new(wacore_binary::util::unpack_bytes(frame)?)?.to_owned_node();
        tracing::debug!("connection {} <-- {}", handle.id(), show(&node));
        if let Err(error) = stanza::handle(sim, session, &node) {
            tracing::warn!(connection = handle.id(), "connection {}: {error:#}", handle.id());
        }
    }
}

/// Nothing more is read from a client that was refused: it has the time to end the connection.
async fn wait_for_end(sim: &Sim, handle: &Handle, mut reader: Reader) {
    let ended = async { while matches!(reader.raw().await, Ok(Some(_))) {} };
    tokio::select! {
        () = sim.stopping.cancelled() => {}
        () = handle.aborted() => {}
        () = closed_long_ago(handle) => {}
        () = ended => {}
    }
}

/// Ends when the server has told the client to close, or has closed, and nothing came of it.
async fn closed_long_ago(handle: &Handle) {
    handle.closing().await;
    tokio::time::sleep(LINGER + CLOSE_LIMIT).await;
}

/// Owns the sink and the write counter.
async fn write(
    sim: Arc<Sim>,
    handle: Handle,
    mut sink: SplitSink<WebSocket, Message>,
    mut receiver: mpsc::Receiver<Out>,
    cipher: NoiseCipher,
) {
    let (id, mut counter) = (handle.id(), 0_u32);
    while let Some(out) = receiver.recv().await {
        let mut node = match out {
            Out::Node(node) => node,
            Out::Linger => {
                // Past the limit the server ends it.
                let _ = tokio::time::timeout(LINGER, handle.over()).await;
                continue;
            }
            Out::Close => {
                // Also sends the answer to a close frame of the client. It may be gone already: nothing to report.
                let _ = sink.close().await;
                return;
            }
        };
        tracing::debug!("connection {id} --> {}", show(&node));
        servers_as_jids(&mut node);
        let plain = match wacore_binary::marshal(&node) {
            Ok(plain) => plain,
            Err(error) => {
                tracing::error!(connection = id, "connection {id}: cannot write {}: {error}", show(&node));
                continue;
            }
        };
        let Ok(ciphertext) = cipher.encrypt_with_counter(counter, &plain) else { return };
        counter += 1;
        sim.stanzas_out.fetch_add(1, Ordering::Relaxed);
        let Ok(frame) = encode_frame(&ciphertext, None) else { return };
        if sink.send(Message::Binary(frame.into())).await.is_err() {
            return;
        }
    }
}

struct Wire {
    sink: SplitSink<WebSocket, Message>,
    reader: Reader,
}

impl Wire {
    async fn handshake(&mut self, sim: &Sim) -> Result<Established> {
        let prologue = self.intro().await?;
        let hello = self.reader.frame().await?.context("closed before the ClientHello")?;
        let answer = noise::read_client_hello(&sim.keys(), &prologue, &hello)?;
        match answer {
            AfterHello::Done { hello, established } => {
                self.send(&hello).await?;
                Ok(*established)
            }
            AfterHello::NeedFinish { hello, pending } => {
                self.send(&hello).await?;
                let finish = self.reader.frame().await?.context("closed before the ClientFinish")?;
                pending.read_client_finish(&finish)
            }
        }
    }

    /// An optional edge-routing pre-intro (`ED…`), then `WA` and two version bytes: the Noise prologue.
    async fn intro(&mut self) -> Result<Vec<u8>> {
        let mut first = self.reader.raw().await?.context("closed before the intro")?.to_vec();
        if first.starts_with(b"ED\x00\x01") {
            ensure!(first.len() > 7, "short edge routing intro");
            let length = big_endian(&first[4..7]) as usize;
            while first.len() < 7 + length + 4 {
                first.extend_from_slice(&self.reader.raw().await?.context("closed in the intro")?);
            }
            first.drain(..7 + length);
        }
        ensure!(first.len() >= 4 && first.starts_with(b"WA"), "not a WhatsApp intro");
        self.reader.decoder.feed(&first[4..]);
        first.truncate(4);
        Ok(first)
    }

    async fn send(&mut self, payload: &[u8]) -> Result<()> {
        Ok(self.sink.send(Message::Binary(encode_frame(payload, None)?.into())).await?)
    }
}

struct Reader {
    stream: SplitStream<WebSocket>,
    decoder: FrameDecoder,
}

impl Reader {
    async fn raw(&mut self) -> Result<Option<Bytes>> {
        while let Some(message) = self.stream.next().await {
            match message? {
                Message::Binary(bytes) => return Ok(Some(bytes)),
                Message::Close(_) => return Ok(None),
                _ => {}
            }
        }
        Ok(None)
    }

    async fn frame(&mut self) -> Result<Option<BytesMut>> {
        loop {
            if let Some(frame) = self.decoder.decode_frame() {
                return Ok(Some(frame));
            }
            match self.raw().await? {
                Some(bytes) => self.decoder.feed(&bytes),
                None => return Ok(None),
            }
        }
    }
}
