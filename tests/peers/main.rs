//! The simulator against clients that others wrote, the published Baileys and whatsmeow, both unmodified. A
//! simulator that only agrees with our own engine would prove little.
//!
//! * [`client`]: getting the clients, * [`peer`]: one that runs, * [`world`]: a simulator, and clients on it, the
//!   others: what is proven, for each client and for chats by phone number and by LID.
//!
//! Node and Go get the clients; without them the tests say that they were skipped.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod client;
#[path = "../socketio/npm.rs"]
mod npm;
mod peer;
#[path = "../skipped.rs"]
mod skipped;
mod world;

mod connection;
mod conversation;
mod linking;
mod together;

/// Each test for each client and for both kinds of addresses.
macro_rules! for_each_client {
    ($($test:ident),+ $(,)?) => {
        for_each_client!(@ baileys_by_number Baileys Number $($test)+);
        for_each_client!(@ baileys_by_lid Baileys Lid $($test)+);
        for_each_client!(@ whatsmeow_by_number Whatsmeow Number $($test)+);
        for_each_client!(@ whatsmeow_by_lid Whatsmeow Lid $($test)+);
    };
    (@ $name:ident $client:ident $addresses:ident $($test:ident)+) => {
        mod $name {
            $(
                #[tokio::test]
                async fn $test() {
                    use $crate::client::Client;
                    use $crate::world::{Addresses, World};
                    if let Some(world) = World::new(&[Client::$client], Addresses::$addresses).await {
                        super::$test(Client::$client, &world).await;
                    }
                }
            )+
        }
    };
}
use for_each_client;

/// Each test with both clients, for both kinds of addresses.
macro_rules! for_both_addresses {
    ($($test:ident),+ $(,)?) => {
        for_both_addresses!(@ by_number Number $($test)+);
        for_both_addresses!(@ by_lid Lid $($test)+);
    };
    (@ $name:ident $addresses:ident $($test:ident)+) => {
        mod $name {
            $(
                #[tokio::test]
                async fn $test() {
                    use $crate::client::Client;
                    use $crate::world::{Addresses, World};
                    let both = [Client::Baileys, Client::Whatsmeow];
                    if let Some(world) = World::new(&both, Addresses::$addresses).await {
                        super::$test(&world).await;
                    }
                }
            )+
        }
    };
}
use for_both_addresses;
