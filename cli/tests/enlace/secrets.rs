//! What must not be read by whoever reads the log or the disk.

use std::path::Path;

use crate::program::PATIENCE;
use crate::world::{CUSTOMER, NUMBER, World};

/// The administrator's password, off the terminal.
fn password(stdout: &str) -> Option<String> {
    let mut lines = stdout.lines().skip_while(|line| !line.contains("first administrator"));
    lines.find_map(|line| line.strip_prefix("    ")).map(str::to_owned)
}

fn files(folder: &Path, seen: &mut Vec<(String, Vec<u8>)>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, seen);
        } else {
            seen.push((path.display().to_string(), std::fs::read(&path).unwrap()));
        }
    }
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

#[tokio::test]
async fn the_first_password_is_shown_once_and_stored_nowhere() {
    let world = World::new().await;
    let enlace = world.start().await;
    let shown = password(&enlace.program.stdout.text()).expect("no password is shown");
    assert!(shown.len() >= 20, "{shown}");
    let login = serde_json::json!({ "username": "admin", "password": shown });
    let (status, answer) = enlace.call("POST", "/v1/login", Some(login)).await;
    assert_eq!(status, 200, "it opens the API: {answer}");
    let token = enlace.token();
    let first = enlace.stop().await;
    assert_eq!(first.stdout.matches(&shown).count(), 1);

    let enlace = world.start().await;
    let second = enlace.stop().await;
    assert_eq!(password(&second.stdout), None, "{}", second.stdout);
    for text in [&first.stderr, &second.stderr, &second.stdout] {
        assert!(!text.contains(&shown) && !text.contains(&token), "{text}");
    }
    let mut seen = Vec::new();
    files(&world.data(), &mut seen);
    assert!(seen.iter().any(|(name, _)| name.ends_with("enlace.db")));
    for (name, bytes) in &seen {
        assert!(!holds(bytes, &shown), "the password is in {name}");
        let its_file = Path::new(name).file_name().is_some_and(|name| name == "token");
        assert_eq!(holds(bytes, &token), its_file, "{name}");
    }
}

#[cfg(unix)]
#[tokio::test]
async fn the_data_is_for_its_owner_only() {
    use std::os::unix::fs::PermissionsExt as _;
    let world = World::new().await;
    let enlace = world.start().await;
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&world.data()), 0o700);
    assert_eq!(mode(&world.data().join("token")), 0o600);
    enlace.stop().await;
}

#[tokio::test]
async fn the_log_of_a_whole_story_has_no_secret() {
    let world = World::with_billing().await;
    let mut command = world.standalone();
    // Somebody looks for a fault.
    command.env("ENLACE_LOG", "debug");
    let enlace = world.start_with(command).await;
    let password = password(&enlace.program.stdout.text()).unwrap();
    let login = serde_json::json!({ "username": "admin", "password": password });
    let (_, login) = enlace.call("POST", "/v1/login", Some(login)).await;

    let code = enlace.code("billing").await;
    let linked = enlace.link("billing", NUMBER).await;
    enlace.send_text("billing", CUSTOMER, "the text that goes out").await;
    let file = world.path("the-name-of-the-file.pdf");
    std::fs::write(&file, "the bytes of the file").unwrap();
    let arguments = ["send", "billing", "--to", CUSTOMER, "--file", file.to_str().unwrap(), "-o", "name"];
    let id = enlace.ok(&arguments).await;
    world.phone(CUSTOMER).wait_for_id(id.trim(), PATIENCE).await.unwrap();
    world.phone(CUSTOMER).send_text(NUMBER, "the text that comes in").await.unwrap();
    let events = enlace.begin(&["events", "billing", "--after", "0"]);
    events.stdout.line("the text that comes in").await;
    // What fails is logged in more words than what succeeds.
    world.phone("525550000009").set_registered(false).await.unwrap();
    let nobody = ["send", "billing", "--to", "525550000009", "--text", "the text to nobody", "--wait", "30s"];
    assert_eq!(enlace.run(&nobody).await.code, Some(1));
    world.control().server().drop_connection(NUMBER, linked.device).await.unwrap();
    enlace.until("billing", |device| (device?["status"]["reconnects"] == 1).then_some(())).await;
    assert_eq!(enlace.run(&["get", "devices", "--token", "enlace_a_wrong_token"]).await.code, Some(1));
    world.phone(NUMBER).unlink(linked.device).await.unwrap();
    enlace.until_phase("billing", "LoggedOut").await;

    let token = enlace.token();
    let log = enlace.stop().await.stderr;
    assert!(log.contains("device default/billing is Connected"), "{log}");
    // The parts of a code are secrets one by one.
    let code_parts = code.split([',', '#']).filter(|part| part.len() > 8);
    let secrets = [
        password.as_str(),
        token.as_str(),
        login["token"].as_str().unwrap(),
        "enlace_a_wrong_token",
        "the text that",
        "the text to nobody",
        "the-name-of-the-file",
        "the bytes of",
        CUSTOMER,
        "525550000009",
    ];
    for secret in secrets.into_iter().chain(code_parts) {
        let line = log.lines().find(|line| line.contains(secret));
        assert_eq!(line, None, "{secret:?} is in the log");
    }
    world.assert_one_client_at_a_time().await;
}
