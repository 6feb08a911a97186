//! How long a message takes, and how many go through.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use enlace_contract::events::DeviceEvent;
use enlace_contract::messages::{Message, MessageState};
use futures::{StreamExt as _, TryStreamExt as _, stream};

use crate::series::{Series, Unit};
use crate::world::{Device, OTHER, World, text};

/// How many times a run of messages is repeated.
const REPETITIONS: usize = 5;
/// How many requests are under way at the same time.
const AT_ONCE: usize = 50;

/// Sends messages both ways.
///
/// # Errors
/// A message is not sent or does not arrive.
pub(crate) async fn measure(world: &World, device: &mut Device, count: u32) -> anyhow::Result<Vec<Series>> {
    eprintln!("Sending {count} messages, one at a time");
    let mut stored = Series::new("postToStored", "POST -> 202, on disk", Unit::Milliseconds);
    let mut sent =
        Series::new("postToSent", "POST -> sent (acknowledged), one at a time", Unit::Milliseconds);
    let mut last = one(device, "Before the others").await?.message;
    for number in 0..count {
        let Exchange { message, until_stored, until_sent } = one(device, &format!("Number {number}")).await?;
        stored.add(Unit::time(until_stored));
        sent.add(Unit::time(until_sent));
        last = message;
    }

    let what = format!("{count} posted, {AT_ONCE} at once -> all sent");
    let mut outgoing = Series::new("sentPerSecond", what, Unit::MessagesPerSecond);
    let what = format!("{count} from another phone -> all in the journal");
    let mut incoming = Series::new("receivedPerSecond", what, Unit::MessagesPerSecond);
    for repetition in 0..REPETITIONS {
        eprintln!("Sending and receiving {count} messages: {} of {REPETITIONS}", repetition + 1);
        let before = last.sequence + i64::from(count) * i64::try_from(repetition)?;
        outgoing.add(Unit::rate(count, send_all(device, before, count).await?));
        incoming.add(Unit::rate(count, receive_all(world, device, repetition, count).await?));
    }
    Ok(vec![stored, sent, outgoing, incoming])
}

/// A message, and how long it took.
pub(crate) struct Exchange {
    message: Message,
    until_stored: Duration,
    until_sent: Duration,
}

/// Sends one text and waits for WhatsApp's acknowledgement.
///
/// # Errors
/// It is not sent.
pub(crate) async fn one(device: &mut Device, words: &str) -> anyhow::Result<Exchange> {
    let message = text(words);
    let posted = Instant::now();
    let message = device.client.send(&message).await?;
    let until_stored = posted.elapsed();
    device.events.until(|event| sent(event, message.sequence)).await??;
    Ok(Exchange { message, until_stored, until_sent: posted.elapsed() })
}

/// Posts messages as fast as they are stored; the time until WhatsApp has acknowledged all of them.
async fn send_all(device: &mut Device, before: i64, count: u32) -> anyhow::Result<Duration> {
    let Device { client, events, .. } = device;
    let posted = Instant::now();
    let posts = stream::iter(0..count)
        .map(|number| {
            let (client, message) = (client.clone(), text(format!("Number {number} of many")));
            async move { client.send(&message).await }
        })
        .buffer_unordered(AT_ONCE)
        .map_err(anyhow::Error::from)
        .try_collect::<Vec<Message>>();
    // A device has one sender, which takes them in the order in which they were stored: the last one is sent last.
    let all = async { events.until(|event| sent(event, before + i64::from(count))).await? };
    let (messages, ()) = tokio::try_join!(posts, all)?;
    let took = posted.elapsed();
    for Message { id, .. } in messages {
        let message = client.message(&id).await?;
        ensure!(message.sent_at.is_some(), "message {id} was not sent: {:?}", message.error);
    }
    Ok(took)
}

/// The other phone writes; the time until all is in the journal.
async fn receive_all(
    world: &World,
    device: &mut Device,
    repetition: usize,
    count: u32,
) -> anyhow::Result<Duration> {
    let state = device.client.state().await?;
    let number = state.account.context("the device is not linked")?.phone_number;
    let phone = world.control.phone(OTHER);
    let begin = format!("Run {repetition}, ");
    let written = Instant::now();
    let writing = stream::iter(0..count)
        .map(|count| {
            let words = format!("{begin}number {count}");
            let (phone, number) = (phone.clone(), number.clone());
            async move { phone.send_text(number.as_str(), &words).await }
        })
        .buffer_unordered(AT_ONCE)
        .map_err(anyhow::Error::from)
        .try_for_each(|_| async { Ok(()) });
    let mut missing = count;
    let all = device.events.until(|event| {
        let DeviceEvent::Message(record) = event else { return None };
        if record.text.as_deref().is_some_and(|text| text.starts_with(&begin)) {
            missing -= 1;
        }
        (missing == 0).then_some(())
    });
    tokio::try_join!(writing, all)?;
    Ok(written.elapsed())
}

/// Whether the event says that the message with this place in the outbox was sent; an error when one failed.
fn sent(event: &DeviceEvent, sequence: i64) -> Option<anyhow::Result<()>> {
    let DeviceEvent::MessageState(message) = event else { return None };
    if message.state == MessageState::Failed {
        let why = message.error.as_ref().map_or("no reason", |error| error.message.as_str());
        return Some(Err(anyhow::anyhow!("message {} was not sent: {why}", message.id)));
    }
    (message.sequence == sequence && message.sent_at.is_some()).then_some(Ok(()))
}
