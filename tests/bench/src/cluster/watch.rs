//! What the API server tells of objects, with the times at which it was heard: the output of a watch, which kubectl passes on as it comes.

use std::process::Stdio;
use std::time::Instant;

use anyhow::{Context as _, bail};
use enlace_e2e::{PATIENCE, commands};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, ChildStdout, Command};
use tokio::sync::mpsc;

/// Events that nobody has taken yet: while one command runs, a device makes some tens of them.
const WAITING: usize = 1_024;

/// A watch of a collection.
pub(crate) struct Watch {
    seen: mpsc::Receiver<anyhow::Result<Seen>>,
    /// It ends with the watch.
    _kubectl: Child,
}

/// An object as it was then.
struct Seen {
    at: Instant,
    object: Value,
}

impl Watch {
    /// A watch of the collection at a path of the API server; it hears everything from now on, also what happens before it is open.
    ///
    /// # Errors
    /// kubectl does not start, or the API server's answer is no list.
    pub(crate) fn open(path: &str) -> anyhow::Result<Self> {
        let list: Value = serde_json::from_str(&commands::kubectl(&["get", "--raw", path]))?;
        let version = list["metadata"]["resourceVersion"].as_str().context("a list without a version")?;
        let path = format!("{path}?watch=true&resourceVersion={version}");
        let mut kubectl = Command::from(commands::command("kubectl", &["get", "--raw", &path]))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("cannot start kubectl")?;
        let output = kubectl.stdout.take().context("kubectl has no output")?;
        let (sender, seen) = mpsc::channel(WAITING);
        tokio::spawn(pass_on(output, sender));
        Ok(Self { seen, _kubectl: kubectl })
    }

    /// The first object from here on in which there is what is looked for, and when it was heard of.
    ///
    /// # Errors
    /// The watch ends, or nothing is found in time.
    pub(crate) async fn until<T>(
        &mut self,
        what: &str,
        mut look: impl FnMut(&Value) -> Option<T>,
    ) -> anyhow::Result<(Instant, T)> {
        let looking = async {
            loop {
                let Seen { at, object } = self.seen.recv().await.context("the watch ended")??;
                if let Some(found) = look(&object) {
                    return anyhow::Ok((at, found));
                }
            }
        };
        tokio::time::timeout(PATIENCE, looking)
            .await
            .with_context(|| format!("waited {} s in vain for {what}", PATIENCE.as_secs()))?
            .with_context(|| format!("waiting for {what}"))
    }
}

/// Notes the time of each line before anything else is done with it.
async fn pass_on(output: ChildStdout, sender: mpsc::Sender<anyhow::Result<Seen>>) {
    let mut lines = BufReader::new(output).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let at = Instant::now();
        if sender.send(object(&line).map(|object| Seen { at, object })).await.is_err() {
            return;
        }
    }
}

/// The object of an event, one line of a watch.
fn object(line: &str) -> anyhow::Result<Value> {
    let mut event: Value = serde_json::from_str(line).context("a line that is no event")?;
    let object = event.get_mut("object").map(Value::take).context("an event without an object")?;
    if event["type"] == "ERROR" {
        bail!("the API server ends the watch: {}", object["message"]);
    }
    Ok(object)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_event_has_an_object_and_an_error_ends_the_watch() {
        let line = json!({"type": "MODIFIED", "object": {"metadata": {"name": "a"}}}).to_string();
        assert_eq!(object(&line).unwrap(), json!({"metadata": {"name": "a"}}));
        let line = json!({"type": "ERROR", "object": {"kind": "Status", "message": "too old"}}).to_string();
        assert_eq!(object(&line).unwrap_err().to_string(), "the API server ends the watch: \"too old\"");
        assert!(object("Error from server").is_err());
    }
}
