//! What is asked of a running Enlace, a file for each command.

pub(crate) mod devices;
mod events;
pub(crate) mod pairing;
mod send;

use enlace_contract::state::DeviceState;
use serde::Deserialize;

use crate::arguments::{Api, Command};
use crate::output::printable;
use crate::remote::Remote;

/// The time ran out.
#[derive(Debug)]
pub(crate) struct TimedOut(pub(crate) String);

impl std::fmt::Display for TimedOut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for TimedOut {}

/// A device is deleted, and its phone still lists it.
#[derive(Deserialize)]
struct StillListed {
    message: String,
}

/// Does what was typed.
pub(crate) async fn run(api: Api, command: Command) -> anyhow::Result<()> {
    let remote = Remote::open(api)?;
    match command {
        Command::Get(options) => devices::get(&remote, options).await,
        Command::Qr(options) => pairing::follow(&remote, options, pairing::Start::AsItIs).await,
        Command::Pair(options) => pairing::follow(&remote, options, pairing::Start::Ask).await,
        Command::Send(options) => send::run(&remote, options).await,
        Command::Events(options) => events::run(&remote, options).await,
        Command::Logout(options) => {
            let state: DeviceState = remote.post(&Remote::device(&options.name, "/logout"), &()).await?;
            eprintln!("{} is {}", options.name, state.phase);
            Ok(())
        }
        Command::Delete(options) => {
            let name = options.name;
            match remote.delete::<StillListed>(&Remote::device(&name, "")).await? {
                None => eprintln!("{name} is deleted"),
                Some(StillListed { message }) => eprintln!("{}", printable(&message)),
            }
            Ok(())
        }
        Command::Standalone(_) => unreachable!("main starts it"),
    }
}
