//! What every program does alike: which part of its log gets through, how it counts, how it says what went wrong, and when it stops.

use std::error::Error;
use std::io;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

/// The levels of a log.
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
/// Upper bounds of the buckets of what takes time, in seconds: a look-up takes a millisecond, a file that is sent a minute.
const SECONDS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 2.5, 10.0, 60.0];
/// How often samples are folded into their buckets: until then each of them is kept.
const UPKEEP: Duration = Duration::from_secs(5);

/// What `ENLACE_LOG` has in it that is no level and no level of a part.
#[derive(Debug, thiserror::Error)]
#[error(
    "ENLACE_LOG: {directive:?} is not understood: write off, error, warn, info, debug or trace for all of Enlace, name=level for a part of \
     it or for another crate, and commas between them"
)]
pub struct InvalidDirective {
    directive: String,
}

/// The directives of `tracing_subscriber::EnvFilter` for what is wanted of the log (`ENLACE_LOG`): by default our own crates at `info`.
///
/// A level for all means all that is ours, the crates whose names begin with one of `own`; of everything else only `least` gets through.
/// Whoever wants more of another crate names it.
///
/// # Errors
/// When something in it has no level: `EnvFilter` would take a level that is mistyped for the name of a crate, and be silent.
pub fn log_directives(least: &str, own: &[&str], wanted: Option<&str>) -> Result<String, InvalidDirective> {
    let level = |text: &str| LEVELS.contains(&text.to_ascii_lowercase().as_str());
    let wanted = wanted.filter(|wanted| !wanted.trim().is_empty()).unwrap_or("info");
    let mut directives = vec![least.to_owned()];
    for directive in wanted.split(',').map(str::trim) {
        match directive.rsplit_once('=') {
            None if level(directive) => {
                directives.extend(own.iter().map(|name| format!("{name}={directive}")));
            }
            Some((name, of)) if !name.is_empty() && level(of) => directives.push(directive.to_owned()),
            _ => return Err(InvalidDirective { directive: directive.to_owned() }),
        }
    }
    Ok(directives.join(","))
}

/// An error with all that led to it, in one line. What a layer repeats of those below it is said once.
pub fn chain(error: &dyn Error) -> String {
    let causes = std::iter::successors(error.source(), |error: &&dyn Error| (*error).source());
    causes.map(ToString::to_string).fold(error.to_string(), |line, cause| {
        if line.contains(&cause) { line } else { format!("{line}: {cause}") }
    })
}

/// Begins to count. What ends in `_seconds` is counted in buckets. Must be called within a Tokio runtime.
///
/// # Errors
/// When something counts already.
pub fn metrics() -> Result<PrometheusHandle, BuildError> {
    let recorder = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)?
        .install_recorder()?;
    let kept = recorder.clone();
    // Whether anybody asks for them or not: what is measured must not pile up.
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(UPKEEP).await;
            kept.run_upkeep();
        }
    });
    Ok(recorder)
}

/// `GET /metrics` in the text format of Prometheus. It has no personal data.
pub fn metrics_router(recorder: PrometheusHandle) -> Router {
    Router::new().route("/metrics", get(move || std::future::ready(recorder.render())))
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

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Layer {
        text: &'static str,
        #[source]
        below: Option<Box<Self>>,
    }

    #[test]
    fn what_a_layer_repeats_is_said_once() {
        let layers = ["the disk is full", "writing failed: the disk is full", "the message is not stored"];
        let error = layers.into_iter().fold(None, |below, text| Some(Box::new(Layer { text, below })));
        assert_eq!(chain(&*error.unwrap()), "the message is not stored: writing failed: the disk is full");
    }

    #[test]
    fn a_level_for_all_is_one_for_our_own_crates() {
        let directives = |wanted| log_directives("warn,other=off", &["enlace", "mine"], wanted).unwrap();
        let usual = "warn,other=off,enlace=info,mine=info";
        assert_eq!([directives(None), directives(Some("")), directives(Some(" "))], [usual; 3]);
        assert_eq!(
            directives(Some("Debug, kube=info,enlace_api::http=trace")),
            "warn,other=off,enlace=Debug,mine=Debug,kube=info,enlace_api::http=trace"
        );
    }

    #[test]
    fn what_has_no_level_is_refused() {
        for wrong in ["inof", "info,", "kube", "kube=", "=info", "kube=loud", "kube=info debug", "7"] {
            let error = log_directives("warn", &["enlace"], Some(wrong)).unwrap_err();
            assert!(error.to_string().starts_with("ENLACE_LOG: "), "{wrong:?}: {error}");
        }
    }
}
