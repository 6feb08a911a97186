//! `kubectl enlace`: devices of a cluster, through its API server and with the identity of the kubeconfig.
//!
//! `kubectl` finds a plugin by its file's name: a link `kubectl-enlace` to the program `enlace`, in a folder of `PATH`, is all that is needed.
//!
//! * [`Plugin`]: what can be typed,
//! * `connect`: the cluster, and its refusals in words,
//! * `linking`: `qr` and `pair`, `codes`: where the code is, `status`: `status`.

mod codes;
mod connect;
mod linking;
mod status;

use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand};
use enlace_contract::duration::Period;

use crate::arguments::VERSION;
use crate::commands::pairing::Start;
use crate::output::Format;
use connect::Connection;

/// What the file is called when `kubectl` calls it.
const FILE: &str = "kubectl-enlace";

/// Below the help.
const NEEDS: &str = "\
What is needed in the namespace: get, list and watch on whatsappdevices.enlace.dev; patch to ask for codes; get on one Secret where a \
device publishes its code there.
Exit codes: 0 done, 1 it failed (one line says why), 2 the command line is wrong, 3 the time ran out.";

/// Above the options that say which cluster is asked.
const CLUSTER: &str = "Which cluster is asked";

/// WhatsApp numbers of a Kubernetes cluster.
#[derive(Parser)]
#[command(name = FILE, bin_name = "kubectl enlace", version = VERSION, max_term_width = 100, after_help = NEEDS)]
pub(crate) struct Plugin {
    #[command(flatten)]
    cluster: Cluster,
    #[command(subcommand)]
    command: Command,
}

/// Which cluster to ask, and where in it.
#[derive(Args)]
pub(crate) struct Cluster {
    /// The namespace [default: the context's].
    #[arg(short, long, global = true, help_heading = CLUSTER)]
    namespace: Option<String>,
    /// The context of the kubeconfig [default: the current one].
    #[arg(long, global = true, value_name = "NAME", help_heading = CLUSTER)]
    context: Option<String>,
    /// The kubeconfig [default: KUBECONFIG, then ~/.kube/config].
    #[arg(long, global = true, value_name = "FILE", help_heading = CLUSTER)]
    kubeconfig: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Command {
    /// Draw the QR code (or the pairing code) of a device, with every new one, until a phone has linked.
    ///
    /// When the codes end because nobody scanned them, new ones are asked for.
    Qr(Wait),
    /// Ask a device for new codes, also after a logout, and show them as `qr` does.
    Pair(Wait),
    /// Show devices.
    Status(Status),
}

/// A device, and how long to wait for a phone.
#[derive(Args)]
pub(crate) struct Wait {
    /// The name of the WhatsAppDevice.
    name: String,
    /// How long to wait for the phone, like 90s or 10m; then the exit code is 3.
    #[arg(long, value_name = "DURATION", default_value = "10m")]
    timeout: Period,
}

/// Options of `kubectl enlace status`.
#[derive(Args)]
pub(crate) struct Status {
    /// Only this WhatsAppDevice.
    name: Option<String>,
    /// Of all namespaces.
    #[arg(short = 'A', long, conflicts_with = "name")]
    all_namespaces: bool,
    /// The form of the output.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

/// Whether `kubectl` calls.
pub(crate) fn is_called() -> bool {
    std::env::args_os().next().is_some_and(|program| is_plugin(Path::new(&program)))
}

fn is_plugin(program: &Path) -> bool {
    // Windows has an extension.
    program.file_stem().is_some_and(|stem| stem == FILE)
}

impl Plugin {
    /// The command line.
    pub(crate) fn read() -> Self {
        Self::parse()
    }
}

/// Does what was typed.
pub(crate) async fn run(plugin: Plugin) -> anyhow::Result<()> {
    let Plugin { cluster, command } = plugin;
    let connection = Connection::open(cluster).await?;
    match command {
        Command::Qr(options) => linking::follow(&connection, options, Start::AsItIs).await,
        Command::Pair(options) => linking::follow(&connection, options, Start::Ask).await,
        Command::Status(options) => status::run(&connection, options).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_is_the_plugin_by_its_files_name() {
        for (program, plugin) in [
            ("kubectl-enlace", true),
            ("/usr/local/bin/kubectl-enlace", true),
            ("kubectl-enlace.exe", true),
            ("enlace", false),
            ("/opt/kubectl-enlace/enlace", false),
        ] {
            assert_eq!(is_plugin(Path::new(program)), plugin, "{program}");
        }
    }

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory as _;
        Plugin::command().debug_assert();
    }
}
