//! What happens: a phone links, a text and a PDF go out, an answer comes in. Each step's time goes into a table.

use anyhow::{Context as _, ensure};
use comfy_table::{Table, presets};
use enlace_contract::events::DeviceEvent;
use enlace_contract::messages::{Message, MessageState};
use enlace_contract::state::Phase;
use jiff::{SignedDuration, Timestamp};

use crate::eye::Eye;
use crate::pdf;
use crate::programs::{self, LIMIT, Program, within};
use crate::stage::Scene;

/// The number of the simulated phone that links.
const BILLING: &str = "525550000001";
/// The number of the simulated phone that the messages go to.
pub(crate) const CUSTOMER: &str = "525550000002";
/// The device of `examples/standalone`.
const DEVICE: &str = "billing";

/// Tells it all and prints the table.
///
/// # Errors
/// A step does not happen, or not in time.
pub(crate) async fn tell(scene: &Scene) -> anyhow::Result<()> {
    let mut times: Vec<(&str, SignedDuration)> = Vec::new();
    let mut events = Events::open(scene)?;

    println!("\n$ enlace qr {DEVICE}");
    let mut qr = Program::start("qr", scene.command(&["qr", DEVICE]), None)?;
    let text = within("the QR code", drawn(&mut qr)).await?;
    times.push(("start -> QR code in the terminal", Timestamp::now().duration_since(scene.started)));

    println!("\nThe simulated phone {BILLING} scans it.");
    let scanned = Timestamp::now();
    scene.control.phone(BILLING).scan(&text).await?;
    let connected = within("the connection", events.until(connected)).await?;
    times.push(("scan -> connected", connected.duration_since(scanned)));
    within("the end of enlace qr", shown(&mut qr)).await?;
    ensure!(qr.ended().await?.success(), "enlace qr failed");

    println!("\n$ enlace send {DEVICE} --to {CUSTOMER} --text 'Your invoice 2041 is ready.'");
    let words = "Your invoice 2041 is ready.";
    let message = send(scene, &["--text", words]).await?;
    let sent =
        within("WhatsApp's acknowledgement", events.until(|event| is_sent(event, &message.id))).await??;
    let seen = scene.control.phone(CUSTOMER).wait_for_id(&message.id, LIMIT).await?;
    ensure!(seen.text.as_deref() == Some(words), "the phone reads {:?}", seen.text);
    println!("The phone {CUSTOMER} reads: {words}");
    times.push(("text stored -> acknowledged by WhatsApp", sent.duration_since(message.created_at)));
    times.push(("text stored -> seen on the phone", seen.at.duration_since(message.created_at)));

    let file = scene.folder().join("invoice-2041.pdf");
    let bytes = pdf::page("Invoice 2041");
    std::fs::write(&file, &bytes)?;
    println!("\n$ enlace send {DEVICE} --to {CUSTOMER} --file invoice-2041.pdf");
    let message = send(scene, &["--file", &file.to_string_lossy()]).await?;
    let seen = scene.control.phone(CUSTOMER).wait_for_id(&message.id, LIMIT).await?;
    let opened = scene.control.phone(CUSTOMER).media(&message.id).await?;
    ensure!(*opened == *bytes, "the phone gets {} other bytes", opened.len());
    println!(
        "The phone {CUSTOMER} opens: {} ({}, {} bytes, the same)",
        seen.file_name.as_deref().unwrap_or("a file without a name"),
        seen.mime_type.as_deref().unwrap_or("of no type"),
        opened.len()
    );
    times.push(("PDF stored -> seen on the phone (paced)", seen.at.duration_since(message.created_at)));

    println!("\nThe phone {CUSTOMER} answers.");
    let words = "Thank you, paid today.";
    let answered = Timestamp::now();
    scene.control.phone(CUSTOMER).send_text(BILLING, words).await?;
    let stored = within("the answer", events.until(|event| is_text(event, words))).await?;
    println!("In the inbox of {DEVICE}: {words}");
    times.push(("answer -> in the inbox", stored.duration_since(answered)));
    events.program.stop().await?;

    println!("\n$ enlace get devices");
    print!("{}", programs::output("enlace get", &mut scene.command(&["get", "devices"])).await?);
    println!("\n{}", table(&times));
    Ok(())
}

/// Shows what a program writes until the phone has read a code off it.
async fn drawn(qr: &mut Program) -> anyhow::Result<String> {
    let mut eye = Eye::default();
    loop {
        let line = qr.line().await?;
        println!("{line}");
        if let Some(text) = eye.see(&line) {
            // What to do with it stands below it.
            println!("{}", qr.line().await?);
            return Ok(text);
        }
    }
}

/// Shows what a program writes until it ends.
async fn shown(program: &mut Program) -> anyhow::Result<()> {
    while let Some(line) = program.next_line().await? {
        println!("{line}");
    }
    Ok(())
}

/// `enlace send …`: the message as it was stored.
async fn send(scene: &Scene, what: &[&str]) -> anyhow::Result<Message> {
    let mut arguments = vec!["send", DEVICE, "--to", CUSTOMER, "-o", "json"];
    arguments.extend(what);
    let answer = programs::output("enlace send", &mut scene.command(&arguments)).await?;
    serde_json::from_str(&answer).with_context(|| format!("enlace send answers {answer}"))
}

/// `enlace events`, one event to a line.
struct Events {
    program: Program,
}

impl Events {
    fn open(scene: &Scene) -> anyhow::Result<Self> {
        let command = scene.command(&["events", DEVICE, "-o", "json"]);
        Ok(Self { program: Program::start("events", command, None)? })
    }

    /// The first event that matches.
    async fn until<T>(&mut self, mut matches: impl FnMut(&DeviceEvent) -> Option<T>) -> anyhow::Result<T> {
        loop {
            let line = self.program.line().await?;
            let event =
                serde_json::from_str(&line).with_context(|| format!("enlace events writes {line}"))?;
            if let Some(found) = matches(&event) {
                return Ok(found);
            }
        }
    }
}

fn connected(event: &DeviceEvent) -> Option<Timestamp> {
    match event {
        DeviceEvent::State(state) if state.phase == Phase::Connected => state.connected_at,
        _ => None,
    }
}

/// When WhatsApp accepted the message; an error when it will not.
fn is_sent(event: &DeviceEvent, id: &str) -> Option<anyhow::Result<Timestamp>> {
    let DeviceEvent::MessageState(message) = event else { return None };
    if message.id != id {
        return None;
    }
    match (message.state, message.sent_at) {
        (MessageState::Failed, _) => {
            let why = message.error.as_ref().map_or("no reason", |error| error.message.as_str());
            Some(Err(anyhow::anyhow!("the message was not sent: {why}")))
        }
        (_, sent_at) => sent_at.map(Ok),
    }
}

fn is_text(event: &DeviceEvent, words: &str) -> Option<Timestamp> {
    match event {
        DeviceEvent::Message(record) if record.text.as_deref() == Some(words) => Some(record.received_at),
        _ => None,
    }
}

fn table(times: &[(&str, SignedDuration)]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED).set_header(["step", "time"]);
    for (step, time) in times {
        table.add_row([(*step).to_owned(), readable(*time)]);
    }
    table
}

fn readable(time: SignedDuration) -> String {
    match time.as_millis() {
        milliseconds @ ..1000 => format!("{milliseconds} ms"),
        _ => format!("{:.1} s", time.as_secs_f64()),
    }
}
