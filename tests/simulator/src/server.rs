//! Starting and stopping a simulator.

use std::future::IntoFuture as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::connection::handle::Socket;
use crate::control::client::Control;
use crate::control::router;
use crate::noise::ServerKeys;
use crate::options::Options;
use crate::state::Sim;

/// How long open requests may take to finish at the end.
const STOP_LIMIT: Duration = Duration::from_secs(2);

/// Why a simulator did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address is taken or not this machine's.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// The keys cannot be read, written or made.
    #[error("no server keys{}", path.as_ref().map(|path| format!(" from {}", path.display())).unwrap_or_default())]
    Keys {
        /// The key file.
        path: Option<PathBuf>,
        /// What is wrong with it.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// A running simulator. It stops when this is dropped, or with [`Self::stop`].
#[derive(Debug)]
pub struct Simulator {
    address: SocketAddr,
    control: Control,
    stopping: tokio_util::sync::CancellationToken,
    server: JoinHandle<()>,
}

impl Simulator {
    /// Binds the address and serves in the background.
    ///
    /// # Errors
    /// The address cannot be bound, or the key file cannot be used.
    pub async fn start(options: Options) -> Result<Self, StartError> {
        let listen = options.listen;
        let failed = |source| StartError::Listen { address: listen, source };
        let listener = TcpListener::bind(listen).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let keys = ServerKeys::load_or_generate(options.keys.as_deref())
            .map_err(|error| StartError::Keys { path: options.keys.clone(), source: error.into() })?;
        let public = match &options.public {
            Some(public) => Some(public.clone()),
            None if address.ip().is_unspecified() => None,
            None => Some(address.to_string()),
        };
        let sim = Arc::new(Sim::new(options, public, keys));
        let stopping = sim.stopping.clone();
        let service = router(sim).into_make_service_with_connect_info::<Socket>();
        let serving =
            axum::serve(listener, service).with_graceful_shutdown(stopping.clone().cancelled_owned());
        let server = tokio::spawn(async move {
            if let Err(error) = serving.into_future().await {
                tracing::error!(%error, "the simulator ended: {error}");
            }
        });
        let mut reachable = address;
        if reachable.ip().is_unspecified() {
            reachable.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
        }
        Ok(Self { address, control: Control::new(format!("http://{reachable}")), stopping, server })
    }

    /// The address it listens on.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `ws://…/ws/chat`, for clients.
    #[must_use]
    pub fn websocket_url(&self) -> String {
        format!("ws://{}/ws/chat", self.address)
    }

    /// A client of its controls.
    #[must_use]
    pub fn control(&self) -> Control {
        self.control.clone()
    }

    /// Drops all connections and stops listening; returns when the port is free.
    pub async fn stop(mut self) {
        self.stopping.cancel();
        if tokio::time::timeout(STOP_LIMIT, &mut self.server).await.is_err() {
            self.server.abort();
            // Aborting is all that is left.
            let _ = (&mut self.server).await;
        }
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.stopping.cancel();
    }
}
