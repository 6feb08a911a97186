//! A client that runs: it is told what to do and says what happens, a line of JSON each.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use whatsapp_simulator::{Linked, PhoneControl};

/// Longer than anything here takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A client; it is killed when it is dropped.
pub(crate) struct Peer {
    child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
    /// What it said and nobody has asked for yet.
    heard: Vec<Value>,
    /// The file with what it wrote beside that.
    complaints: PathBuf,
}

/// A message that it read.
#[derive(Debug, Deserialize)]
pub(crate) struct Message {
    pub(crate) id: String,
    /// The JID of the other or of the group.
    pub(crate) chat: String,
    /// It is the copy of one that another companion of its number sent.
    pub(crate) own: bool,
    /// In a group: the JID of who wrote it.
    pub(crate) sender: Option<String>,
    /// The push name of who wrote it.
    pub(crate) name: Option<String>,
    pub(crate) text: Option<String>,
    /// The name of a document.
    pub(crate) file: Option<String>,
}

/// A group as it sees it.
#[derive(Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Group {
    pub(crate) id: String,
    pub(crate) subject: String,
    /// JIDs, sorted.
    pub(crate) members: Vec<String>,
}

impl Peer {
    pub(crate) fn start(mut command: Command, complaints: PathBuf) -> Self {
        let file = std::fs::File::create(&complaints).unwrap();
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(file).kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Self { child, input, output: BufReader::new(output).lines(), heard: Vec::new(), complaints }
    }

    /// Connects, has the phone scan its first code, and waits for the login that follows the restart.
    pub(crate) async fn link(&mut self, phone: &PhoneControl) -> Linked {
        self.connect().await;
        let qr = self.event("qr").await;
        let linked = phone.scan(qr["text"].as_str().unwrap()).await.unwrap();
        assert_eq!(self.closed().await.0, "restart");
        self.is_open(&linked).await;
        // What a phone does with a new companion. Baileys holds back all else until it has come.
        phone.send_history(2, 3).await.unwrap();
        assert_eq!(self.event("history").await["chats"], 2);
        linked
    }

    pub(crate) async fn connect(&mut self) {
        self.ask("connect", json!({})).await;
    }

    pub(crate) async fn disconnect(&mut self) {
        self.ask("disconnect", json!({})).await;
    }

    /// Waits for a login as that device.
    pub(crate) async fn is_open(&mut self, linked: &Linked) {
        let open = self.event("open").await;
        assert_eq!((&open["jid"], &open["lid"]), (&json!(linked.jid), &json!(linked.lid)));
    }

    /// Waits for the end of its connection: why, and with which code.
    pub(crate) async fn closed(&mut self) -> (String, Value) {
        let mut closed = self.event("closed").await;
        (closed["reason"].as_str().unwrap().to_owned(), closed["code"].take())
    }

    /// Sends a text to a JID; the id of the message.
    pub(crate) async fn send_text(&mut self, to: &str, text: &str) -> String {
        text_of(self.ask("send-text", json!({ "to": to, "text": text })).await)
    }

    /// Sends a document to a JID; the id of the message.
    pub(crate) async fn send_document(&mut self, to: &str, name: &str, bytes: &[u8]) -> String {
        let document = json!({ "to": to, "name": name, "bytes": BASE64_STANDARD.encode(bytes) });
        text_of(self.ask("send-document", document).await)
    }

    /// The file of a message that it read.
    pub(crate) async fn download(&mut self, id: &str) -> Vec<u8> {
        BASE64_STANDARD.decode(text_of(self.ask("download", json!({ "id": id })).await)).unwrap()
    }

    /// Reads a message, as far as its sender can tell.
    pub(crate) async fn read(&mut self, id: &str) {
        self.ask("read", json!({ "id": id })).await;
    }

    /// Whether a number is on WhatsApp.
    pub(crate) async fn knows(&mut self, number: &str) -> bool {
        self.ask("known", json!({ "number": number })).await.as_bool().unwrap()
    }

    pub(crate) async fn set_name(&mut self, name: &str) {
        self.ask("set-name", json!({ "name": name })).await;
    }

    /// Waits until the own push name is this one.
    pub(crate) async fn is_named(&mut self, name: &str) {
        self.take(name, |line| (line["event"] == "name" && line["name"] == name).then_some(())).await;
    }

    /// Makes a group with others; its JID.
    pub(crate) async fn create_group(&mut self, subject: &str, members: &[&str]) -> String {
        text_of(self.ask("create-group", json!({ "subject": subject, "members": members })).await)
    }

    pub(crate) async fn group(&mut self, id: &str) -> Group {
        serde_json::from_value(self.ask("group", json!({ "id": id })).await).unwrap()
    }

    pub(crate) async fn groups(&mut self) -> Vec<Group> {
        serde_json::from_value(self.ask("groups", json!({})).await).unwrap()
    }

    /// Waits for a message with this id.
    pub(crate) async fn message(&mut self, id: &str) -> Message {
        let wanted = |line: &Value| (line["event"] == "message" && line["id"] == id).then(|| line.clone());
        serde_json::from_value(self.take(&format!("message {id}"), wanted).await).unwrap()
    }

    /// Waits for the next message of others.
    pub(crate) async fn next_message(&mut self) -> Message {
        let wanted =
            |line: &Value| (line["event"] == "message" && line["own"] == false).then(|| line.clone());
        serde_json::from_value(self.take("message", wanted).await).unwrap()
    }

    /// Waits for a receipt of a message that it sent.
    pub(crate) async fn receipt(&mut self, id: &str, kind: &str) {
        let wanted = |line: &Value| line["event"] == "receipt" && line["id"] == id && line["kind"] == kind;
        self.take(&format!("receipt {id} {kind}"), |line| wanted(line).then_some(())).await;
    }

    /// Waits for the next event of a name.
    pub(crate) async fn event(&mut self, name: &str) -> Value {
        self.take(name, |line| (line["event"] == name).then(|| line.clone())).await
    }

    /// Whether it said something of this name that nobody has asked for yet.
    pub(crate) fn has_said(&self, name: &str) -> bool {
        self.heard.iter().any(|line| line["event"] == name)
    }

    /// Ends it as a program ends, with its session stored.
    pub(crate) async fn end(mut self) {
        self.disconnect().await;
        drop(self.input);
        let status =
            tokio::time::timeout(PATIENCE, self.child.wait()).await.expect("it does not end").unwrap();
        assert!(status.success(), "{status}");
    }

    /// The answer to a command.
    pub(crate) async fn ask(&mut self, command: &str, fields: Value) -> Value {
        self.try_to(command, fields).await.unwrap_or_else(|error| panic!("{command}: {error}"))
    }

    /// The same, or its error.
    pub(crate) async fn try_to(&mut self, command: &str, mut fields: Value) -> Result<Value, String> {
        fields["command"] = json!(command);
        self.input.write_all(format!("{fields}\n").as_bytes()).await.unwrap();
        let answered = |line: &Value| match (line.get("answer"), line.get("error")) {
            (Some(answer), _) => Some(Ok(answer.clone())),
            (None, Some(error)) => Some(Err(text_of(error.clone()))),
            (None, None) => None,
        };
        self.take(command, answered).await
    }

    /// Waits for a line that something is found in, and takes it.
    async fn take<T>(&mut self, what: &str, find: impl Fn(&Value) -> Option<T>) -> T {
        let mut looked_at = 0;
        loop {
            while let Some(line) = self.heard.get(looked_at) {
                if let Some(found) = find(line) {
                    self.heard.remove(looked_at);
                    return found;
                }
                looked_at += 1;
            }
            match tokio::time::timeout(PATIENCE, self.output.next_line()).await {
                Ok(Ok(Some(line))) => self.heard.push(serde_json::from_str(&line).unwrap()),
                no_more => {
                    let complaints = std::fs::read_to_string(&self.complaints).unwrap();
                    panic!("no {what} ({no_more:?}); it also said {:#?}, and {complaints}", self.heard)
                }
            }
        }
    }
}

fn text_of(value: Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text")).to_owned()
}
