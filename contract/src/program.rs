//! What every program does alike: which part of its log gets through, and when it stops.

use std::io;

use tracing::level_filters::LevelFilter;

/// The directives of `tracing_subscriber::EnvFilter` for what is wanted of the log (`ENLACE_LOG`): by default our own crates at `info`.
///
/// A level for all means all that is ours, the crates whose names begin with one of `own`; of everything else only `least` gets through.
/// Whoever wants more of another crate names it.
pub fn log_directives(least: &str, own: &[&str], wanted: Option<&str>) -> String {
    let directive = |directive: &str| match directive.trim().parse::<LevelFilter>() {
        Ok(level) => own.iter().map(|name| format!("{name}={level}")).collect::<Vec<_>>().join(","),
        Err(_) => directive.to_owned(),
    };
    let wanted: Vec<_> = wanted.unwrap_or("info").split(',').map(directive).collect();
    format!("{least},{}", wanted.join(","))
}

/// Resolves when the process is asked to end, by SIGTERM or SIGINT; both are heard from the call on.
///
/// # Errors
/// When signals cannot be heard.
pub fn asked_to_stop() -> io::Result<impl Future<Output = ()> + Send + 'static> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_for_all_is_one_for_our_own_crates() {
        assert_eq!(log_directives("warn", &["enlace"], None), "warn,enlace=info");
        assert_eq!(
            log_directives("warn,other=off", &["enlace", "mine"], Some("debug,kube=info")),
            "warn,other=off,enlace=debug,mine=debug,kube=info"
        );
    }
}
