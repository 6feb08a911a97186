//! What can be typed.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use enlace_contract::duration::Period;
use enlace_contract::name::DeviceKey;
use reqwest::Url;

use crate::output::Format;

/// `enlace --version`.
const VERSION: &str = if cfg!(feature = "simulator-trust") {
    concat!(env!("CARGO_PKG_VERSION"), " (trusts simulator (not for production))")
} else {
    concat!(env!("CARGO_PKG_VERSION"), " (trusts WhatsApp)")
};

/// WhatsApp numbers as resources.
#[derive(Parser)]
#[command(name = "enlace", version = VERSION)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) api: Api,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Which Enlace to ask.
#[derive(Args)]
pub(crate) struct Api {
    /// The URL of the API.
    #[arg(
        long,
        global = true,
        env = "ENLACE_URL",
        default_value = "http://127.0.0.1:3000",
        value_parser = http_url,
        help_heading = "API"
    )]
    pub(crate) url: Url,
    /// The token [default: the one that `enlace standalone` left in its data directory].
    #[arg(long, global = true, env = "ENLACE_TOKEN", hide_env_values = true, help_heading = "API")]
    pub(crate) token: Option<String>,
    /// The data directory of `enlace standalone`.
    #[arg(long, global = true, env = "ENLACE_DATA_DIR", default_value_os_t = default_data_dir(), help_heading = "API")]
    pub(crate) data_dir: PathBuf,
}

/// What to do.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Run the whole system in one process, on a folder of WhatsAppDevice manifests.
    ///
    /// Every *.yaml and *.yml file at the top of the folder is read; files that are added or changed are picked up. A file that disappears
    /// stops its device and keeps the session. It is for one machine: all numbers share one process.
    Standalone(Standalone),
    /// Show devices.
    Get(Get),
    /// Draw the QR code of a device, follow it until a phone has scanned it.
    Qr(Wait),
    /// Ask a device to pair again, and show its code.
    Pair(Wait),
    /// Send a message.
    Send(Send),
    /// Show what happens on a device, as it happens.
    Events(Events),
    /// Unlink a device at WhatsApp and erase its session. The declaration stays.
    Logout(Name),
    /// Unlink a device that the API created, and remove it with its data.
    Delete(Name),
}

/// Options of `enlace standalone`.
#[derive(Args)]
pub(crate) struct Standalone {
    /// The folder with the manifests.
    pub(crate) dir: PathBuf,
    /// Where everything is kept.
    #[arg(long, env = "ENLACE_DATA_DIR", default_value_os_t = default_data_dir())]
    pub(crate) data_dir: PathBuf,
    /// Where the API listens.
    #[arg(long, env = "ENLACE_LISTEN", default_value = "127.0.0.1:3000")]
    pub(crate) listen: SocketAddr,
}

/// Options of `enlace get`.
#[derive(Args)]
pub(crate) struct Get {
    /// What to show.
    #[arg(value_enum)]
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
    /// How long to wait for the phone.
    #[arg(long, default_value = "10m")]
    pub(crate) timeout: Period,
}

/// Options of `enlace send`.
#[derive(Args)]
pub(crate) struct Send {
    /// The device that sends: NAME or NAMESPACE/NAME.
    pub(crate) name: DeviceKey,
    /// To whom: a phone number with its country code, or a JID.
    #[arg(long)]
    pub(crate) to: String,
    /// The text; with a file, what stands under it.
    #[arg(long, required_unless_present = "file")]
    pub(crate) text: Option<String>,
    /// A file. A picture, a video or a sound goes as such, anything else as a document.
    #[arg(long)]
    pub(crate) file: Option<PathBuf>,
    /// Send the file as a document, whatever it is.
    #[arg(long, requires = "file")]
    pub(crate) document: bool,
    /// With the same key, the same message is stored once.
    #[arg(long)]
    pub(crate) idempotency_key: Option<String>,
    /// Wait until it is sent, this long at most.
    #[arg(long, value_name = "DURATION")]
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
    /// Begin after this record of the inbox; 0 for all that are kept.
    #[arg(long)]
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
    let url: Url = text.parse().map_err(|error| format!("{error}: it is like http://127.0.0.1:3000"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err("it begins with http:// or https://".to_owned());
    }
    Ok(url)
}

/// Where an application of this user keeps its data (XDG Base Directory).
fn default_data_dir() -> PathBuf {
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/share"));
    let base =
        std::env::var_os("XDG_DATA_HOME").map(PathBuf::from).filter(|path| path.is_absolute()).or_else(home);
    base.unwrap_or_else(std::env::temp_dir).join("enlace")
}
