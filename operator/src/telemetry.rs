//! Logs and metrics. No phone number, no code and no message is in either.

use enlace_contract::program::{self, InvalidDirective, log_directives};
use metrics::{describe_counter, describe_gauge, describe_histogram};
use metrics_exporter_prometheus::{BuildError, PrometheusHandle};
use tracing_subscriber::EnvFilter;

/// Begins to log, as JSON lines. A level for all means our own crates; of everything else only warnings get through.
///
/// # Errors
/// When something in it has no level.
pub fn log(wanted: Option<&str>) -> Result<(), InvalidDirective> {
    let filter = EnvFilter::new(log_directives("warn", &["enlace"], wanted)?);
    tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
    Ok(())
}

/// An error with all that led to it, in one line, without the numbers that the names of claims have.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut words = Vec::new();
    for error in std::iter::successors(Some(error), |error| error.source()) {
        // A refusal of the API server would say everything three times.
        if let Some(status) = refusal(error) {
            words.push(format!("{} ({})", status.message, status.reason));
            break;
        }
        words.push(error.to_string());
    }
    without_numbers(&words.join(": "))
}

/// What the API server said when it refused something.
fn refusal<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a kube::core::Status> {
    let boxed = || error.downcast_ref::<Box<kube::Error>>().map(AsRef::as_ref);
    match error.downcast_ref::<kube::Error>().or_else(boxed) {
        Some(kube::Error::Api(status)) => Some(status),
        _ => None,
    }
}

fn without_numbers(text: &str) -> String {
    let mut parts = text.split("number-");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| {
        let rest = part.trim_start_matches(|character: char| character.is_ascii_digit());
        format!("{text}number-{}{rest}", if rest.len() == part.len() { "" } else { "…" })
    })
}

/// Begins to count. Must be called within a Tokio runtime.
///
/// # Errors
/// When a recorder is installed already.
pub fn metrics() -> Result<PrometheusHandle, BuildError> {
    let handle = program::metrics()?;
    describe_counter!("enlace_operator_reconciles_total", "Looks at a device");
    describe_counter!("enlace_operator_reconcile_errors_total", "Looks that failed, by kind of error");
    describe_histogram!("enlace_operator_reconcile_seconds", "How long a look took");
    describe_counter!(
        "enlace_operator_status_writes_total",
        "Statuses that were written because they changed"
    );
    describe_counter!("enlace_operator_stream_errors_total", "Event streams that ended, by kind of error");
    describe_counter!("enlace_operator_watch_errors_total", "Watches that failed, by resource");
    describe_counter!("enlace_operator_events_dropped_total", "Events that the API server did not take");
    describe_counter!(
        "enlace_operator_restarts_total",
        "Pods that were restarted because their template changed"
    );
    describe_gauge!("enlace_operator_streams", "Devices that are followed");
    describe_gauge!("enlace_operator_leader", "1 for the replica that writes");
    describe_gauge!("enlace_operator_devices", "Devices, by phase");
    describe_gauge!(
        "enlace_operator_rollout_devices",
        "Devices that are away for a restart, wait for one, or are late"
    );
    describe_gauge!("enlace_operator_rollout_stopped", "1 when too many devices did not come back");
    Ok(handle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_of_the_api_server_is_told_once() {
        let status = kube::core::Status::failure("pods is forbidden", "Forbidden").with_code(403);
        let refused = || kube::Error::Api(Box::new(status.clone()));
        let error = crate::status::StatusError(Box::new(refused()));
        assert_eq!(chain(&error), "writing the status failed: pods is forbidden (Forbidden)");
        assert_eq!(chain(&refused()), "pods is forbidden (Forbidden)");
    }

    #[test]
    fn the_name_of_a_claim_shows_no_number_in_a_log() {
        let text = r#"leases "number-525550000001" is forbidden; number-claim"#;
        assert_eq!(without_numbers(text), r#"leases "number-…" is forbidden; number-claim"#);
    }
}
