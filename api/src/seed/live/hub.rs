//! The users who are connected: while there is a connection of one, there is one feed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use socketioxide::SocketIo;
use tokio_util::sync::CancellationToken;

use super::feed;
use crate::http::App;

/// Connections of one user: browsers and programs of an office.
const MAX_OF_USER: usize = 64;

/// The users who are connected. A clone is the same.
#[derive(Clone)]
pub(super) struct Hub(Arc<Inner>);

struct Inner {
    app: App,
    io: SocketIo,
    users: Mutex<HashMap<String, Connected>>,
}

struct Connected {
    connections: usize,
    feed: CancellationToken,
}

/// A connection's part in its user's feed; the last one ends it.
pub(super) struct Presence {
    hub: Hub,
    user: String,
}

impl Hub {
    pub(super) fn new(app: App, io: SocketIo) -> Self {
        Self(Arc::new(Inner { app, io, users: Mutex::default() }))
    }

    /// One more connection of a user; none when it has too many.
    pub(super) fn arrive(&self, user: &str) -> Option<Presence> {
        let mut users = self.0.users.lock().unwrap_or_else(PoisonError::into_inner);
        let connected = users.entry(user.to_owned()).or_insert_with(|| {
            let feed = CancellationToken::new();
            let run = feed::run(self.0.app.clone(), self.0.io.clone(), user.to_owned());
            tokio::spawn(feed.clone().run_until_cancelled_owned(run));
            Connected { connections: 0, feed }
        });
        if connected.connections >= MAX_OF_USER {
            return None;
        }
        connected.connections += 1;
        metrics::gauge!("enlace_api_live_connections").increment(1);
        Some(Presence { hub: self.clone(), user: user.to_owned() })
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        metrics::gauge!("enlace_api_live_connections").decrement(1);
        let mut users = self.hub.0.users.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(connected) = users.get_mut(&self.user) {
            connected.connections -= 1;
            if connected.connections == 0 {
                connected.feed.cancel();
                users.remove(&self.user);
            }
        }
    }
}
