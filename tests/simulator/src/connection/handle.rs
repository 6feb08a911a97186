//! The server's hold on one open WebSocket: what is sent to it and what is known of its socket.

use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::extract::connect_info::Connected;
use axum::serve::IncomingStream;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use wacore_binary::Node;

/// Stanzas that may wait for one socket. A client that reads so slowly is dropped, as the real server does.
const QUEUE: usize = 16_384;

/// What the writer of a connection is told.
pub(crate) enum Out {
    Node(Box<Node>),
    /// Time for the client to end the connection itself.
    Linger,
    /// A WebSocket close frame, then the end.
    Close,
}

/// A second descriptor of a connection's socket, to ask the kernel about it.
///
/// It would keep the socket open while it lives, so the connection shuts the socket down at its end.
#[derive(Debug, Clone)]
pub(crate) struct Socket(Option<Arc<TcpStream>>);

impl Connected<IncomingStream<'_, tokio::net::TcpListener>> for Socket {
    fn connect_info(stream: IncomingStream<'_, tokio::net::TcpListener>) -> Self {
        if let Err(error) = stream.io().set_nodelay(true) {
            tracing::debug!(%error, "cannot set TCP_NODELAY");
        }
        Self(stream.io().as_fd().try_clone_to_owned().ok().map(|fd| Arc::new(TcpStream::from(fd))))
    }
}

/// What the kernel says about a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SocketState {
    /// The peer has closed its half, or the connection was reset.
    Ended,
    /// Bytes wait that the server has not read yet.
    Unread,
    /// Open, nothing waits.
    Quiet,
}

impl Socket {
    #[cfg(test)]
    pub(crate) fn of(stream: TcpStream) -> Self {
        Self(Some(Arc::new(stream)))
    }

    /// Asks now, without waiting: independent of whether the task that reads the socket has run.
    pub(crate) fn state(&self) -> SocketState {
        let Some(fd) = &self.0 else { return SocketState::Quiet };
        let mut fds = [PollFd::new(&**fd, PollFlags::IN | PollFlags::RDHUP)];
        if poll(&mut fds, Some(&Timespec::default())).is_err() {
            return SocketState::Quiet;
        }
        let events = fds[0].revents();
        if events.intersects(PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL) {
            SocketState::Ended
        } else if events.contains(PollFlags::IN) {
            SocketState::Unread
        } else {
            SocketState::Quiet
        }
    }
}

/// One open connection, as the rest of the server holds it. Clones are the same connection.
#[derive(Debug, Clone)]
pub(crate) struct Handle(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    id: u64,
    socket: Socket,
    queue: mpsc::Sender<Out>,
    /// Media host for clients when the simulator was not told one: what this client connected to.
    host: Option<String>,
    abort: CancellationToken,
    over: CancellationToken,
    closing: CancellationToken,
    silent: AtomicBool,
}

impl Handle {
    pub(crate) fn new(id: u64, socket: Socket, host: Option<String>) -> (Self, mpsc::Receiver<Out>) {
        let (queue, receiver) = mpsc::channel(QUEUE);
        let inner = Inner {
            id,
            socket,
            queue,
            host,
            abort: CancellationToken::new(),
            over: CancellationToken::new(),
            closing: CancellationToken::new(),
            silent: AtomicBool::new(false),
        };
        (Self(Arc::new(inner)), receiver)
    }

    pub(crate) fn id(&self) -> u64 {
        self.0.id
    }

    pub(crate) fn host(&self) -> Option<&str> {
        self.0.host.as_deref()
    }

    /// Sends a stanza, unless the connection was silenced or is closing.
    pub(crate) fn send(&self, node: Node) {
        if self.is_silent() || self.is_closing() {
            return;
        }
        self.queue(Out::Node(Box::new(node)));
    }

    /// Sends what was queued and a close frame.
    pub(crate) fn close(&self) {
        if !self.is_closing() {
            self.0.closing.cancel();
            self.queue(Out::Close);
        }
    }

    /// Sends a stanza after which a client ends the connection. The server ends it later, and only if the client
    /// does not: an end that comes at once, a client may see before the stanza.
    pub(crate) fn finish(&self, node: Node) {
        self.send(node);
        if !self.is_closing() {
            self.0.closing.cancel();
            self.queue(Out::Linger);
            self.queue(Out::Close);
        }
    }

    /// Drops the TCP connection without a goodbye.
    pub(crate) fn abort(&self) {
        self.0.closing.cancel();
        self.0.abort.cancel();
    }

    /// From now on the server neither answers nor forwards; the socket stays open.
    pub(crate) fn silence(&self) {
        self.0.silent.store(true, Ordering::SeqCst);
    }

    pub(crate) fn is_silent(&self) -> bool {
        self.0.silent.load(Ordering::SeqCst)
    }

    /// The server itself has ended this connection, whether or not the client has noticed.
    pub(crate) fn is_closing(&self) -> bool {
        self.0.closing.is_cancelled()
    }

    /// The reader has seen the end of the socket.
    pub(crate) fn is_over(&self) -> bool {
        self.0.over.is_cancelled()
    }

    pub(crate) fn mark_over(&self) {
        self.0.over.cancel();
    }

    pub(crate) async fn over(&self) {
        self.0.over.cancelled().await;
    }

    /// Ends the TCP connection, whoever still holds a clone of this handle.
    pub(crate) fn shut_down(&self) {
        if let Some(socket) = &self.0.socket.0 {
            // It may have ended by itself.
            let _ = socket.shutdown(Shutdown::Both);
        }
    }

    pub(crate) fn is_aborted(&self) -> bool {
        self.0.abort.is_cancelled()
    }

    pub(crate) fn socket_state(&self) -> SocketState {
        self.0.socket.state()
    }

    pub(crate) async fn closing(&self) {
        self.0.closing.cancelled().await;
    }

    pub(crate) async fn aborted(&self) {
        self.0.abort.cancelled().await;
    }

    fn queue(&self, out: Out) {
        if self.0.queue.try_send(out).is_err() && !self.is_over() {
            tracing::warn!(connection = self.0.id, "connection {} does not read: dropping it", self.0.id);
            self.abort();
        }
    }
}
