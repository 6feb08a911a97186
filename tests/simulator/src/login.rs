//! Letting a linked device in.

use std::time::Duration;

use anyhow::{Result, bail};
use jiff::Timestamp;
use wacore_binary::Node;
use wacore_binary::builder::NodeBuilder as B;
use waproto::whatsapp as wa;

use crate::connection::handle::{Handle, SocketState};
use crate::control::types::LoginFailure;
use crate::login_log::{LoginEnd, LoginOutcome, LoginRecord};
use crate::node::now_s;
use crate::state::{Sim, State};

/// How long the reader of an older socket may take to read what already waits there. It only has to be
/// scheduled; a busy test machine may need this much.
const SETTLE_LIMIT: Duration = Duration::from_millis(500);
/// How often that reader is looked at meanwhile.
const SETTLE_STEP: Duration = Duration::from_millis(2);

/// A login as the handshake delivered it.
pub(crate) struct LoginRequest<'a> {
    pub(crate) client_static: [u8; 32],
    pub(crate) payload: &'a wa::ClientPayload,
    pub(crate) pattern: &'static str,
}

/// Decides on a login and answers it; an error means that the connection ends.
pub(crate) async fn login(sim: &Sim, handle: &Handle, request: &LoginRequest<'_>) -> Result<(String, u16)> {
    let number = request.payload.username.unwrap_or(0).to_string();
    let device = request.payload.device.and_then(|device| u16::try_from(device).ok()).unwrap_or(0);
    loop {
        let older = sim.state().device_mut(&number, device).ok().and_then(|device| device.connection.clone());
        if let Some(older) = &older {
            settle(older).await;
        }
        let mut state = sim.state();
        let now = state.device_mut(&number, device).ok().and_then(|device| device.connection.clone());
        if now.as_ref().is_some_and(|now| older.as_ref().is_none_or(|older| older.id() != now.id())) {
            // Another login came in between: it is the one to look at.
            continue;
        }
        let answer = decide(&mut state, handle, request, &number, device, older);
        drop(state);
        return match answer {
            Ok(()) => Ok((number, device)),
            Err(failure) => {
                handle.finish(failure_node(&failure));
                bail!("login of {number}:{device} refused with {}", failure.reason)
            }
        };
    }
}

/// Gives an older socket of the same identity the chance to be known as over before it counts as live.
///
/// A killed process closes its socket in the kernel at once, so by the time its successor logs in the kernel
/// can tell; that answer needs no waiting and no scheduling. One case is left: a client that said goodbye
/// with a close frame which the reader has not read yet. Its bytes wait in the socket, so while bytes wait,
/// and no longer than [`SETTLE_LIMIT`], the reader is given time to read them. A socket that is open with
/// nothing waiting is live: no grace for it.
async fn settle(older: &Handle) {
    let read_by_then = async {
        while !ended(older) && older.socket_state() == SocketState::Unread {
            tokio::time::sleep(SETTLE_STEP).await;
        }
    };
    // Still unread at the limit means live: the caller looks again.
    let _ = tokio::time::timeout(SETTLE_LIMIT, read_by_then).await;
}

/// Whether a socket is over: the server ended it, the reader saw the end, or the kernel knows it.
fn ended(older: &Handle) -> bool {
    older.is_closing() || older.is_over() || older.socket_state() == SocketState::Ended
}

fn decide(
    state: &mut State,
    handle: &Handle,
    request: &LoginRequest<'_>,
    number: &str,
    device: u16,
    older: Option<Handle>,
) -> Result<(), LoginFailure> {
    let verdict = match state.next_failures.pop_front() {
        Some(failure) => Err(failure),
        None => admit(state, request, number, device),
    };
    // Asked once: the answer must not change between the two steps that depend on it.
    let (over, live) = match older {
        Some(older) if ended(&older) => (Some(older), None),
        older => (None, older),
    };
    if let Some(older) = over {
        let end = if older.is_closing() { LoginEnd::Server } else { LoginEnd::Client };
        state.logins.close(older.id(), end);
    }
    let outcome = match &verdict {
        Ok(_) => LoginOutcome::Accepted,
        Err(failure) => LoginOutcome::Refused { reason: failure.reason },
    };
    state.logins.open(LoginRecord {
        phone: number.to_owned(),
        device,
        connection: handle.id(),
        pattern: request.pattern.to_owned(),
        opened_at: Timestamp::now(),
        closed_at: None,
        passive: request.payload.passive.unwrap_or(false),
        outcome,
        end: None,
    });
    let success = verdict?;
    if let Some(older) = live {
        older.finish(crate::stanza::conflict("replaced"));
        state.logins.close(older.id(), LoginEnd::Replaced);
    }
    if let Ok(device) = state.device_mut(number, device) {
        device.connection = Some(handle.clone());
        // Until it asks for its queue with `<active/>`.
        device.active = false;
    }
    // Under the lock, so that nothing else reaches the device before it.
    handle.send(success);
    Ok(())
}

/// The `<success>` for a linked device with the right Noise key.
fn admit(state: &State, request: &LoginRequest<'_>, number: &str, device: u16) -> Result<Node, LoginFailure> {
    let logged_out = || LoginFailure::with_reason(401);
    let account = state.accounts.get(number).ok_or_else(logged_out)?;
    let known = account.devices.get(&device).ok_or_else(logged_out)?;
    if known.logged_out || known.keys.noise != request.client_static {
        return Err(logged_out());
    }
    Ok(B::new("success")
        .attr("t", now_s())
        .attr("props", 27_u32)
        .attr("companion_enc_static", "")
        .attr("lid", account.lid_jid(device))
        .attr("display_name", account.push_name.as_str())
        .attr("abprops", 1_u32)
        .attr("group_abprops", 1_u32)
        .attr("location", "sim")
        .build())
}

fn failure_node(failure: &LoginFailure) -> Node {
    let LoginFailure { reason, code, expire_s, message, url } = failure;
    let mut node = B::new("failure").attr("reason", *reason).attr("location", "sim");
    if let Some(code) = code {
        node = node.attr("code", *code);
    }
    if let Some(expire) = expire_s {
        node = node.attr("expire", *expire);
    }
    if let Some(message) = message {
        node = node.attr("message", message.as_str());
    }
    if let Some(url) = url {
        node = node.attr("url", url.as_str());
    }
    node.build()
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::net::{TcpListener, TcpStream};

    use super::*;
    use crate::connection::handle::{Out, Socket};
    use crate::login_log::overlaps;
    use crate::noise::ServerKeys;
    use crate::options::Options;
    use crate::state::{Device, Registration};

    const NUMBER: &str = "525500000001";

    /// A device whose older connection nobody reads: its task has not been scheduled.
    struct Scene {
        sim: Sim,
        older: Handle,
        peer: TcpStream,
        _queues: [tokio::sync::mpsc::Receiver<Out>; 2],
        newer: Handle,
    }

    impl Scene {
        fn set() -> Self {
            let sim = Sim::new(Options::default(), None, ServerKeys::load_or_generate(None).unwrap());
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (accepted, _) = listener.accept().unwrap();
            let (older, first) = Handle::new(1, Socket::of(accepted.try_clone().unwrap()), None);
            let (newer, second) = Handle::new(2, Socket::of(accepted), None);
            sim.ensure_account(Some(NUMBER), None).unwrap();
            let device = Device::new(1, Registration::default());
            sim.state().account_mut(NUMBER).unwrap().devices.insert(1, device);
            Self { sim, older, peer, _queues: [first, second], newer }
        }

        async fn log_in(&self, handle: &Handle) {
            let payload = wa::ClientPayload {
                username: Some(NUMBER.parse().unwrap()),
                device: Some(1),
                ..Default::default()
            };
            let request = LoginRequest { client_static: [0; 32], payload: &payload, pattern: "IK" };
            login(&self.sim, handle, &request).await.unwrap();
        }

        fn overlaps(&self) -> usize {
            overlaps(&self.sim.state().logins.records()).len()
        }
    }

    #[tokio::test]
    async fn the_kernel_knows_the_older_socket_to_be_over_before_its_reader_does() {
        let scene = Scene::set();
        scene.log_in(&scene.older).await;
        (&scene.peer).write_all(b"not read by anybody").unwrap();
        scene.peer.shutdown(std::net::Shutdown::Write).unwrap();
        scene.log_in(&scene.newer).await;
        assert_eq!(scene.overlaps(), 0);
    }

    #[tokio::test]
    async fn a_goodbye_that_waits_in_the_older_socket_is_read_first() {
        let scene = Scene::set();
        scene.log_in(&scene.older).await;
        (&scene.peer).write_all(b"a close frame").unwrap();
        let older = scene.older.clone();
        // The reader, scheduled late: only once the login waits for it.
        let reader = tokio::spawn(async move { older.mark_over() });
        scene.log_in(&scene.newer).await;
        reader.await.unwrap();
        assert_eq!(scene.overlaps(), 0);
    }

    #[tokio::test]
    async fn a_quiet_open_socket_is_live() {
        let scene = Scene::set();
        scene.log_in(&scene.older).await;
        scene.log_in(&scene.newer).await;
        assert_eq!(scene.overlaps(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_socket_with_data_that_nobody_reads_is_live_in_the_end() {
        let scene = Scene::set();
        scene.log_in(&scene.older).await;
        (&scene.peer).write_all(b"data").unwrap();
        scene.log_in(&scene.newer).await;
        assert_eq!(scene.overlaps(), 1);
    }
}
