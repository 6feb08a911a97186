//! What happens to the connection of a linked client.

use serde_json::json;

use crate::client::Client;
use crate::for_each_client;
use crate::peer::PATIENCE;
use crate::world::{OTHER, OWN, World};

for_each_client!(
    what_came_while_it_was_away_waits_in_its_order,
    a_dropped_connection_is_made_anew_also_with_a_new_server_key,
    one_that_was_replaced_learns_it_and_may_come_back,
    one_that_was_unlinked_is_logged_out_at_once_or_when_it_comes_back,
);

async fn what_came_while_it_was_away_waits_in_its_order(client: Client, world: &World) {
    let (mut peer, linked) = world.linked(client, "own", OWN).await;
    let phone = world.phone(OTHER);
    // Of two, only the first begins a session.
    let before = phone.send_text(OWN, "uno").await.unwrap();
    peer.message(&before).await;
    peer.end().await;
    let mut ids = Vec::new();
    for text in ["dos", "tres", "cuatro"] {
        ids.push(phone.send_text(OWN, text).await.unwrap());
    }
    let mut peer = world.start(client, "own").await;
    peer.connect().await;
    peer.is_open(&linked).await;
    let last = ids[2].clone();
    for (id, text) in ids.into_iter().zip(["dos", "tres", "cuatro"]) {
        let message = peer.next_message().await;
        assert_eq!((message.id, message.text.as_deref()), (id, Some(text)));
    }
    phone.wait_for_receipt(|receipt| receipt.message_id == last, PATIENCE).await.unwrap();
}

async fn a_dropped_connection_is_made_anew_also_with_a_new_server_key(client: Client, world: &World) {
    let (mut peer, linked) = world.linked(client, "own", OWN).await;
    for rotate in [false, true] {
        if rotate {
            world.server().rotate_static_key().await.unwrap();
        }
        world.server().drop_connection(OWN, linked.device).await.unwrap();
        assert_eq!(peer.closed().await.0, "lost");
        peer.is_open(&linked).await;
        let id = world.phone(OTHER).send_text(OWN, "otra vez").await.unwrap();
        peer.message(&id).await;
    }
    assert_eq!(world.logins(OWN).await, 3);
}

async fn one_that_was_replaced_learns_it_and_may_come_back(client: Client, world: &World) {
    let (mut peer, linked) = world.linked(client, "own", OWN).await;
    world.server().replace(OWN, linked.device).await.unwrap();
    assert_eq!(peer.closed().await.0, "replaced");
    peer.disconnect().await;
    assert_eq!(world.logins(OWN).await, 1, "nobody told it to come back");
    peer.connect().await;
    peer.is_open(&linked).await;
}

async fn one_that_was_unlinked_is_logged_out_at_once_or_when_it_comes_back(client: Client, world: &World) {
    let logged_out = ("logged out".to_owned(), json!(401));
    let (mut peer, linked) = world.linked(client, "first", OWN).await;
    world.phone(OWN).unlink(linked.device).await.unwrap();
    assert_eq!(peer.closed().await, logged_out);

    let (mut peer, linked) = world.linked(client, "second", OWN).await;
    peer.disconnect().await;
    world.phone(OWN).unlink(linked.device).await.unwrap();
    peer.connect().await;
    assert_eq!(peer.closed().await, logged_out);
    assert_eq!(world.logins(OWN).await, 3);
}
