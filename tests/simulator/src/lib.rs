//! A WhatsApp server on loopback for tests and demonstrations.
//!
//! One [`Simulator`] speaks the server side of the WhatsApp Web protocol (Noise over WebSocket, binary XML)
//! and plays the phones of all numbers. Tests start it in their own process with [`Simulator::start`];
//! demonstrations and clusters run the program `whatsapp-simulator`. Both are driven by the typed
//! [`Control`] client, which speaks the HTTP control routes.
//!
//! The modules, in reading order:
//!
//! | module | holds |
//! |---|---|
//! | [`options`], [`server`] | what can be set; starting and stopping |
//! | `noise`, `connection`, `node` | the handshake; one WebSocket, its reader and its writer; reading and printing stanzas |
//! | `login`, [`login_log`] | who is let in; the record of it, the oracle for "never two live sockets of one identity" |
//! | `pairing`, `refs`, `link_code` | linking a companion by QR code and by pairing code |
//! | `state`, `delivery` | accounts, devices, groups; the queue of each device |
//! | `stanza` | what the server does with each stanza of a companion |
//! | `phone` | the primary devices: Signal identity, signatures, inbox, sending |
//! | `media_store`, [`wire`] | uploaded blobs; the record of message ids on the wire |
//! | [`control`] | the HTTP routes that play the people holding the phones, and their typed client |
//!
//! Locks: plain `std::sync::Mutex`, never held across an await. A phone's lock is taken before the state's,
//! never after it, and nobody holds two phones' locks.

mod connection;
pub mod control;
mod delivery;
mod link_code;
mod login;
pub mod login_log;
mod media_store;
mod node;
mod noise;
mod number;
pub mod options;
mod pairing;
mod phone;
mod refs;
pub mod server;
mod stanza;
mod state;
pub mod wire;

pub use control::client::{Control, ControlError, PhoneControl, ServerControl};
pub use control::types::{
    AccountState, DeviceState, Linked, LoginFailure, MediaKind, NewMedia, PhoneMessage, PhoneReceipt,
    ServerState,
};
pub use login_log::{LoginEnd, LoginOutcome, LoginRecord, overlaps, overlaps_by_number};
pub use options::Options;
pub use server::{Simulator, StartError};
pub use wire::WireMessage;
