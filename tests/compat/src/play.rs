//! What happens outside of the requests: phones, losses, databases.

use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use serde_json::{Value, json};

use crate::gate::Way;
use crate::golden::Action;
use crate::names::Names;
use crate::world::World;

/// No step takes this long unless something is wrong.
const LIMIT: Duration = Duration::from_secs(90);
/// Between two looks at something that tells nothing by itself.
const LOOK: Duration = Duration::from_millis(50);
/// What WhatsApp answers to a message that it does not take.
const REFUSED: u32 = 479;

/// The phone that linked last.
#[derive(Default)]
pub(crate) struct Player {
    linked: Option<Linked>,
}

#[derive(Clone)]
struct Linked {
    phone: String,
    device: u16,
}

impl Player {
    /// Lets something happen.
    ///
    /// # Errors
    /// It is unknown, or does not come about in time.
    pub(crate) async fn play(
        &mut self,
        world: &mut World,
        action: &Action,
        names: &Names,
    ) -> anyhow::Result<()> {
        let of = |name: &str| action.text(name).map(|text| names.fill(text));
        let (id, number) = (of("instancia_id"), of("numero"));
        let device = async |world: &World| find(world, id.as_deref(), number.as_deref()).await;
        match action.action.as_str() {
            "note" => note(world, action.text("text").unwrap_or_default(), names).await,
            // The older code tried again every few seconds. What it was given time for, Enlace tells.
            "wait_seconds" => Self::settle(world).await,
            "device_number" => {
                let path = device(world).await?;
                let change = json!({ "spec": { "phoneNumber": number } });
                world.asker.json("PATCH", &path, &world.admin, Some(&change)).await.map(drop)
            }
            "wait_qr" => {
                world.gate.set(Way::Open);
                let path = device(world).await?;
                until(world, &path, |device| device["status"]["qr"].is_object()).await.map(drop)
            }
            "phone_scans" | "connected_again" => {
                let path = device(world).await?;
                let number = number.context("no number")?;
                self.link(world, &path, &number).await
            }
            "reconnects_as" => {
                // As another number it cannot: it comes back as itself.
                world.gate.set(Way::Open);
                let path = device(world).await?;
                until_phase(world, &path, "Connected").await?;
                world.gate.set(Way::Held);
                Ok(())
            }
            "connection_lost" => {
                world.gate.set(Way::Held);
                world.gate.cut();
                let path = device(world).await?;
                until(world, &path, |device| device["status"]["phase"] != "Connected").await.map(drop)
            }
            "wait_new_attempt" => {
                // The attempts that are held are cut, so that the next one is seen.
                tokio::time::timeout(LIMIT, world.gate.next_caller()).await.context("no new attempt")?
            }
            "logged_out_on_phone" | "auth_failure" => {
                let path = device(world).await?;
                let Linked { phone, device } = self.linked.clone().context("no phone is linked")?;
                world.gate.set(Way::Open);
                until_phase(world, &path, "Connected").await?;
                world.control.phone(&phone).unlink(device).await?;
                until_phase(world, &path, "LoggedOut").await?;
                world.gate.set(Way::Held);
                Ok(())
            }
            "wait_queue_empty" => queue_empty(world).await,
            "next_send_fails" => {
                // It is the next one that is asked for, not one that waits already.
                queue_empty(world).await?;
                let Linked { phone, .. } = self.linked.clone().context("no phone is linked")?;
                Ok(world.control.server().refuse_messages(&phone, REFUSED, 1).await?)
            }
            "number_not_on_whatsapp" | "number_on_whatsapp_again" => {
                let there = action.action == "number_on_whatsapp_again";
                let number = number.context("no number")?;
                Ok(world.control.phone(&number).set_registered(there).await?)
            }
            // The library of the older code told how far the page had loaded; there is no page.
            "loading_screen" => Ok(()),
            "database_down" => world.database.as_mut().context("no database server")?.stop(),
            "database_frozen" => world.database.as_ref().context("no database server")?.freeze(),
            unknown => bail!("nobody knows how to play {unknown:?}"),
        }
    }

    /// Devices that cannot reach WhatsApp find that out before the next request, as they had when it was recorded.
    pub(crate) async fn settle(world: &World) -> anyhow::Result<()> {
        for device in devices(world).await? {
            let path = path(&device)?;
            until(world, &path, |device| {
                let status = &device["status"];
                let connected = condition(device, "Connected");
                status["phase"] != "Pending"
                    && !(status["phase"] == "Starting" && *connected == status["phase"])
            })
            .await?;
        }
        Ok(())
    }

    async fn link(&mut self, world: &World, path: &str, number: &str) -> anyhow::Result<()> {
        world.gate.set(Way::Open);
        let device = world.asker.json("GET", path, &world.admin, None).await?;
        if device["spec"]["suspend"] == true {
            world.asker.json("POST", &format!("{path}/resume"), &world.admin, None).await?;
        }
        if device["status"]["phase"] != "AwaitingScan" {
            world.asker.json("POST", &format!("{path}/pair"), &world.admin, None).await?;
        }
        let device = until(world, path, |device| device["status"]["qr"]["code"].is_string()).await?;
        let code = device["status"]["qr"]["code"].as_str().context("no code")?;
        let linked = world.control.phone(number).scan(code).await?;
        self.linked = Some(Linked { phone: linked.phone, device: linked.device });
        until_phase(world, path, "Connected").await?;
        // What is connected stays so; what comes later waits until it is let through.
        world.gate.set(Way::Held);
        Ok(())
    }
}

/// What was done by hand in the recording, where it matters here.
async fn note(world: &World, text: &str, names: &Names) -> anyhow::Result<()> {
    let Some(rest) = text.strip_prefix("a device row ABC of number ") else { return Ok(()) };
    let number = rest.split_whitespace().next().context("the note has no number")?;
    let token = names.any_token().context("no token yet")?;
    let device = json!({ "numero": number });
    let added = world.asker.json("POST", "/api/add-device", token, Some(&device)).await?;
    let renamed = json!({ "identifier": added["instancia_id"], "instancia_id": "ABC" });
    world.asker.json("POST", "/api/update-device", token, Some(&renamed)).await?;
    Player::settle(world).await
}

/// Waits until no device has a message that is still to be sent.
async fn queue_empty(world: &World) -> anyhow::Result<()> {
    for device in devices(world).await? {
        let path = format!("{}/messages?limit=500", path(&device)?);
        let waits = |item: &Value| item["state"] == "queued" || item["state"] == "sending";
        look(world, &path, 3 * LIMIT, |page| {
            page["items"].as_array().is_some_and(|items| !items.iter().any(waits))
        })
        .await?;
    }
    Ok(())
}

async fn devices(world: &World) -> anyhow::Result<Vec<Value>> {
    let list = world.asker.json("GET", "/v1/devices?limit=500", &world.admin, None).await?;
    list["items"].as_array().cloned().context("no list of devices")
}

/// The path of a device in the native API, by the identifier that it was created with, or its number.
async fn find(world: &World, id: Option<&str>, number: Option<&str>) -> anyhow::Result<String> {
    let devices = devices(world).await?;
    let by_id = |device: &&Value| {
        id.is_some() && device["metadata"]["annotations"]["enlace.dev/instancia-id"].as_str() == id
    };
    let by_number = |device: &&Value| {
        let given = &device["metadata"]["annotations"]["enlace.dev/numero"];
        let known = [&device["status"]["phoneNumber"], &device["spec"]["phoneNumber"], given];
        number.is_some() && known.iter().any(|known| known.as_str() == number)
    };
    let found = devices.iter().find(by_id).or_else(|| devices.iter().find(by_number));
    path(found.with_context(|| format!("there is no device {id:?} {number:?}"))?)
}

fn path(device: &Value) -> anyhow::Result<String> {
    let metadata = &device["metadata"];
    let (namespace, name) = (metadata["namespace"].as_str(), metadata["name"].as_str());
    ensure!(namespace.is_some() && name.is_some(), "a device has no name: {device}");
    Ok(format!("/v1/devices/{}/{}", namespace.unwrap_or_default(), name.unwrap_or_default()))
}

async fn until_phase(world: &World, path: &str, phase: &str) -> anyhow::Result<Value> {
    until(world, path, |device| device["status"]["phase"] == phase).await
}

async fn until(world: &World, path: &str, wanted: impl Fn(&Value) -> bool) -> anyhow::Result<Value> {
    look(world, path, LIMIT, wanted).await
}

/// Asks again and again, as the clients of the older code did, until the answer is as wanted.
async fn look(
    world: &World,
    path: &str,
    limit: Duration,
    wanted: impl Fn(&Value) -> bool,
) -> anyhow::Result<Value> {
    let mut last = Value::Null;
    let looking = async {
        loop {
            last = world.asker.json("GET", path, &world.admin, None).await?;
            if wanted(&last) {
                return Ok::<_, anyhow::Error>(());
            }
            tokio::time::sleep(LOOK).await;
        }
    };
    let looked = tokio::time::timeout(limit, looking).await;
    looked.with_context(|| {
        format!("it did not come about; {path} is {last}; Enlace wrote:\n{}", world.log())
    })??;
    Ok(last)
}

/// The reason of a condition.
fn condition<'a>(device: &'a Value, kind: &str) -> &'a Value {
    let conditions = device["status"]["conditions"].as_array();
    let found = conditions.and_then(|all| all.iter().find(|condition| condition["type"] == kind));
    found.map_or(&Value::Null, |condition| &condition["reason"])
}
