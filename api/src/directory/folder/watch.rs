//! When to look at the folder again: soon after the file system tells of a change, and slowly in any case.

use std::path::PathBuf;
use std::time::Duration;

use notify::{EventKind, RecursiveMode, Watcher as _};
use tokio::sync::{mpsc, oneshot};

use super::requests::Request;

/// Writing a file is several events; the last of them counts.
const DEBOUNCE: Duration = Duration::from_millis(200);
/// Network file systems tell nothing, and a folder that was replaced tells nothing more.
const RESCAN: Duration = Duration::from_secs(30);
/// The same where nothing can be watched.
const RESCAN_UNWATCHED: Duration = Duration::from_secs(3);

/// Asks for a look at the folder whenever there may be something new, until nobody answers any more.
pub(super) async fn watch(folder: PathBuf, requests: mpsc::Sender<Request>) {
    // One waiting signal says as much as many.
    let (signal, mut signals) = mpsc::channel(1);
    let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        // Reading the files is an event too, and would be one of our own making.
        if !event.is_ok_and(|event| matches!(event.kind, EventKind::Access(_))) {
            // Full: a signal is waiting already.
            let _ = signal.try_send(());
        }
    });
    let watching = watcher.and_then(|mut watcher| {
        watcher.watch(&folder, RecursiveMode::NonRecursive)?;
        Ok(watcher)
    });
    let rescan = match &watching {
        Ok(_) => RESCAN,
        Err(error) => {
            tracing::warn!(%error, "the folder {} cannot be watched: it is read every {} seconds", folder.display(), RESCAN_UNWATCHED.as_secs());
            RESCAN_UNWATCHED
        }
    };
    // Something may have changed between the first look and now.
    let mut signalled = true;
    loop {
        if !signalled {
            tokio::select! {
                Some(()) = signals.recv() => {
                    tokio::time::sleep(DEBOUNCE).await;
                    while signals.try_recv().is_ok() {}
                }
                () = tokio::time::sleep(rescan) => {}
                () = requests.closed() => return,
            }
        }
        signalled = false;
        let (done, taken) = oneshot::channel();
        if requests.send(Request::Rescan(done)).await.is_err() || taken.await.is_err() {
            return;
        }
    }
}
