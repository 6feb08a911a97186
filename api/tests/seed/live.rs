//! Who hears live events, over the polling that needs no program beside. `tests/socketio` hears them with the real client.

use axum::body::Body;
use http::{Request, StatusCode, header};
use serde_json::{Value, json};

use crate::fixture::{Answer, Api, answer};
use crate::person::{Person, text};

/// A page that is nobody's.
const ELSEWHERE: &str = "https://elsewhere.example";

/// A connection of Engine.IO.
struct Connection<'a> {
    api: &'a Api,
    id: String,
    /// Packets that have arrived and were not looked at.
    arrived: Vec<String>,
}

impl<'a> Connection<'a> {
    async fn open(api: &'a Api) -> Self {
        let mut connection = Self { api, id: String::new(), arrived: Vec::new() };
        let opened = connection.ask("GET", String::new()).await;
        let handshake: Value = serde_json::from_str(opened.text.strip_prefix('0').unwrap()).unwrap();
        connection.id = text(&handshake["sid"]);
        connection
    }

    /// Asks to hear, with this in `auth`.
    async fn join(api: &'a Api, auth: &Value) -> Self {
        let mut connection = Self::open(api).await;
        connection.ask("POST", format!("40{auth}")).await;
        connection
    }

    async fn ask(&mut self, method: &str, packet: String) -> Answer {
        let id = if self.id.is_empty() { String::new() } else { format!("&sid={}", self.id) };
        let request = Request::builder()
            .method(method)
            .uri(format!("/socket.io/?EIO=4&transport=polling{id}"))
            .header(header::ORIGIN, ELSEWHERE);
        let answer = answer(self.api.send(request.body(Body::from(packet)).unwrap()).await).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
        assert!(!answer.headers.contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN), "every page is let in");
        answer
    }

    /// The next packet.
    async fn next(&mut self) -> String {
        while self.arrived.is_empty() {
            let answer = self.ask("GET", String::new()).await;
            self.arrived.extend(answer.text.split('\u{1e}').map(str::to_owned));
        }
        self.arrived.remove(0)
    }

    /// The next event, but for the one of the server's start.
    async fn event(&mut self) -> Value {
        loop {
            let packet = self.next().await;
            let Some(event) = packet.strip_prefix("42") else { continue };
            let event: Value = serde_json::from_str(event).unwrap();
            if event[1]["action"] != "global_init" {
                return event;
            }
        }
    }
}

/// Takes down whatever a connection is sent, but for what asks whether it is still there.
async fn overhear(mut connection: Connection<'_>, heard: &mut Vec<String>) {
    loop {
        let packet = connection.next().await;
        if packet != "2" {
            heard.push(packet);
        }
    }
}

/// Defect 5: codes and numbers of all users went to everybody who connected, from any page.
#[tokio::test]
async fn nobody_hears_without_a_token_and_each_user_of_own_devices_alone() {
    let api = Api::start(&[]).await;
    let ana = Person::register(&api, "525550000001").await;
    let beto = Person::register(&api, "525550000002").await;
    let (of_ana, of_beto) = (ana.add(json!({})).await, beto.add(json!({})).await);
    let silent = Connection::open(&api).await;
    let anonymous = Connection::join(&api, &json!({})).await;
    let guesser = Connection::join(&api, &json!({ "token": "0".repeat(64) })).await;
    let mut hears_ana = Connection::join(&api, &json!({ "token": ana.token })).await;
    let mut hears_beto = Connection::join(&api, &json!({ "token": beto.token })).await;
    let told = async {
        ana.device(&of_ana).await.shows_code();
        let code = hears_ana.event().await;
        assert_eq!((&code[0], &code[1]["instancia_id"]), (&json!("deviceStatusChanged"), &json!(of_ana)));
        assert!(text(&code[1]["qr"]).starts_with("data:image/png;base64,"), "{code}");
        ana.linked(&of_ana, "525550000009").await;
        assert_eq!(hears_ana.event().await[1]["numero"], "525550000009");
        // What Beto hears first is his own, although Ana's came before it.
        beto.device(&of_beto).await.shows_code();
        assert_eq!(hears_beto.event().await[1]["instancia_id"], of_beto);
    };
    let [mut without, mut with_none, mut with_wrong] = [const { Vec::new() }; 3];
    tokio::select! {
        () = told => {}
        () = overhear(silent, &mut without) => {}
        () = overhear(anonymous, &mut with_none) => {}
        () = overhear(guesser, &mut with_wrong) => {}
    }
    assert_eq!(without, Vec::<String>::new());
    let refused = |why: &str| [format!("44{}", json!({ "message": why }))];
    assert_eq!(with_none, refused("No autorizado"));
    assert_eq!(with_wrong, refused("Token inválido o expirado"));
}
