//! What cannot be done is said in one line that names the thing and what to do.

use std::path::Path;

use tokio::net::TcpListener;
use tokio::process::Command;

use crate::program::{Ended, Program};
use crate::skipped::skipped;
use crate::world::World;

/// A user and a group that own nothing.
const NOBODY: u32 = 65534;

/// `enlace standalone` that does not start.
async fn standalone(world: &World, arguments: &[&str]) -> Ended {
    let mut command = world.command(&["standalone", "--listen", "127.0.0.1:0"]);
    command.args(arguments);
    Program::start(command).ended().await
}

#[tokio::test]
async fn a_port_in_use() {
    let world = World::new().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let mut command = world.command(&["standalone", "--listen", &address]);
    command.arg(world.path("devices"));
    let ended = Program::start(command).ended().await;
    let line = ended.refused();
    assert!(line.contains(&address) && line.contains("--listen"), "{line}");
    assert!(!world.data().exists(), "nothing was begun");
}

#[tokio::test]
async fn a_level_of_the_log_that_is_none() {
    let world = World::new().await;
    let mut command = world.command(&["standalone"]);
    command.arg(world.path("devices")).env("ENLACE_LOG", "inof");
    let ended = Program::start(command).ended().await;
    let line = ended.refused();
    assert!(
        line.starts_with("ENLACE_LOG: \"inof\" is not understood: write off, error, warn, info"),
        "{line}"
    );
    assert!(!world.data().exists(), "nothing was begun");
}

#[tokio::test]
async fn a_folder_that_is_none() {
    let world = World::new().await;
    let missing = world.path("missing");
    let missing = missing.to_str().unwrap();
    let ended = standalone(&world, &[missing]).await;
    assert_eq!(ended.refused(), format!("{missing} does not exist: name the folder with the manifests"));

    let file = world.path("a-file");
    std::fs::write(&file, "").unwrap();
    let file = file.to_str().unwrap();
    let ended = standalone(&world, &[file]).await;
    assert_eq!(ended.refused(), format!("{file} is not a folder: name the folder with the manifests"));
    assert!(!world.data().exists(), "nothing was begun");
}

#[tokio::test]
async fn data_that_cannot_be_written() {
    let world = World::new().await;
    std::fs::write(world.path("a-file"), "").unwrap();
    let below = world.path("a-file/data");
    let folder = world.path("devices");
    let arguments = [folder.to_str().unwrap(), "--data-dir", below.to_str().unwrap()];
    let ended = standalone(&world, &arguments).await;
    let line = ended.refused();
    assert!(line.contains(below.to_str().unwrap()) && line.contains("--data-dir"), "{line}");
}

#[tokio::test]
async fn data_that_others_may_read() {
    let world = World::new().await;
    std::fs::create_dir(world.data()).unwrap();
    for mode in [0o755, 0o750, 0o701] {
        permit(&world.data(), mode);
        let ended = Program::start(world.standalone()).ended().await;
        let data = world.data().display().to_string();
        assert_eq!(
            ended.refused(),
            format!(
                "other users may enter the data directory {data} (its mode is {mode:o}), and sessions are kept in it: \
                 `chmod 700 {data}`, or choose another with --data-dir"
            )
        );
    }
    assert_eq!(std::fs::read_dir(world.data()).unwrap().count(), 0, "nothing was begun");
    permit(&world.data(), 0o700);
    world.start().await.stop().await;
}

fn permit(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// A world whose data directory is the unprivileged user's; none where nobody can be that, which is said.
async fn of_an_unprivileged_user() -> Option<World> {
    let world = World::new().await;
    std::fs::create_dir(world.data()).unwrap();
    permit(&world.path("."), 0o755);
    permit(&world.data(), 0o700);
    if is_root() {
        std::os::unix::fs::chown(world.data(), Some(NOBODY), Some(NOBODY)).unwrap();
    }
    let mut probe = unprivileged(&world);
    let may_start = probe.arg("--version").output().await.is_ok_and(|output| output.status.success());
    if !may_start {
        skipped("a test of permissions", "no user without privileges can start enlace here (setpriv)");
    }
    may_start.then_some(world)
}

/// Its `enlace standalone`.
fn unprivileged_standalone(world: &World) -> Command {
    let mut start = unprivileged(world);
    start.args(["standalone", "--listen", "127.0.0.1:0"]).arg(world.path("devices"));
    start
}

#[tokio::test]
async fn what_this_user_may_not_read() {
    let Some(world) = of_an_unprivileged_user().await else { return };
    // A manifest that cannot be read stops nobody.
    world.write("secret.yaml", "");
    permit(&world.file("secret.yaml"), 0o000);
    permit(&world.path("devices"), 0o755);
    let enlace = world.start_with(unprivileged_standalone(&world)).await;
    let line = enlace.program.stderr.line("secret.yaml").await;
    assert!(line.contains("cannot be read"), "{line}");
    enlace.program.terminate().await;

    permit(&world.path("devices"), 0o000);
    let ended = Program::start(unprivileged_standalone(&world)).ended().await;
    permit(&world.path("devices"), 0o755);
    let line = ended.refused();
    assert!(line.contains("may not be read by this user"), "{line}");
}

#[tokio::test]
async fn data_that_this_user_may_not_write() {
    let Some(world) = of_an_unprivileged_user().await else { return };
    permit(&world.data(), 0o500);
    let ended = Program::start(unprivileged_standalone(&world)).ended().await;
    permit(&world.data(), 0o700);
    let data = world.data().display().to_string();
    assert_eq!(
        ended.refused(),
        format!(
            "the data directory {data} cannot be written: Permission denied (os error 13); choose another with --data-dir"
        )
    );
}

#[tokio::test]
async fn a_folder_that_this_user_may_not_write() {
    let Some(world) = of_an_unprivileged_user().await else { return };
    permit(&world.path("devices"), 0o555);
    let enlace = world.start_with(unprivileged_standalone(&world)).await;
    let body = serde_json::json!({ "metadata": { "name": "shop" }, "spec": {} });
    let (status, problem) = enlace.call("POST", "/v1/devices", Some(body)).await;
    permit(&world.path("devices"), 0o755);
    assert_eq!((status, problem["reason"].as_str()), (507, Some("NotWritten")), "{problem}");
    let folder = world.path("devices").display().to_string();
    assert_eq!(problem["detail"], format!("{folder} cannot be written: Permission denied (os error 13)"),);
    let log = enlace.program.terminate().await.stderr;
    assert!(log.contains(&folder), "{log}");
}

/// `enlace`, as a user to whom permissions apply: nothing is denied to root.
fn unprivileged(world: &World) -> Command {
    let enlace = env!("CARGO_BIN_EXE_enlace");
    let mut command = if is_root() {
        let mut command = Command::new("setpriv");
        command.arg(format!("--reuid={NOBODY}")).arg(format!("--regid={NOBODY}"));
        command.args(["--clear-groups", enlace]);
        command
    } else {
        Command::new(enlace)
    };
    world.prepare(&mut command);
    command
}

fn is_root() -> bool {
    let readable = std::fs::metadata(env!("CARGO_MANIFEST_DIR")).unwrap();
    std::os::unix::fs::MetadataExt::uid(&readable) == 0 && Path::new("/root").read_dir().is_ok()
}

#[tokio::test]
async fn an_api_that_is_not_there() {
    let world = World::new().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let ended = world.run(&["get", "devices", "--url", &url, "--token", "a-token"]).await;
    let line = ended.refused();
    assert!(line.contains(&url) && line.contains("--url"), "{line}");

    // The simulator answers, but it is no API.
    let url = format!("http://{}", world.websocket_address());
    let ended = world.run(&["get", "devices", "--url", &url, "--token", "a-token"]).await;
    assert!(ended.refused().contains("not Enlace's API"), "{ended:?}");
}

#[tokio::test]
async fn a_caller_without_a_good_token() {
    let world = World::with_billing().await;
    let ended = world.run(&["get", "devices"]).await;
    let line = ended.refused();
    assert!(line.contains("no token") && line.contains("ENLACE_TOKEN"), "{line}");
    assert!(line.contains(world.data().to_str().unwrap()), "{line}");

    let enlace = world.start().await;
    let ended = enlace.run(&["get", "devices", "--token", "enlace_wrong"]).await;
    let line = ended.refused();
    assert!(line.contains("token") && line.contains("401"), "{line}");
    // An empty variable is none.
    let mut command = enlace.command(&["get", "devices", "-o", "name"]);
    command.env("ENLACE_TOKEN", "");
    assert_eq!(Program::start(command).ended().await.ok(), "default/billing\n");
}

#[tokio::test]
async fn a_device_that_nobody_declared() {
    let world = World::new().await;
    let enlace = world.start().await;
    for arguments in [
        ["get", "devices", "nobody"].as_slice(),
        &["qr", "nobody"],
        &["pair", "nobody"],
        &["send", "nobody", "--to", "525550000002", "--text", "hello"],
        &["events", "nobody"],
        &["logout", "nobody"],
        &["delete", "nobody"],
    ] {
        let ended = enlace.run(arguments).await;
        let line = ended.refused();
        assert!(line.contains("default/nobody"), "{arguments:?}: {line}");
    }
}

#[tokio::test]
async fn a_message_that_is_none() {
    let world = World::with_billing().await;
    let enlace = world.start().await;
    enlace.until_phase("billing", "AwaitingScan").await;
    let ended = enlace.run(&["send", "billing", "--to", "5255", "--text", "too short a number"]).await;
    assert!(ended.refused().contains("5255"), "{ended:?}");
    let missing = world.path("missing.pdf");
    let missing = missing.to_str().unwrap();
    let ended = enlace.run(&["send", "billing", "--to", "525550000002", "--file", missing]).await;
    assert!(ended.refused().contains(missing), "{ended:?}");
}

#[tokio::test]
async fn a_build_for_the_simulator_without_one() {
    let world = World::new().await;
    let mut command = world.standalone();
    command.env_remove("ENLACE_WHATSAPP_URL");
    let ended = Program::start(command).ended().await;
    let line = ended.refused();
    assert!(
        line.starts_with("ENLACE_WHATSAPP_URL: ") && line.contains("must not meet the real one"),
        "{line}"
    );
    assert!(!world.data().exists(), "nothing was begun");
}

#[tokio::test]
async fn tls_where_there_is_none() {
    let world = World::new().await;
    let enlace = world.start().await;
    let url = enlace.url.replace("http://", "https://");
    let ended = enlace.run(&["get", "devices", "--url", &url]).await;
    let line = ended.refused();
    assert!(line.contains(&url) && line.contains("write http://"), "{line}");
}

#[tokio::test]
async fn an_api_that_other_machines_can_reach() {
    let world = World::new().await;
    let mut command = world.command(&["standalone", "--listen", "0.0.0.0:0"]);
    command.arg(world.path("devices"));
    let open = world.start_with(command).await;
    let log = open.stop().await.stderr;
    assert!(log.starts_with("enlace: other machines can reach the API on 0.0.0.0:0"), "{log}");
    let mut command = world.command(&["standalone", "--listen", "localhost:0"]);
    command.arg(world.path("devices"));
    let own = world.start_with(command).await;
    assert!(own.url.starts_with("http://127.0.0.1:"), "{}", own.url);
    let log = own.stop().await.stderr;
    assert!(!log.contains("other machines"), "{log}");
}

#[tokio::test]
async fn a_message_that_is_not_out_in_time() {
    let world = World::with_billing().await;
    let enlace = world.start().await;
    enlace.until_phase("billing", "AwaitingScan").await;
    let send = ["send", "billing", "--to", "525550000002", "--text", "hello", "--wait", "200ms"];
    let ended = enlace.run(&send).await;
    assert_eq!(ended.code, Some(3), "{ended:?}");
    let id = ended.stdout.split_whitespace().next().unwrap();
    assert_eq!(ended.stdout, format!("{id} queued to 525550000002\n"));
    assert!(
        ended.stderr.starts_with(&format!("enlace: message {id} is still queued after 200ms")),
        "{ended:?}"
    );
    assert_eq!(ended.stderr.lines().count(), 1);
}

#[tokio::test]
async fn a_file_that_is_no_declaration_is_told_beside_the_list() {
    let world = World::with_billing().await;
    world.write("broken.yaml", "kind: [");
    let enlace = world.start().await;
    let ended = enlace.run(&["get", "devices", "-o", "name"]).await;
    assert_eq!(ended.stdout, "default/billing\n");
    let line = ended.stderr.strip_prefix("enlace: not accepted: broken.yaml: ").expect(&ended.stderr);
    assert_eq!(line.lines().count(), 1);
    assert!(!line.contains("broken.yaml"), "it is named twice: {line}");
    assert_eq!(ended.code, Some(0));
}
