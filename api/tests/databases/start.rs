//! The start, with a database that is away or asks for more.

use std::error::Error;
use std::time::Duration;

use enlace_api::database::{Database, DatabaseError};
use enlace_databases::{Kind, Server};
use tokio::time::timeout;

use crate::world::{World, installed, user};
use crate::{on_every_database, on_every_server};

mod away {
    super::on_every_server!(a_wrong_password_is_told_without_it);
    use super::a_wrong_password_is_told_without_it;
}
on_every_database!(nothing_is_asked_of_a_database_that_is_not_ready);

/// The line of a log: an error with its causes.
fn line(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        line = format!("{line}: {cause}");
        source = cause.source();
    }
    line
}

async fn nothing_is_asked_of_a_database_that_is_not_ready(world: World) {
    let database = Database::lazy(world.url());
    assert!(matches!(database.ping().await, Err(DatabaseError::NotPrepared)));
    assert!(matches!(database.has_users().await, Err(DatabaseError::NotPrepared)));
    database.prepare().await.unwrap();
    assert!(!database.has_users().await.unwrap());
}

async fn a_wrong_password_is_told_without_it(world: World) {
    let error = Database::connect(world.url.replace("s3cret", "s4cret").parse().unwrap()).await.unwrap_err();
    let line = line(&error);
    assert!(line.contains("127.0.0.1:"), "{line}");
    assert!(line.contains("enlace"), "{line}");
    assert!(!line.contains("cret"), "{line}");
    assert_eq!(line.lines().count(), 1, "{line}");
}

/// A port on which nobody listens.
fn dead_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[tokio::test]
async fn a_database_that_is_away_is_named_with_host_and_port_and_no_password() {
    for scheme in ["postgres", "mysql"] {
        let port = dead_port();
        let url = format!("{scheme}://enlace:s3cret@127.0.0.1:{port}/shop");
        let error = Database::connect(url.parse().unwrap()).await.unwrap_err();
        let line = line(&error);
        assert!(
            line.starts_with(&format!("the database shop at 127.0.0.1:{port} cannot be opened: ")),
            "{line}"
        );
        assert!(line.contains("Connection refused"), "{line}");
        assert!(!line.contains("s3cret"), "{line}");
        assert_eq!(line.lines().count(), 1, "{line}");
    }
}

#[tokio::test]
async fn a_database_that_takes_connections_and_says_nothing_holds_the_start_for_seconds_only() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    for scheme in ["postgres", "mysql"] {
        let url = format!("{scheme}://enlace@127.0.0.1:{port}/shop");
        let connect = Database::connect(url.parse().unwrap());
        let error = timeout(Duration::from_secs(8), connect).await.expect("it hangs").unwrap_err();
        assert!(matches!(error, DatabaseError::Open { .. }), "{error:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_that_waits_goes_on_when_the_database_comes() {
    for kind in Kind::ALL {
        if !installed(kind) {
            continue;
        }
        let mut server = Server::start(kind).await.unwrap();
        let url = server.new_database().await.unwrap();
        server.stop().unwrap();
        let database = Database::lazy(url.parse().unwrap());
        let waiting = tokio::spawn({
            let database = database.clone();
            async move { database.prepare_with_patience().await }
        });
        assert!(matches!(database.ping().await, Err(DatabaseError::NotPrepared)));
        server.start_again().await.unwrap();
        timeout(Duration::from_secs(30), waiting).await.expect("it still waits").unwrap().unwrap();
        user(&database, "maria").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_is_reached_through_tls_and_only_with_its_own_certificate() {
    for kind in Kind::ALL {
        if !installed(kind) {
            continue;
        }
        let server = Server::start_with_tls(kind).await.unwrap();
        let (mode, authority, strict) = match kind {
            Kind::Postgres => ("sslmode", "sslrootcert", "verify-full"),
            Kind::MariaDb => ("ssl-mode", "ssl-ca", "VERIFY_IDENTITY"),
        };
        let url = format!("{}?{mode}={strict}", server.new_database().await.unwrap());
        let trusting = format!("{url}&{authority}={}", server.certificate().display());
        user(&Database::connect(trusting.parse().unwrap()).await.unwrap(), "maria").await;
        let error = Database::connect(url.parse().unwrap()).await.unwrap_err();
        assert!(line(&error).contains("certificate"), "{}", line(&error));
    }
}
