//! The database on SQLite, PostgreSQL and MariaDB: the same tests on all three.
//!
//! Servers come from `enlace-databases`. One of each kind serves all tests that leave it alone, each in a database of its own. Where a server
//! is not installed, its tests say so and do nothing: `cargo xtask test` installs them.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail by panicking")]

mod accounts;
mod answers;
mod concurrency;
mod instances;
mod migrations;
mod outage;
mod queue;
mod start;
mod tokens;
mod users;
mod world;

#[path = "../../../tests/skipped.rs"]
mod skipped;

/// The tests of a module, on every database: each takes a [`world::World`].
#[macro_export]
macro_rules! on_every_database {
    ($($test:ident),* $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                super::$test($crate::world::World::sqlite()).await;
            })*
        }
        $crate::on_every_server!($($test),*);
    };
}

/// The same without SQLite.
#[macro_export]
macro_rules! on_every_server {
    ($($test:ident),* $(,)?) => {
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                if let Some(world) = $crate::world::World::on_server(enlace_databases::Kind::Postgres).await {
                    super::$test(world).await;
                }
            })*
        }
        mod mariadb {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                if let Some(world) = $crate::world::World::on_server(enlace_databases::Kind::MariaDb).await {
                    super::$test(world).await;
                }
            })*
        }
    };
}
