//! A simulator, and clients on it.

use tempfile::TempDir;
use whatsapp_simulator::{Linked, Options, PhoneControl, ServerControl, Simulator, overlaps};

use crate::client::Client;
use crate::peer::Peer;

/// The number of the client under test.
pub(crate) const OWN: &str = "525550000001";
/// The number of somebody else: a phone, in some tests with a client.
pub(crate) const OTHER: &str = "525550000002";
/// A number that nobody has.
pub(crate) const NOBODY: &str = "525550000009";

/// How chats are addressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Addresses {
    Number,
    Lid,
}

/// What there is in a test.
pub(crate) struct World {
    simulator: Simulator,
    addresses: Addresses,
    directory: TempDir,
}

impl World {
    /// A simulator where these clients can be got; else it is said that a test is skipped.
    pub(crate) async fn new(clients: &[Client], addresses: Addresses) -> Option<Self> {
        for client in clients {
            client.command().await?;
        }
        let options = Options { lid: addresses == Addresses::Lid, ..Options::default() };
        let world = Self {
            simulator: Simulator::start(options).await.unwrap(),
            addresses,
            // In memory, where there is such a folder: Baileys keeps each of its 812 pre-keys in its own file.
            directory: tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap(),
        };
        for number in [OWN, OTHER] {
            world.phone(number).set_registered(true).await.unwrap();
        }
        Some(world)
    }

    pub(crate) fn phone(&self, number: &str) -> PhoneControl {
        self.simulator.control().phone(number)
    }

    pub(crate) fn server(&self) -> ServerControl {
        self.simulator.control().server()
    }

    /// A client with the session of that name, which may be new.
    pub(crate) async fn start(&self, client: Client, session: &str) -> Peer {
        let root_key = self.server().root_key().await.unwrap();
        self.start_with_root(client, session, &root_key).await
    }

    /// The same, with a root key of one's own.
    pub(crate) async fn start_with_root(&self, client: Client, session: &str, root_key: &str) -> Peer {
        let folder = self.directory.path().join(session);
        std::fs::create_dir_all(&folder).unwrap();
        let mut command = client.command().await.expect("it was there");
        command.arg(self.simulator.websocket_url()).arg(root_key).arg(&folder);
        Peer::start(command, self.directory.path().join(format!("{session}.complaints")))
    }

    /// A new client that the phone of a number has linked.
    pub(crate) async fn linked(&self, client: Client, session: &str, number: &str) -> (Peer, Linked) {
        let mut peer = self.start(client, session).await;
        let linked = peer.link(&self.phone(number)).await;
        (peer, linked)
    }

    /// The address of the chat with a number.
    pub(crate) async fn chat_with(&self, number: &str) -> String {
        let [by_number, by_lid] = self.jids(number).await;
        if self.addresses == Addresses::Lid { by_lid } else { by_number }
    }

    /// By its number and by its LID: a client has the choice, and whatsmeow takes the LID when it knows it.
    pub(crate) async fn jids(&self, number: &str) -> [String; 2] {
        let state = self.server().state().await.unwrap();
        let account = state.accounts.iter().find(|account| account.phone == number).expect("an account");
        [format!("{number}@s.whatsapp.net"), format!("{}@lid", account.lid)]
    }

    /// How often a message of a number was sent, and how often again to somebody who could not read it.
    pub(crate) async fn times_sent(&self, number: &str, id: &str) -> (u32, u32) {
        let wire = self.server().wire_messages(number).await.unwrap();
        let message = wire.iter().find(|message| message.id == id).expect("the message");
        (message.count, message.resends)
    }

    /// The logins of a number. None of them was beside another.
    pub(crate) async fn logins(&self, number: &str) -> usize {
        let logins = self.server().logins().await.unwrap();
        assert!(overlaps(&logins).is_empty(), "two live sockets of one identity: {:#?}", overlaps(&logins));
        logins.iter().filter(|login| login.phone == number).count()
    }
}
