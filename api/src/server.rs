//! The listener: HTTP/1.1, bounded in connections and in the time that each part may take.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

use crate::http::App;

/// Connections at a time; more wait in the listener's queue.
const MAX_CONNECTIONS: usize = 4096;
/// How long a caller may take for its headers: one that never ends them must not keep its connection.
const HEADERS: Duration = Duration::from_secs(15);
/// How long requests have to end when the server stops: a program has ten seconds for that and its database.
const STOP: Duration = Duration::from_secs(8);
/// After an error of the listener itself (no file descriptors are left): at once it would fail again.
const PAUSE: Duration = Duration::from_millis(200);

/// Serves the API until `shutdown` is done; then no request is taken, event streams end, and the rest has eight seconds.
pub async fn serve(listener: TcpListener, app: App, shutdown: impl Future<Output = ()>) {
    let router = app.router();
    if let Ok(address) = listener.local_addr() {
        tokio::spawn(crate::seed::log::run(app.clone(), address.port()));
    }
    let connections = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let (open, stop) = (TaskTracker::new(), CancellationToken::new());
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &connections) => accepted,
            () = &mut shutdown => break,
        };
        match accepted {
            Ok((stream, peer, permit)) => {
                // A live connection becomes a WebSocket.
                let connection = connection(stream, peer, router.clone()).with_upgrades();
                let stop = stop.clone();
                open.spawn(async move {
                    let _permit = permit;
                    let mut connection = std::pin::pin!(connection);
                    let ended = tokio::select! {
                        ended = &mut connection => ended,
                        () = stop.cancelled() => {
                            connection.as_mut().graceful_shutdown();
                            connection.await
                        }
                    };
                    if let Err(error) = ended {
                        // Callers go away; that is their affair.
                        tracing::debug!(%peer, error = &error as &dyn std::error::Error, "a connection ended early");
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
    drop(listener);
    app.begin_stop();
    stop.cancel();
    open.close();
    if tokio::time::timeout(STOP, open.wait()).await.is_err() {
        tracing::warn!(timeout_s = STOP.as_secs(), "some requests took too long and were cut off");
    }
}

async fn accept(
    listener: &TcpListener,
    connections: &Arc<Semaphore>,
) -> io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let permit = Arc::clone(connections).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, peer) = listener.accept().await?;
    // Answers and events are small and must not wait for each other.
    stream.set_nodelay(true)?;
    Ok((stream, peer, permit))
}

fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
) -> http1::Connection<
    TokioIo<TcpStream>,
    impl hyper::service::HttpService<Incoming, ResBody = Body, Error: Send + Sync, Future: Send>,
> {
    let service = router.map_request(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(peer));
        request.map(Body::new)
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service))
}
