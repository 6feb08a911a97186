//! What can be set when a simulator starts.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// Settings of one simulator; the defaults suit a test.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where to listen. Default: a free port on 127.0.0.1.
    pub listen: SocketAddr,
    /// `HOST:PORT` that clients are given for media. Default: the bound address; when that is unspecified
    /// (`0.0.0.0`), the host the client itself connected to.
    pub public: Option<String>,
    /// Address chats by LID, as accounts that WhatsApp has migrated do. Default: by phone number.
    pub lid: bool,
    /// Give new accounts an app-state patch with their push name. Default: yes.
    pub push_name_sync: bool,
    /// How many QR refs a pairing companion gets. Default: 6, like the real server.
    pub refs: usize,
    /// The longest a QR ref is valid. The real server's first ref lives 60 s and each later one 20 s; a
    /// smaller value shortens both.
    pub ref_lifetime: Duration,
    /// File that keeps the root key and the Noise static key over restarts. Default: fresh keys.
    pub keys: Option<PathBuf>,
    /// Make an account, with a phone, for each number that a companion asks about. Default: yes. Numbers
    /// declared unregistered never get one.
    pub create_unknown: bool,
    /// Phones send a read receipt for each message they get. Default: no.
    pub auto_read: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            public: None,
            lid: false,
            push_name_sync: true,
            refs: 6,
            ref_lifetime: crate::refs::FIRST_LIFETIME,
            keys: None,
            create_unknown: true,
            auto_read: false,
        }
    }
}
