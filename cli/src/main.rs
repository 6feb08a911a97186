//! The `enlace` command.
//!
//! * [`arguments`]: what can be typed,
//! * [`standalone`]: the whole system in this process, on a folder of manifests,
//! * [`remote`]: the API of a running Enlace, [`commands`]: what is asked of it,
//! * [`kubernetes`]: the same program as `kubectl enlace`, through a cluster's API server,
//! * [`output`]: tables, JSON, YAML, names.
//!
//! Results go to standard output, everything else to standard error. Exit codes: 0 done; 1 it failed, with one line that says why; 2 the
//! command line is wrong; 3 the time ran out.

mod arguments;
mod commands;
mod kubernetes;
mod output;
mod remote;
mod standalone;

use std::path::Path;
use std::process::ExitCode;

use arguments::{Arguments, Command};
use commands::TimedOut;
use enlace_api::seed::environment;

fn main() -> ExitCode {
    if kubernetes::is_called() {
        let command = kubernetes::Plugin::read();
        return run(1, kubernetes::run(command));
    }
    // Before the command line is read, which looks into the environment; other commands are about somewhere else.
    if std::env::args_os().any(|argument| argument == "standalone")
        && let Err(error) = environment::load_file(Path::new(".env"))
    {
        return failed(&error.into());
    }
    let Arguments { api, command } = Arguments::read();
    let threads = if matches!(command, Command::Standalone(_)) { 4 } else { 1 };
    run(threads, async {
        match command {
            Command::Standalone(options) => {
                let listen = options.address();
                if !listen.ip().is_loopback() {
                    eprintln!(
                        "enlace: other machines can reach the API on {listen}, and there is no TLS: passwords, tokens and messages can be \
                         read on the way; put a proxy with TLS in front of it"
                    );
                }
                standalone::run(options).await
            }
            command => commands::run(api, command).await,
        }
    })
}

fn run(threads: usize, command: impl Future<Output = anyhow::Result<()>>) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return failed(&anyhow::Error::new(error).context("the runtime could not start")),
    };
    let outcome = runtime.block_on(command);
    // A blocking read of a terminal or a look-up must not hold the end up.
    runtime.shutdown_background();
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        // `enlace … | head` has read enough.
        Err(error) if output::nobody_reads(&error) => ExitCode::SUCCESS,
        Err(error) if error.is::<TimedOut>() => {
            failed(&error);
            ExitCode::from(3)
        }
        Err(error) => failed(&error),
    }
}

fn failed(error: &anyhow::Error) -> ExitCode {
    eprintln!("enlace: {}", enlace_contract::program::chain(error.as_ref()));
    ExitCode::FAILURE
}
