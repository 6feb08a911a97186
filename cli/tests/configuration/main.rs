//! `enlace standalone` configured by the names that were in use before: `DB_*`, `PORT`, a file `.env`.
//!
//! MariaDB is a real server; where it is not installed, its test says that it was skipped.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

#[path = "../enlace/program.rs"]
#[expect(dead_code, reason = "the tests of the commands need more of it")]
mod program;
#[path = "../../../tests/skipped.rs"]
mod skipped;
#[path = "../enlace/standalone.rs"]
#[expect(dead_code, reason = "the tests of the commands need more of it")]
mod standalone;
#[path = "../enlace/world.rs"]
#[expect(dead_code, reason = "the tests of the commands need more of it")]
mod world;

use enlace_databases::{Kind, Server};
use serde_json::json;
use sqlx::{Connection as _, Executor as _, MySqlConnection, Row as _};
use tokio::process::Command;

use crate::program::Program;
use crate::world::World;

/// The tables that are there before, in a database of theirs.
const SCHEMA: &str = include_str!("../../../tests/compat/schema.sql");
const ROWS: &str = "INSERT INTO usuarios (numero, email, password, token, nombre) \
    VALUES ('525550000001', NULL, 'x', 'y', 'Ana'); \
    INSERT INTO dispositivos_whatsapp (numero, nombre, instancia_id, usuario_id) \
    VALUES ('525550000001', 'Ventas', 'NTI1NTUwMDAwMDAx', 1); \
    INSERT INTO cola_mensajes (instancia_id, numero_destino, mensaje, tipo) \
    VALUES ('NTI1NTUwMDAwMDAx', '525550000002', 'Hola', 'texto')";
const TABLES: [&str; 3] = ["usuarios", "dispositivos_whatsapp", "cola_mensajes"];

/// `enlace standalone` without an option that says where it listens.
fn standalone(world: &World) -> Command {
    let mut command = world.command(&["standalone"]);
    command.arg(world.path("devices")).current_dir(world.path(""));
    command
}

/// The definition of each table and a sum of its rows.
async fn before(connection: &mut MySqlConnection) -> Vec<(String, i64)> {
    let mut found = Vec::new();
    for table in TABLES {
        let ask = |what: &str| sqlx::AssertSqlSafe(format!("{what} TABLE {table}"));
        let definition = connection.fetch_one(sqlx::raw_sql(ask("SHOW CREATE"))).await.unwrap().get(1);
        let sum = connection.fetch_one(sqlx::raw_sql(ask("CHECKSUM"))).await.unwrap().get(1);
        found.push((definition, sum));
    }
    found
}

#[tokio::test]
async fn the_database_that_was_there_before_is_used_beside_its_tables_and_nothing_in_them_changes() {
    if Kind::MariaDb.program().is_none() {
        skipped::skipped("a test on MariaDB", "install the package mariadb-server");
        return;
    }
    let server = Server::start(Kind::MariaDb).await.unwrap();
    let url = server.new_database().await.unwrap();
    let mut connection = MySqlConnection::connect(&url.replacen("mariadb:", "mysql:", 1)).await.unwrap();
    connection.execute(sqlx::raw_sql(SCHEMA)).await.unwrap();
    connection.execute(sqlx::raw_sql(ROWS)).await.unwrap();
    let tables = before(&mut connection).await;

    let world = World::new().await;
    let account = |text: &str| text.replace("%2F", "/").replace("%3F", "?");
    let (user, password) =
        url.split_once("://").unwrap().1.split_once('@').unwrap().0.split_once(':').unwrap();
    let name = url.rsplit_once('/').unwrap().1;
    // As it stands in the configuration of what was there before.
    let file = format!(
        "# Base de datos\nDB_HOST=127.0.0.1\nDB_USER={user}\nDB_PASSWORD='{}'\nDB_NAME={name}\nDB_PORT={}\nPORT=0\nNODE_ENV=production\n",
        account(password),
        server.port()
    );
    std::fs::write(world.path(".env"), file).unwrap();
    let enlace = world.start_with(standalone(&world)).await;
    let registered = json!({ "numero": "525550000003", "password": "clave-larga", "name": "Luis" });
    assert_eq!(enlace.call("POST", "/api/registro", Some(registered)).await.0, 200);
    assert_eq!(enlace.call("GET", "/api/health", None).await.1["db"], true);
    enlace.stop().await;

    assert_eq!(before(&mut connection).await, tables);
    let users = "SELECT COUNT(*) FROM enlace_users";
    let users: i64 = connection.fetch_one(users).await.unwrap().get(0);
    assert_eq!(users, 2, "the first administrator and who registered");
    assert!(!world.data().join("enlace.db").exists(), "there is a second database");
}

#[tokio::test]
async fn a_database_server_that_is_away_is_one_line_with_its_address_and_without_its_password() {
    let world = World::new().await;
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut command = standalone(&world);
    command.env("DB_HOST", "127.0.0.1").env("DB_PORT", free.to_string()).env("DB_PASSWORD", "s3cret");
    command.env("PORT", "0");
    let ended = Program::start(command).ended().await;
    let line = ended.refused();
    assert!(line.contains(&format!("whatsapp at 127.0.0.1:{free}")) && !line.contains("s3cret"), "{line}");
}

#[tokio::test]
async fn without_a_database_server_sqlite_is_used_and_a_port_is_of_this_machine_alone() {
    let world = World::new().await;
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    std::fs::write(world.path(".env"), format!("PORT={free}\nDB_PASSWORD=\n")).unwrap();
    let enlace = world.start_with(standalone(&world)).await;
    assert_eq!(enlace.url, format!("http://127.0.0.1:{free}"));
    assert!(world.data().join("enlace.db").exists());
    enlace.stop().await;
}

#[tokio::test]
async fn what_stands_in_the_environment_goes_before_the_file() {
    let world = World::new().await;
    std::fs::write(world.path(".env"), "PORT=1\n").unwrap();
    let mut command = standalone(&world);
    command.env("PORT", "0");
    let enlace = world.start_with(command).await;
    assert_ne!(enlace.url, "http://127.0.0.1:1");
    enlace.stop().await;
}

#[tokio::test]
async fn the_file_is_read_as_node_reads_it_and_what_is_empty_is_not_set() {
    let world = World::new().await;
    let file = "hola\nDB-X.Y=1\nDB_HOST=\nENLACE_LISTEN=`127.0.0.1:1`\nENLACE_LISTEN: 127.0.0.1:0 # the last\n\
        export ENLACE_COMPATIBLE_ANONYMOUS_COUNTS = 1#\nENLACE_COMPATIBLE_MAX_TOKENS=\nENLACE_SEED_LOG=\n";
    std::fs::write(world.path(".env"), file).unwrap();
    let mut command = standalone(&world);
    command.env("PORT", "");
    let enlace = world.start_with(command).await;
    let counts = json!({ "totalClients": 0, "connectedClients": 0, "connections": {} });
    assert_eq!(enlace.call("GET", "/api/connections", None).await, (200, counts));
    enlace.stop().await;
}

#[tokio::test]
async fn the_log_lines_that_scripts_look_for_are_there_when_they_are_asked_for() {
    let world = World::with_billing().await;
    let quiet = world.start().await;
    quiet.until_phase("billing", "AwaitingScan").await;
    assert!(!quiet.program.stderr.text().contains("Conectando WhatsApp"));
    quiet.stop().await;

    let mut command = world.standalone();
    command.env("ENLACE_SEED_LOG", "1");
    let enlace = world.start_with(command).await;
    let port = enlace.url.rsplit_once(':').unwrap().1.trim_end_matches('/').to_owned();
    enlace.program.stderr.line(&format!("API escuchando en puerto {port}")).await;
    enlace.program.stderr.line("Sistema iniciado correctamente").await;
    enlace.link("billing", world::NUMBER).await;
    let connected = format!("Cliente {} conectado exitosamente a WhatsApp", world::NUMBER);
    enlace.program.stderr.line(&connected).await;
    enlace.stop().await;
    world.assert_one_client_at_a_time().await;
}
