//! Tables beside those of another system.

use enlace_api::database::{Database, DatabaseError, NewQueued};
use enlace_databases::Kind;
use futures::future::join_all;
use sqlx::any::{AnyConnectOptions, AnyRow};
use sqlx::{AnyConnection, AssertSqlSafe, ConnectOptions as _, Executor as _, Row as _};

use crate::on_every_database;
use crate::world::{World, moment, user};

on_every_database!(
    many_processes_may_start_at_once,
    a_second_start_changes_nothing,
    tables_of_another_system_stay_as_they_are,
    a_database_of_a_newer_version_is_refused,
    of_several_numbers_of_a_message_the_first_one_stays,
);

async fn connection(world: &World) -> AnyConnection {
    sqlx::any::install_default_drivers();
    let create = if world.kind.is_none() { "?mode=rwc" } else { "" };
    let options: AnyConnectOptions = format!("{}{create}", world.url).parse().unwrap();
    options.connect().await.unwrap()
}

async fn run(connection: &mut AnyConnection, sql: &str) {
    connection.execute(sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))).await.unwrap();
}

async fn tables(world: &World) -> Vec<String> {
    let sql = match world.kind {
        None => "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'",
        Some(Kind::Postgres) => {
            "SELECT CAST(table_name AS TEXT) FROM information_schema.tables \
             WHERE table_schema = 'public'"
        }
        Some(Kind::MariaDb) => {
            "SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE()"
        }
    };
    let rows: Vec<AnyRow> = sqlx::query(sql).fetch_all(&mut connection(world).await).await.unwrap();
    // Each database has its own idea of an order.
    let mut tables: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    tables.sort();
    tables
}

async fn many_processes_may_start_at_once(world: World) {
    let starts = (0..8).map(|_| tokio::spawn(Database::connect(world.url())));
    for (number, database) in join_all(starts).await.into_iter().enumerate() {
        user(&database.unwrap().unwrap(), &number.to_string()).await;
    }
}

async fn a_second_start_changes_nothing(world: World) {
    let database = world.database().await;
    let maria = user(&database, "maria").await;
    database.prepare().await.unwrap();
    database.close().await;
    assert_eq!(world.database().await.users("", 10).await.unwrap(), [maria]);
}

async fn tables_of_another_system_stay_as_they_are(world: World) {
    let mut other = connection(&world).await;
    // Names that we, or the library of our migrations, could have wanted.
    for table in ["users", "usuarios", "tokens", "_sqlx_migrations"] {
        run(&mut other, &format!("CREATE TABLE {table} (version INTEGER); INSERT INTO {table} VALUES (7)"))
            .await;
    }
    let database = world.database().await;
    user(&database, "maria").await;
    for table in ["users", "usuarios", "tokens", "_sqlx_migrations"] {
        let sql = AssertSqlSafe(format!("SELECT version FROM {table}"));
        let rows: Vec<AnyRow> = sqlx::query(sql).fetch_all(&mut other).await.unwrap();
        assert_eq!(rows.iter().map(|row| row.get::<i64, _>(0)).collect::<Vec<_>>(), [7], "{table}");
    }
    assert_eq!(
        tables(&world).await,
        [
            "_sqlx_migrations",
            "enlace_instances",
            "enlace_migrations",
            "enlace_queue",
            "enlace_tokens",
            "enlace_users",
            "tokens",
            "users",
            "usuarios",
        ]
    );
}

async fn a_database_of_a_newer_version_is_refused(world: World) {
    world.database().await.close().await;
    let later = "UPDATE enlace_migrations SET version = 9000 WHERE version = 1";
    run(&mut connection(&world).await, later).await;
    let error = Database::lazy(world.url()).prepare_with_patience().await.unwrap_err();
    assert!(matches!(error, DatabaseError::Migrate { .. }), "{error:?}");
    assert!(!error.is_transient());
}

async fn of_several_numbers_of_a_message_the_first_one_stays(world: World) {
    let database = world.database().await;
    let maria = user(&database, "maria").await;
    database.close().await;
    // As it was with version 1.
    let drop = match world.kind {
        None | Some(Kind::Postgres) => "DROP INDEX enlace_queue_by_message",
        Some(Kind::MariaDb) => "DROP INDEX enlace_queue_by_message ON enlace_queue",
    };
    let mut other = connection(&world).await;
    run(&mut other, &format!("{drop}; DELETE FROM enlace_migrations WHERE version > 1")).await;
    for message in ["a", "b", "a", "b", "a"] {
        let insert = format!(
            "INSERT INTO enlace_queue (user_id, device_namespace, device_name, message_id, created_at) \
             VALUES ('{}', 'shop', 'billing', '{message}', 0)",
            maria.id
        );
        run(&mut other, &insert).await;
    }
    let database = world.database().await;
    let device = "shop/billing".parse().unwrap();
    let new = ["a", "b", "c"].map(|message_id| NewQueued { user_id: &maria.id, device: &device, message_id });
    let numbers = database.enqueue(&new, moment(0)).await.unwrap();
    assert!(numbers[..2] == [1, 2] && numbers[2] > 5, "{numbers:?}");
    assert_eq!(database.prune_queue(moment(1), 10).await.unwrap(), 3);
}
