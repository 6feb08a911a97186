//! A server that stands still, or is gone for a while.

use std::time::Duration;

use enlace_api::database::{Database, DatabaseError, NewQueued, NewToken};
use enlace_databases::{Kind, Server};
use futures::future::join_all;
use tokio::time::{Instant, timeout};

use crate::world::{installed, moment, user};

/// What an operation may take, and a little for a machine that is busy.
const LIMIT: Duration = Duration::from_secs(6);
/// The same for a probe.
const HEALTH_LIMIT: Duration = Duration::from_secs(3);
/// A server that is back is used again within this time.
const RECOVERY: Duration = Duration::from_secs(10);

macro_rules! on_own_servers {
    ($($test:ident),*) => {
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                if super::installed(enlace_databases::Kind::Postgres) {
                    super::$test(enlace_databases::Kind::Postgres).await;
                }
            })*
        }
        mod mariadb {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                if super::installed(enlace_databases::Kind::MariaDb) {
                    super::$test(enlace_databases::Kind::MariaDb).await;
                }
            })*
        }
    };
}

on_own_servers!(
    a_server_that_stands_still_holds_nobody,
    callers_that_give_up_take_no_connection_along,
    a_server_that_was_gone_is_used_again,
    numbers_stay_valid_over_a_restart_of_the_server
);

async fn start(kind: Kind) -> (Server, Database) {
    let server = Server::start(kind).await.unwrap();
    let url = server.new_database().await.unwrap();
    let database = Database::connect(url.parse().unwrap()).await.unwrap();
    (server, database)
}

#[track_caller]
fn is_lost<T: std::fmt::Debug>(result: Result<T, DatabaseError>) {
    match result {
        Err(DatabaseError::Unavailable(_) | DatabaseError::TimedOut { .. }) => {}
        other => panic!("{other:?}"),
    }
}

/// Waits until the database answers again, by itself.
async fn recovers(database: &Database) {
    timeout(RECOVERY, async { while database.ping().await.is_err() {} }).await.expect("it did not recover");
}

/// Every kind of operation at once, more of them than there are connections.
async fn everything_is_lost_in_time(database: &Database, user_id: &str) {
    let started = Instant::now();
    let operations = (0..40).map(|number| {
        let (database, user_id) = (database.clone(), user_id.to_owned());
        tokio::spawn(async move {
            match number % 5 {
                0 => is_lost(database.token_by_hash("hash", moment(0)).await),
                1 => is_lost(database.set_password(&user_id, "new", None).await),
                2 => is_lost(database.create_user(&number.to_string(), "hash", false, moment(0)).await),
                3 => is_lost(database.delete_user(&user_id).await),
                // Callers that share a statement share its time, too.
                _ => {
                    let device = "billing".parse().unwrap();
                    let new = NewQueued { user_id: &user_id, device: &device, message_id: "m" };
                    is_lost(database.enqueue(&[new], moment(0)).await);
                }
            }
        })
    });
    for operation in join_all(operations).await {
        operation.unwrap();
    }
    assert!(started.elapsed() < LIMIT, "{:?}", started.elapsed());
    let started = Instant::now();
    is_lost(database.ping().await);
    assert!(started.elapsed() < HEALTH_LIMIT, "{:?}", started.elapsed());
}

async fn a_server_that_stands_still_holds_nobody(kind: Kind) {
    let (server, database) = start(kind).await;
    let maria = user(&database, "maria").await;
    // Every connection is open when it happens.
    join_all((0..20).map(|_| database.user(&maria.id))).await;
    server.freeze().unwrap();
    everything_is_lost_in_time(&database, &maria.id).await;
    everything_is_lost_in_time(&database, &maria.id).await;
    server.thaw().unwrap();
    recovers(&database).await;
    let new = NewToken { user_id: &maria.id, name: "t", devices: None, actions: None, expires_at: None };
    // What timed out may have been done later: the server had it already.
    let _ = database.create_token(new, "hash", moment(0)).await;
    join_all((0..20).map(async |_| database.ping().await.unwrap())).await;
}

async fn callers_that_give_up_take_no_connection_along(kind: Kind) {
    let (server, database) = start(kind).await;
    let maria = user(&database, "maria").await;
    join_all((0..20).map(|_| database.user(&maria.id))).await;
    server.freeze().unwrap();
    // Twice as many as there are connections, each dropped in the middle.
    let gave_up =
        join_all((0..20).map(|_| timeout(Duration::from_millis(300), database.user(&maria.id)))).await;
    assert!(gave_up.iter().all(Result::is_err));
    server.thaw().unwrap();
    recovers(&database).await;
    let started = Instant::now();
    for found in join_all((0..20).map(|_| database.user(&maria.id))).await {
        assert_eq!(found.unwrap().as_ref(), Some(&maria));
    }
    assert!(started.elapsed() < LIMIT, "{:?}", started.elapsed());
}

async fn a_server_that_was_gone_is_used_again(kind: Kind) {
    let (mut server, database) = start(kind).await;
    let maria = user(&database, "maria").await;
    join_all((0..20).map(|_| database.user(&maria.id))).await;
    server.stop().unwrap();
    everything_is_lost_in_time(&database, &maria.id).await;
    server.start_again().await.unwrap();
    recovers(&database).await;
    assert_eq!(database.user(&maria.id).await.unwrap(), Some(maria));
}

async fn numbers_stay_valid_over_a_restart_of_the_server(kind: Kind) {
    let (mut server, database) = start(kind).await;
    let maria = user(&database, "maria").await;
    let device = "billing".parse().unwrap();
    let new = [NewQueued { user_id: &maria.id, device: &device, message_id: "m" }; 2];
    let before = database.enqueue(&new, moment(0)).await.unwrap();
    database.prune_queue(moment(1), 10).await.unwrap();
    server.stop().unwrap();
    server.start_again().await.unwrap();
    recovers(&database).await;
    let after = database.enqueue(&new, moment(0)).await.unwrap();
    assert!(after[0] > before[1], "{before:?} {after:?}");
}
