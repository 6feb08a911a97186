//! What may be in a log.
//!
//! The engine logs under names of many kinds, and tells phone numbers and pairing codes from `info` on, messages from `debug` on. So a level
//! for all means all that is ours; of everything else only warnings get through, and of the engine only errors. Whoever wants more of
//! another crate names it.

use enlace_contract::program::{InvalidDirective, log_directives};

/// The least that is logged: what is wanted is laid over it.
const LEAST: &str = "warn,whatsapp_rust=error,wacore=error";

/// The directives of `tracing_subscriber::EnvFilter` for what is wanted of the log (`ENLACE_LOG`): by default our own crates at `info`.
///
/// # Errors
/// When something in it has no level.
pub fn directives(wanted: Option<&str>) -> Result<String, InvalidDirective> {
    // Our crates' names begin with these.
    log_directives(LEAST, &["enlace", "device_pod"], wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_for_all_is_one_for_our_own_crates() {
        assert_eq!(directives(None).unwrap(), format!("{LEAST},enlace=info,device_pod=info"));
        let wanted = "debug,enlace_api=trace,sqlx=info";
        let directives = directives(Some(wanted)).unwrap();
        assert_eq!(directives, format!("{LEAST},enlace=debug,device_pod=debug,enlace_api=trace,sqlx=info"));
    }
}
