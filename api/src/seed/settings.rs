//! What an installation may set of the compatible API, on the command line or in the environment.

use std::time::Duration;

use clap::builder::BoolishValueParser;
use clap::{ArgAction, Args};
use enlace_contract::duration::Period;
use enlace_contract::name::DeviceKey;
use ipnet::IpNet;

/// What an installation may set.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Compatible API (/api)")]
pub struct Settings {
    /// The namespace of devices that are added there.
    #[arg(
        id = "compatible-namespace",
        long = "compatible-namespace",
        value_name = "NAMESPACE",
        env = "ENLACE_COMPATIBLE_NAMESPACE",
        default_value = DeviceKey::DEFAULT_NAMESPACE,
        value_parser = namespace
    )]
    pub namespace: String,
    /// Answer /api/connections without a token with counts, and no numbers.
    #[arg(
        long = "compatible-anonymous-counts",
        env = "ENLACE_COMPATIBLE_ANONYMOUS_COUNTS",
        value_parser = BoolishValueParser::new(),
        action = ArgAction::SetTrue
    )]
    pub anonymous_counts: bool,
    /// Whether anybody who reaches the API may make an account, and with it devices; if not, an administrator makes the accounts.
    #[arg(
        long = "compatible-registration",
        value_name = "BOOL",
        env = "ENLACE_COMPATIBLE_REGISTRATION",
        default_value_t = false,
        value_parser = BoolishValueParser::new(),
        action = ArgAction::Set
    )]
    pub registration: bool,
    /// Write the log lines that scripts may look for ("✅ Cliente … conectado exitosamente a WhatsApp" …). They have phone numbers in them.
    #[arg(
        long = "compatible-log",
        env = "ENLACE_SEED_LOG",
        value_parser = BoolishValueParser::new(),
        action = ArgAction::SetTrue
    )]
    pub log: bool,
    /// Devices that one user may have.
    #[arg(
        long = "compatible-max-devices",
        value_name = "COUNT",
        env = "ENLACE_COMPATIBLE_MAX_DEVICES",
        default_value_t = 100
    )]
    pub max_devices: usize,
    /// Tokens of logins that one user may have; one more ends the one that was not used for longest.
    #[arg(
        long = "compatible-max-tokens",
        value_name = "COUNT",
        env = "ENLACE_COMPATIBLE_MAX_TOKENS",
        default_value_t = 100
    )]
    pub max_tokens: usize,
    /// For how long the token of a login is good, like 720h [default: until it is revoked].
    #[arg(
        long = "compatible-token-lifetime",
        value_name = "DURATION",
        env = "ENLACE_COMPATIBLE_TOKEN_LIFETIME",
        value_parser = lifetime
    )]
    pub token_lifetime: Option<Duration>,
    /// An address range, like 10.1.0.0/16, from which files are fetched although it is private; may be repeated.
    #[arg(
        id = "compatible-media-allow",
        long = "compatible-media-allow",
        value_name = "CIDR",
        env = "ENLACE_COMPATIBLE_MEDIA_ALLOW",
        value_delimiter = ','
    )]
    pub media_allow: Vec<IpNet>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            namespace: DeviceKey::DEFAULT_NAMESPACE.to_owned(),
            anonymous_counts: false,
            registration: false,
            log: false,
            max_devices: 100,
            max_tokens: 100,
            token_lifetime: None,
            media_allow: Vec::new(),
        }
    }
}

fn namespace(text: &str) -> Result<String, String> {
    match DeviceKey::new(text, "device") {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

fn lifetime(text: &str) -> Result<Duration, String> {
    text.parse::<Period>().map(Period::get).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser as _;

    #[derive(clap::Parser)]
    struct Program {
        #[command(flatten)]
        compatible: Settings,
    }

    #[test]
    fn what_is_not_set_is_the_default() {
        let read = Program::try_parse_from(["program"]).unwrap().compatible;
        assert_eq!(format!("{read:?}"), format!("{:?}", Settings::default()));
    }

    #[test]
    fn every_option_is_a_value_of_the_chart() {
        let chart = concat!(env!("CARGO_MANIFEST_DIR"), "/../charts/enlace/templates/api/deployment.yaml");
        let chart = std::fs::read_to_string(chart).unwrap();
        let program = Settings::augment_args(clap::Command::new("program"));
        for option in program.get_arguments() {
            let variable =
                option.get_env().and_then(|name| name.to_str()).expect("an option without a variable");
            assert!(chart.contains(&format!("- name: {variable}\n")), "{variable} is no value of the chart");
        }
    }

    #[test]
    fn a_switch_has_the_same_words_everywhere() {
        let program = Settings::augment_args(clap::Command::new("program"));
        let switches = ["anonymous_counts", "registration", "log"];
        for (word, is) in
            [("1", true), ("0", false), ("true", true), ("FALSE", false), ("yes", true), ("no", false)]
        {
            for switch in switches {
                let option = program.get_arguments().find(|option| option.get_id() == switch).unwrap();
                let parser = option.get_value_parser().clone();
                let option = clap::Arg::new("x").long("x").value_parser(parser);
                let read = clap::Command::new("program").arg(option);
                let read = read.try_get_matches_from(["program", &format!("--x={word}")]).unwrap();
                assert_eq!(read.get_one::<bool>("x"), Some(&is), "{switch}={word}");
            }
        }
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for wrong in [
            ["--compatible-namespace", "No/Name"],
            ["--compatible-token-lifetime", "a year"],
            ["--compatible-registration", "perhaps"],
            ["--compatible-media-allow", "everything"],
        ] {
            assert!(Program::try_parse_from(["program"].into_iter().chain(wrong)).is_err(), "{wrong:?}");
        }
    }
}
