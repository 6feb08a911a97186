//! What can be typed.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Arg, ArgGroup, Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand, ValueEnum};
use enlace_api::seed::environment::unset_when_empty;
use enlace_contract::duration::{InvalidPeriod, Period};
use enlace_contract::messages::MAX_WAIT_SECONDS;
use enlace_contract::name::DeviceKey;
use reqwest::Url;

use crate::output::Format;

/// `enlace --version`: it says whom the build trusts.
pub(crate) const VERSION: &str = if cfg!(feature = "simulator-trust") {
    concat!(env!("CARGO_PKG_VERSION"), " (trusts simulator (not for production))")
} else {
    concat!(env!("CARGO_PKG_VERSION"), " (trusts WhatsApp)")
};

/// Below the help.
const EXIT_CODES: &str = "\
Exit codes: 0 done, 1 it failed (one line says why), 2 the command line is wrong, 3 the time ran out.";

/// Above the options that say which Enlace is asked.
const ASKED: &str = "Which Enlace is asked";

/// WhatsApp numbers as resources.
#[derive(Parser)]
#[command(name = "enlace", version = VERSION, max_term_width = 100, after_help = EXIT_CODES)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) api: Api,
    #[command(subcommand)]
    pub(crate) command: Command,
}

impl Arguments {
    /// What was typed; a wrong command line ends the program.
    pub(crate) fn read() -> Self {
        // It asks no Enlace: it is one. An argument of its own keeps the global one out of its help.
        let hidden = |name: &'static str| Arg::new(name).long(name).hide(true);
        let command = unset_when_empty(Self::command()).mut_subcommand("standalone", |standalone| {
            unset_when_empty(standalone).arg(hidden("url").value_parser(http_url)).arg(hidden("token"))
        });
        Self::from_arg_matches(&command.get_matches()).unwrap_or_else(|error| error.exit())
    }
}

/// Which Enlace to ask.
#[derive(Args)]
pub(crate) struct Api {
    /// The URL of its API.
    #[arg(
        long,
        global = true,
        env = "ENLACE_URL",
        default_value = "http://127.0.0.1:3000",
        value_parser = http_url,
        help_heading = ASKED
    )]
    pub(crate) url: Url,
    /// A token of its API [default: the one that `enlace standalone` left in its data directory].
    #[arg(long, global = true, env = "ENLACE_TOKEN", hide_env_values = true, help_heading = ASKED)]
    pub(crate) token: Option<String>,
    /// The data directory of `enlace standalone`.
    #[arg(long, global = true, value_name = "DIR", env = "ENLACE_DATA_DIR", default_value_os_t = default_data_dir(), help_heading = ASKED)]
    pub(crate) data_dir: PathBuf,
}

/// What to do.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Run the whole system in one process, on a folder of WhatsAppDevice manifests.
    ///
    /// Every *.yaml and *.yml file at the top of the folder is read; files that are added or changed are picked up. A file that disappears
    /// stops its device and keeps the session. It is for one machine: all numbers share one process. It runs until Ctrl-C.
    ///
    /// The log goes to standard error; ENLACE_LOG=warn has less of it, ENLACE_LOG=debug more. Variables may also stand in a file .env of the
    /// working directory.
    Standalone(Standalone),
    /// Show devices, as a table or as manifests.
    Get(Get),
    /// Draw the QR code (or the pairing code) of a device, with every new one, until a phone has linked.
    ///
    /// WhatsApp gives six QR codes, for about 160 seconds in all, or one pairing code for three minutes. When nobody has used one by then,
    /// none is drawn any more and the exit code is 1; `enlace pair` asks for new ones.
    Qr(Wait),
    /// Ask a device for new codes, also after a logout, and show them as `qr` does.
    Pair(Wait),
    /// Send a text or a file.
    ///
    /// Without --wait it is done when Enlace has stored the message. With --wait the exit code is 0 when WhatsApp has it, 1 when it failed,
    /// and 3 when the time ran out: then it is still stored, and goes out as soon as it can.
    Send(Send),
    /// Show what happens on a device, as it happens: its state, what comes in, what goes out. A device that starts is waited for, 10 minutes at most.
    Events(Events),
    /// Unlink a device at WhatsApp and erase its session; its declaration stays.
    Logout(Name),
    /// Unlink a device that the API created, and remove it with its data.
    Delete(Name),
}

/// Options of `enlace standalone`.
#[derive(Args)]
pub(crate) struct Standalone {
    /// The folder with the manifests.
    pub(crate) dir: PathBuf,
    /// Where everything is kept: sessions, messages, users. It is made for this user only; one that others may enter is refused.
    #[arg(long, value_name = "DIR", env = "ENLACE_DATA_DIR", default_value_os_t = default_data_dir())]
    pub(crate) data_dir: PathBuf,
    /// Where the API listens [default: 127.0.0.1:3000].
    #[arg(long, value_name = "ADDRESS", env = "ENLACE_LISTEN", value_parser = address)]
    pub(crate) listen: Option<SocketAddr>,
    /// The port on which the API listens on this machine alone, when --listen says nothing else.
    #[arg(long, value_name = "PORT", env = "PORT", default_value_t = 3000)]
    pub(crate) port: u16,
    /// Where users and tokens are kept, when not in the data directory: postgres://… or mysql://… Without it, DB_HOST, DB_USER,
    /// DB_PASSWORD, DB_NAME and DB_PORT may name a MySQL or MariaDB server.
    #[arg(long, value_name = "URL", env = "DATABASE_URL", hide_env_values = true)]
    pub(crate) database_url: Option<String>,
    /// What may be set of the compatible API.
    #[command(flatten)]
    pub(crate) compatible: enlace_api::seed::Settings,
    /// What stands in front of the API.
    #[command(flatten)]
    pub(crate) front: enlace_api::http::Front,
}

impl Standalone {
    /// Where the API listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.listen.unwrap_or_else(|| SocketAddr::from((Ipv4Addr::LOCALHOST, self.port)))
    }
}

/// Options of `enlace get`.
#[derive(Args)]
pub(crate) struct Get {
    /// What to show: devices.
    #[arg(value_enum, hide_possible_values = true)]
    pub(crate) kind: Kind,
    /// Only this one: NAME or NAMESPACE/NAME.
    pub(crate) name: Option<DeviceKey>,
    /// The form of the output.
    #[arg(short, long, value_enum, default_value_t)]
    pub(crate) output: Format,
}

/// What `enlace get` shows.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Kind {
    /// Devices.
    #[value(alias = "device", alias = "whatsappdevices", alias = "whatsappdevice", alias = "wad")]
    Devices,
}

/// A device.
#[derive(Args)]
pub(crate) struct Name {
    /// NAME or NAMESPACE/NAME.
    pub(crate) name: DeviceKey,
}

/// A device, and how long to wait for a phone.
#[derive(Args)]
pub(crate) struct Wait {
    /// NAME or NAMESPACE/NAME.
    pub(crate) name: DeviceKey,
    /// How long to wait for the phone, like 90s or 10m; then the exit code is 3. The codes can end before: see above.
    #[arg(long, value_name = "DURATION", default_value = "10m")]
    pub(crate) timeout: Period,
}

/// Options of `enlace send`.
#[derive(Args)]
#[command(group = ArgGroup::new("content").args(["text", "file"]).required(true).multiple(true))]
pub(crate) struct Send {
    /// The device that sends: NAME or NAMESPACE/NAME.
    pub(crate) name: DeviceKey,
    /// To whom: a phone number with its country code, like 525550000002, or a JID.
    #[arg(long, value_name = "RECIPIENT")]
    pub(crate) to: String,
    /// The text; with a file, what stands under it.
    #[arg(long)]
    pub(crate) text: Option<String>,
    /// A file. A picture, a video or a sound goes as such, by the end of its name (without one, by what is in it); anything else goes as a
    /// document.
    #[arg(long)]
    pub(crate) file: Option<PathBuf>,
    /// Send the file as a document, whatever it is.
    #[arg(long, requires = "file")]
    pub(crate) document: bool,
    /// A word of your own for this message: however often it is sent with it, it goes out once.
    #[arg(long, value_name = "KEY")]
    pub(crate) idempotency_key: Option<String>,
    /// Wait until WhatsApp has it, this long at most, like 30s; 60s at most. Then the exit code is 3.
    #[arg(long, value_name = "DURATION", value_parser = patience)]
    pub(crate) wait: Option<Period>,
    /// The form of the output.
    #[arg(short, long, value_enum, default_value_t)]
    pub(crate) output: Format,
}

/// Options of `enlace events`.
#[derive(Args)]
pub(crate) struct Events {
    /// NAME or NAMESPACE/NAME.
    pub(crate) name: DeviceKey,
    /// Begin with what came in after this record of the inbox; 0 for all that is kept.
    #[arg(long, value_name = "SEQUENCE")]
    pub(crate) after: Option<i64>,
    /// A line of text for each event, or one JSON value.
    #[arg(short, long, value_enum, default_value_t)]
    pub(crate) output: Lines,
}

/// The form of a stream of events.
#[derive(Clone, Copy, Default, ValueEnum)]
pub(crate) enum Lines {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
}

fn http_url(text: &str) -> Result<Url, String> {
    let url = text.parse().ok().filter(|url: &Url| matches!(url.scheme(), "http" | "https"));
    url.ok_or_else(|| "it is no URL like http://127.0.0.1:3000".to_owned())
}

/// An address to listen on; `localhost` is this machine's own.
fn address(text: &str) -> Result<SocketAddr, String> {
    let local = text.strip_prefix("localhost:").and_then(|port| port.parse().ok());
    let local = local.map(|port: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    local.or_else(|| text.parse().ok()).ok_or_else(|| {
        "write an address of this machine and a port: 127.0.0.1:3000, localhost:3000, or 0.0.0.0:3000 for all its addresses"
            .to_owned()
    })
}

/// How long to wait for a message.
fn patience(text: &str) -> Result<Period, String> {
    let wait: Period = text.parse().map_err(|error: InvalidPeriod| error.to_string())?;
    if wait.get() > Duration::from_secs(MAX_WAIT_SECONDS) {
        return Err(format!("it must be {MAX_WAIT_SECONDS}s at most"));
    }
    Ok(wait)
}

/// Where an application of this user keeps its data (XDG Base Directory).
fn default_data_dir() -> PathBuf {
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/share"));
    let base =
        std::env::var_os("XDG_DATA_HOME").map(PathBuf::from).filter(|path| path.is_absolute()).or_else(home);
    base.unwrap_or_else(std::env::temp_dir).join("enlace")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_api_listens_on_this_machine_only_unless_told() {
        let arguments = Arguments::try_parse_from(["enlace", "standalone", "devices"]).unwrap();
        let Command::Standalone(options) = arguments.command else { panic!("another command") };
        assert!(options.address().ip().is_loopback(), "{}", options.address());
    }

    #[test]
    fn an_address_to_listen_on_has_a_port() {
        for (text, read) in [
            ("localhost:8080", "127.0.0.1:8080"),
            ("127.0.0.1:0", "127.0.0.1:0"),
            ("0.0.0.0:3000", "0.0.0.0:3000"),
            ("[::1]:3000", "[::1]:3000"),
        ] {
            assert_eq!(address(text).unwrap().to_string(), read);
        }
        for text in ["localhost", "8080", ":8080", "everywhere", "localhost:99999", "example.com:80"] {
            assert!(address(text).unwrap_err().contains("localhost:3000"), "{text}");
        }
    }
}
