//! Requests over connections that stay open: each waits for its answer before the next.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context as _, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// Connections at a time.
const CONNECTIONS: usize = 16;

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    Health,
    Status,
    SendMessage,
}

impl Route {
    pub(crate) const ALL: [Self; 3] = [Self::Health, Self::Status, Self::SendMessage];

    /// Its name.
    pub(crate) const fn path(self) -> &'static str {
        match self {
            Self::Health => "GET /api/health",
            Self::Status => "GET /api/status",
            Self::SendMessage => "POST /api/send-message",
        }
    }
}

/// A route of a server.
pub(crate) struct Call {
    address: String,
    /// One for each token; they are used in turns.
    requests: Arc<Vec<String>>,
    /// What the answer says when all is well.
    expected: &'static str,
}

impl Call {
    /// A route of the server at an address, of a device, with these tokens.
    pub(crate) fn new(address: &str, route: Route, device: &str, tokens: &[String]) -> Self {
        let of_token = |token: &String| match route {
            Route::Health => format!("GET /api/health HTTP/1.1\r\nHost: {address}\r\n\r\n"),
            Route::Status => format!(
                "GET /api/status?instancia_id={device} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\n\r\n"
            ),
            Route::SendMessage => {
                let body = format!(
                    r#"{{"number":"525550000099","message":"Su pedido está listo","fromNumber":"{device}"}}"#
                );
                format!(
                    "POST /api/send-message HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\n\
                     Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
                    body.len()
                )
            }
        };
        let expected = match route {
            Route::Health => r#""db":true"#,
            Route::Status => r#""state":"CONNECTED""#,
            Route::SendMessage => r#""queue_id":"#,
        };
        Self {
            address: address.to_owned(),
            requests: Arc::new(tokens.iter().map(of_token).collect()),
            expected,
        }
    }

    /// Asks so often.
    ///
    /// # Errors
    /// An answer is not as expected: what was measured would be something else.
    pub(crate) async fn run(&self, requests: u32) -> anyhow::Result<()> {
        let next = Arc::new(AtomicU32::new(0));
        let mut tasks = JoinSet::new();
        for _ in 0..CONNECTIONS {
            let (address, texts, next) =
                (self.address.clone(), Arc::clone(&self.requests), Arc::clone(&next));
            let expected = self.expected;
            tasks.spawn(async move {
                let mut stream = TcpStream::connect(address).await?;
                stream.set_nodelay(true)?;
                let mut buffer = Vec::new();
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= requests {
                        return anyhow::Ok(());
                    }
                    let text = texts.get(number as usize % texts.len()).context("no token")?;
                    stream.write_all(text.as_bytes()).await?;
                    let answer = answer(&mut stream, &mut buffer).await?;
                    let good = answer.starts_with("HTTP/1.1 200 ") && answer.contains(expected);
                    ensure!(good, "a server answered {answer}");
                }
            });
        }
        while let Some(done) = tasks.join_next().await {
            done??;
        }
        Ok(())
    }
}

/// One answer, headers and body.
async fn answer(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> anyhow::Result<String> {
    buffer.clear();
    loop {
        ensure!(stream.read_buf(buffer).await? > 0, "a server closed its connection");
        let Some(end) = buffer.windows(4).position(|bytes| bytes == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(buffer.get(..end).unwrap_or_default()).to_lowercase();
        let length =
            head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse::<usize>().ok());
        let whole = end + 4 + length.context("an answer without a length")?;
        while buffer.len() < whole {
            ensure!(stream.read_buf(buffer).await? > 0, "a server closed its connection");
        }
        return Ok(String::from_utf8_lossy(buffer).into_owned());
    }
}
