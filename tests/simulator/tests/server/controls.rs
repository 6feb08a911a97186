//! The controls: what they answer, and what they do to a connection.

use std::time::Duration;

use wacore_binary::builder::NodeBuilder as B;
use whatsapp_simulator::{Control, ControlError, Options, Simulator};

use crate::companion::Companion;

const OWN: &str = "5255500000001";
const OTHER: &str = "5255500000002";

#[tokio::test]
async fn clients_are_given_the_bound_address_for_media() {
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let companion = Companion::link(&simulator, OWN).await;
    let mut connection = companion.login(&simulator).await;
    let child = B::new("media_conn").build();
    let request =
        B::new("iq").attr("id", "m").attr("type", "set").attr("xmlns", "w:m").children([child]).build();
    connection.send(request).await;
    let answer = connection.next().await.unwrap();
    let host = answer.get_optional_child_by_tag(&["media_conn", "host"]).unwrap();
    assert_eq!(host.attrs.get("hostname").unwrap().to_string(), simulator.address().to_string());
}

#[tokio::test]
async fn a_silenced_connection_answers_nothing_and_the_rest_of_the_server_goes_on() {
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let companion = Companion::link(&simulator, OWN).await;
    let server = simulator.control().server();
    let mut connection = companion.login(&simulator).await;
    server.silence(OWN, 1).await.unwrap();
    connection.ping("lost").await;
    // The black hole ends with the connection: the next one answers.
    connection.reset();
    let mut connection = companion.login(&simulator).await;
    connection.ping("heard").await;
    assert_eq!(connection.next().await.unwrap().attrs.get("id").unwrap().to_string(), "heard");
}

#[tokio::test]
async fn a_client_that_says_goodbye_hears_one() {
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let companion = Companion::link(&simulator, OWN).await;
    let mut connection = companion.login(&simulator).await;
    connection.say_goodbye().await;
    assert!(connection.is_answered().await);
}

#[tokio::test]
async fn refused_and_held_messages_are_answered_as_told() {
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let companion = Companion::link(&simulator, OWN).await;
    let server = simulator.control().server();
    let mut connection = companion.login(&simulator).await;
    let message = |id: &str| {
        let to = format!("{OTHER}@s.whatsapp.net");
        B::new("message").attr("to", to).attr("id", id).attr("type", "text").build()
    };
    server.refuse_messages(OWN, 463, 1).await.unwrap();
    connection.send(message("A")).await;
    let nack = connection.next().await.unwrap();
    assert_eq!((nack.tag.as_ref(), nack.attrs.get("error").unwrap().to_string().as_str()), ("ack", "463"));

    server.hold_acks(true).await.unwrap();
    connection.send(message("B")).await;
    connection.ping("between").await;
    assert_eq!(connection.next().await.unwrap().attrs.get("id").unwrap().to_string(), "between");
    server.hold_acks(false).await.unwrap();
    let ack = connection.next().await.unwrap();
    assert_eq!((ack.attrs.get("id").unwrap().to_string().as_str(), ack.attrs.get("error")), ("B", None));

    let wire = server.wire_messages(OWN).await.unwrap();
    let seen: Vec<_> =
        wire.iter().map(|message| (message.id.as_str(), message.count, message.refused)).collect();
    assert_eq!(seen, [("A", 1, true), ("B", 1, false)]);
}

#[tokio::test]
async fn the_state_names_devices_and_errors_are_words() {
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let companion = Companion::link(&simulator, OWN).await;
    let control = Control::new(format!("http://{}/", simulator.address()));
    let offline = control.server().drop_connection(OWN, 1).await.unwrap_err();
    assert!(offline.to_string().ends_with("5255500000001:1 is not connected"), "{offline}");
    let unlinked = control.phone(OWN).send_text(OTHER, "hola").await.unwrap_err();
    assert!(unlinked.to_string().contains("5255500000002 has no account"), "{unlinked}");
    let _connection = companion.login(&simulator).await;
    let state = control.server().state().await.unwrap();
    let device = state.device(OWN, 1).unwrap();
    assert!(device.paired && device.online && !device.logged_out);
}

#[tokio::test]
async fn what_the_framework_refuses_is_said_in_the_same_shape() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let mut stream = tokio::net::TcpStream::connect(simulator.address()).await.unwrap();
    let request = "POST /scan HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
                   content-length: 1\r\nconnection: close\r\n\r\n{";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 400") && answer.contains("{\"error\":\"Failed to parse"),
        "{answer}"
    );
}

#[tokio::test]
async fn waiting_for_a_message_that_does_not_come_ends_and_says_what_there_is() {
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let phone = simulator.control().phone(OTHER);
    let error = phone.wait_for_text("hola", Duration::ZERO).await.unwrap_err();
    assert!(matches!(error, ControlError::Waited { .. }), "{error}");
}

#[tokio::test]
async fn a_stopped_simulator_ends_its_connections_and_frees_its_port() {
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let address = simulator.address();
    let companion = Companion::link(&simulator, OWN).await;
    let mut connection = companion.login(&simulator).await;
    simulator.stop().await;
    assert!(connection.next().await.is_none());
    let again = Simulator::start(Options { listen: address, ..Options::default() }).await.unwrap();
    assert_eq!(again.websocket_url(), format!("ws://{address}/ws/chat"));
}
