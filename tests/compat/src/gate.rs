//! The way to WhatsApp, which can be closed: then it refuses, or lets callers wait.

use std::net::SocketAddr;

use anyhow::Context as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What becomes of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// It is closed at once.
    Refused,
    /// It stays open, and nothing is answered.
    Held,
    /// It goes through.
    Open,
}

/// The gate.
pub(crate) struct Gate {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    way: watch::Sender<Way>,
    cuts: watch::Sender<u64>,
    callers: watch::Receiver<u64>,
}

impl Gate {
    /// A gate before an address.
    ///
    /// # Errors
    /// It cannot listen.
    pub(crate) async fn before(target: SocketAddr, way: Way) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.context("the gate cannot listen")?;
        let address = listener.local_addr()?;
        let (way, ways) = watch::channel(way);
        let (cuts, cut) = watch::channel(0);
        let (counter, callers) = watch::channel(0);
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                counter.send_modify(|callers| *callers += 1);
                tokio::spawn(pass(near, target, ways.clone(), cut.clone()));
            }
        });
        Ok(Self { address, way, cuts, callers })
    }

    /// What becomes of connections from now on, and of those that are held.
    pub(crate) fn set(&self, way: Way) {
        self.way.send_replace(way);
    }

    /// Ends every connection that went through, without a goodbye.
    pub(crate) fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// Waits for the next connection.
    ///
    /// # Errors
    /// The gate is gone.
    pub(crate) async fn next_caller(&self) -> anyhow::Result<()> {
        let mut callers = self.callers.clone();
        callers.mark_unchanged();
        callers.changed().await.context("the gate is gone")
    }
}

async fn pass(
    mut near: TcpStream,
    target: SocketAddr,
    mut ways: watch::Receiver<Way>,
    mut cut: watch::Receiver<u64>,
) {
    cut.mark_unchanged();
    let decided = tokio::select! {
        way = ways.wait_for(|way| *way != Way::Held) => way.map(|way| *way),
        _ = cut.changed() => return,
    };
    if !matches!(decided, Ok(Way::Open)) {
        return;
    }
    let Ok(mut far) = TcpStream::connect(target).await else { return };
    tokio::select! {
        _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
        _ = cut.changed() => {}
    }
}
