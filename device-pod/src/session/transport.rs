//! The WebSocket to WhatsApp: the engine's own, with `TCP_NODELAY`. The engine itself asks whether the other side is still there.
//!
//! Without `TCP_NODELAY` the small writes of one message wait for each other's acknowledgement: a text takes 44 ms instead of 1 ms.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use http::{HeaderValue, Uri, header};
use tokio::net::TcpStream;
use tokio_websockets::{ClientBuilder, Connector};
use whatsapp_rust::anyhow::{self, Context as _, anyhow};
use whatsapp_rust::async_channel::Receiver;
use whatsapp_rust::transport::{
    Transport, TransportEvent, TransportFactory, default_tls_connector, from_websocket,
};
use whatsapp_rust::wacore::net::WHATSAPP_WEB_ORIGIN;

/// How long opening the socket may take, TLS and upgrade included.
const OPEN_TIMEOUT: Duration = Duration::from_secs(20);

/// Opens sockets, remembers how the last attempt went, and can cut the last socket for good.
#[derive(Clone)]
pub(super) struct Dialer {
    url: Arc<str>,
    line: Arc<Mutex<Line>>,
}

/// What a dialer holds.
struct Line {
    last: Dialing,
    open: Option<Arc<dyn Transport>>,
    cut: bool,
}

/// How the last attempt to open a socket went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Dialing {
    /// None was made.
    Idle,
    /// The socket did not open.
    Failed(String),
    /// The socket is or was open.
    Opened,
}

impl Dialer {
    pub(super) fn new(url: &str) -> Self {
        let line = Line { last: Dialing::Idle, open: None, cut: false };
        Self { url: url.into(), line: Arc::new(Mutex::new(line)) }
    }

    /// How the last attempt went; asking forgets it.
    pub(super) fn take(&self) -> Dialing {
        std::mem::replace(&mut self.line().last, Dialing::Idle)
    }

    /// Closes the socket that is open and opens no other: whatever still runs of the client has no way to WhatsApp any more.
    pub(super) fn cut(&self) {
        let open = {
            let mut line = self.line();
            line.cut = true;
            line.open.take()
        };
        // Without a runtime the process ends, and the socket with it.
        if let (Some(open), Ok(runtime)) = (open, tokio::runtime::Handle::try_current()) {
            runtime.spawn(async move { open.disconnect().await });
        }
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a socket that was opened, unless the line was cut meanwhile.
    fn keep(&self, transport: &Arc<dyn Transport>) -> bool {
        let mut line = self.line();
        if !line.cut {
            line.last = Dialing::Opened;
            line.open = Some(Arc::clone(transport));
        }
        !line.cut
    }

    async fn open(&self) -> anyhow::Result<(Arc<dyn Transport>, Receiver<TransportEvent>)> {
        let uri: Uri = self.url.parse().context("the URL of WhatsApp cannot be read")?;
        let secure = uri.scheme_str() == Some("wss");
        let host = uri.host().ok_or_else(|| anyhow!("the URL of WhatsApp has no host"))?;
        let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let tcp = connect(host.trim_matches(['[', ']']), port).await?;
        let connector = if secure { default_tls_connector() } else { Connector::Plain };
        let stream = connector.wrap(host, tcp).await?;
        let builder = ClientBuilder::from_uri(uri)
            .add_header(header::ORIGIN, HeaderValue::from_static(WHATSAPP_WEB_ORIGIN))?;
        let (socket, _) = builder.connect_on(stream).await?;
        Ok(from_websocket(socket))
    }
}

async fn connect(host: &str, port: u16) -> io::Result<TcpStream> {
    let tcp = TcpStream::connect((host, port)).await?;
    tcp.set_nodelay(true)?;
    Ok(tcp)
}

#[async_trait]
impl TransportFactory for Dialer {
    async fn create_transport(&self) -> anyhow::Result<(Arc<dyn Transport>, Receiver<TransportEvent>)> {
        if self.line().cut {
            return Err(anyhow!("this client has ended"));
        }
        let opened = match tokio::time::timeout(OPEN_TIMEOUT, self.open()).await {
            Ok(opened) => opened,
            Err(_) => Err(anyhow!("no answer within {} s", OPEN_TIMEOUT.as_secs())),
        };
        match opened {
            Ok((transport, events)) if self.keep(&transport) => Ok((transport, events)),
            Ok((transport, _)) => {
                transport.disconnect().await;
                Err(anyhow!("this client has ended"))
            }
            Err(error) => {
                self.line().last = Dialing::Failed(format!("{error:#}"));
                Err(error)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn small_writes_do_not_wait_for_each_other() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let tcp = connect("127.0.0.1", listener.local_addr().unwrap().port()).await.unwrap();
        assert!(tcp.nodelay().unwrap());
    }
}
