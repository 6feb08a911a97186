//! The program itself: killed, stopped, locked out, and refusing what is not WhatsApp.

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use enlace_contract::client::DeviceClient;
use enlace_contract::config::DeviceConfig;
use enlace_contract::messages::{Message, MessageState};
use enlace_contract::state::{DeviceState, Phase, Reason};
use enlace_contract::token::TokenSigner;
use futures::StreamExt as _;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::fixture::{NUMBER, OTHER, PATIENCE, World, config, quick};
use crate::skipped::skipped;

/// The program with the simulator's trust.
const TRUSTING: &str = env!("CARGO_BIN_EXE_device-pod");

/// The device's program, with a port.
pub(crate) struct Program {
    child: Child,
    pub(crate) client: DeviceClient,
    metrics: String,
    log: Arc<Mutex<String>>,
}

impl Program {
    /// Starts the program on a world's directory and waits until it listens.
    pub(crate) async fn start(world: &World, program: &Path, signer: &TokenSigner) -> Self {
        Self::start_with(world, program, signer, quick()).await
    }

    async fn start_with(world: &World, program: &Path, signer: &TokenSigner, config: DeviceConfig) -> Self {
        let config = DeviceConfig { token_keys: vec![signer.public_key().to_owned()], ..config };
        let log = Arc::new(Mutex::new(String::new()));
        let mut child =
            command(world, program, &config).kill_on_drop(true).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let listening = async {
            loop {
                let line = lines.next_line().await.unwrap().expect("the program ended before it listened");
                let event: serde_json::Value = serde_json::from_str(&line).unwrap_or_default();
                if let (Some(listen), Some(metrics)) =
                    (event["listen"].as_str(), event["metrics_listen"].as_str())
                {
                    return (listen.to_owned(), metrics.to_owned());
                }
            }
        };
        let (listen, metrics) = tokio::time::timeout(PATIENCE, listening).await.expect("it never listened");
        // The pipe must not fill up.
        let kept = Arc::clone(&log);
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                let mut kept = kept.lock().unwrap();
                kept.push_str(&line);
                kept.push('\n');
            }
        });
        let client =
            DeviceClient::http(format!("http://{listen}").parse().unwrap(), &config.uid, signer.clone());
        Self { child, client, metrics, log }
    }

    /// The first state that is as wanted.
    pub(crate) async fn until(&self, wanted: impl Fn(&DeviceState) -> bool) -> DeviceState {
        use enlace_contract::events::DeviceEvent;
        let mut events = self.client.events(None).await.unwrap();
        let mut last = None;
        let found = async {
            while let Some(event) = events.next().await {
                if let DeviceEvent::State(state) = event.unwrap() {
                    if wanted(&state) {
                        return state;
                    }
                    last = Some(state);
                }
            }
            panic!("the event stream ended");
        };
        match tokio::time::timeout(PATIENCE, found).await {
            Ok(state) => state,
            Err(_) => panic!("still {last:#?}"),
        }
    }

    pub(crate) async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }

    async fn terminate(mut self) -> ExitStatus {
        let id = self.child.id().unwrap().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().await.unwrap().success());
        self.child.wait().await.unwrap()
    }
}

fn command(world: &World, program: &Path, config: &DeviceConfig) -> Command {
    let file = world.directory.path().join("device.json");
    std::fs::write(&file, serde_json::to_vec(config).unwrap()).unwrap();
    let mut command = Command::new(program);
    command
        .arg("--config")
        .arg(file)
        .arg("--data-dir")
        .arg(world.directory.path().join("data"))
        .args(["--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0"])
        .env("ENLACE_WHATSAPP_URL", world.simulator.websocket_url())
        .env("ENLACE_WHATSAPP_MEDIA_URL", format!("http://{}", world.simulator.address()))
        .stdin(Stdio::null());
    command
}

async fn linked(world: &World, signer: &TokenSigner) -> Program {
    let program = Program::start(world, Path::new(TRUSTING), signer).await;
    let qr = program.until(|state| state.qr.is_some()).await.qr.unwrap();
    world.phone().scan(&qr.code).await.unwrap();
    program.until(|state| state.phase == Phase::Connected).await;
    program
}

#[tokio::test]
async fn it_stops_within_ten_seconds_and_comes_back_connected() {
    let (world, signer) = (World::new().await, TokenSigner::generate("test").unwrap());
    let program = linked(&world, &signer).await;
    // A reader that stays must not keep it.
    let _reader = program.client.events(None).await.unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(10), program.terminate()).await;
    assert!(ended.expect("it did not stop within ten seconds").success());
    let program = Program::start(&world, Path::new(TRUSTING), &signer).await;
    program.until(|state| state.phase == Phase::Connected).await;
    program.kill().await;
    world.assert_one_client_at_a_time().await;
}

#[tokio::test]
async fn a_caller_that_waits_when_it_stops_is_told_that_its_message_is_stored() {
    use enlace_contract::events::DeviceEvent;
    let (world, signer) = (World::new().await, TokenSigner::generate("test").unwrap());
    // Nothing is linked: the message waits for as long as the caller does.
    let program = Program::start(&world, Path::new(TRUSTING), &signer).await;
    let mut stored = program.client.events(None).await.unwrap();
    let client = program.client.clone();
    let waiting = tokio::spawn(async move {
        let body = serde_json::to_vec(&crate::sending::text(OTHER, "patience")).unwrap();
        let request = http::Request::post("/v1/messages?wait=60s").header("content-type", "application/json");
        let response = client.forward(request.body(body.into()).unwrap()).await.unwrap();
        let status = response.status().as_u16();
        let body = http_body_util::BodyExt::collect(response.into_body()).await.unwrap().to_bytes();
        (status, serde_json::from_slice::<Message>(&body).unwrap())
    });
    let id = loop {
        let event = tokio::time::timeout(PATIENCE, stored.next()).await.unwrap().unwrap().unwrap();
        if let DeviceEvent::MessageState(message) = event {
            break message.id;
        }
    };
    let ended = tokio::time::timeout(Duration::from_secs(10), program.terminate()).await;
    assert!(ended.expect("it did not stop within ten seconds").success());
    let (status, message) = waiting.await.unwrap();
    assert_eq!((status, message.id, message.state), (202, id, MessageState::Queued));
}

#[tokio::test]
async fn a_stop_is_heard_before_the_device_runs() {
    let world = World::new().await;
    let config = world.directory.path().join("device.json");
    let mut command = command(&world, Path::new(TRUSTING), &quick());
    // A configuration that never ends keeps it at its first step.
    std::fs::remove_file(&config).unwrap();
    assert!(Command::new("mkfifo").arg(&config).status().await.unwrap().success());
    let mut child = command.kill_on_drop(true).stderr(Stdio::null()).spawn().unwrap();
    let opened = tokio::task::spawn_blocking(move || std::fs::File::options().write(true).open(config));
    // It opens when the program reads it.
    let mut pipe = tokio::time::timeout(PATIENCE, opened).await.unwrap().unwrap().unwrap();
    let id = child.id().unwrap().to_string();
    assert!(Command::new("kill").args(["-TERM", &id]).status().await.unwrap().success());
    let text = serde_json::to_vec(&quick()).unwrap();
    std::io::Write::write_all(&mut pipe, &text).unwrap();
    drop(pipe);
    // By itself and not by the signal, which the first process of a container does not even get.
    let status = tokio::time::timeout(PATIENCE, child.wait()).await.unwrap().unwrap();
    assert_eq!(status.code(), Some(0));
    assert!(world.control().server().logins().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_configuration_that_cannot_be_read_is_said_in_one_line() {
    let world = World::new().await;
    let config = world.directory.path().join("device.json");
    for (text, words) in [
        ("uid: a\nkey: default/billing\nsending:\n  interval: soon\n", "\"soon\" is not a duration"),
        ("uid: a\nkey: default/billing\nuidd: b\n", "uidd"),
        ("uid: a\n", "key"),
        ("uid: [a\n", "line"),
    ] {
        let mut command = command(&world, Path::new(TRUSTING), &quick());
        std::fs::write(&config, text).unwrap();
        let ended = command.output().await.unwrap();
        let stderr = String::from_utf8(ended.stderr).unwrap();
        assert_eq!((ended.status.code(), stderr.lines().count()), (Some(1), 1), "{stderr}");
        let line = stderr
            .strip_prefix(&format!("device-pod: {} is not a device's configuration: ", config.display()));
        assert!(line.expect(&stderr).contains(words), "{stderr}");
    }
}

#[tokio::test]
async fn a_program_for_the_simulator_does_not_start_without_one() {
    let world = World::new().await;
    let mut command = command(&world, Path::new(TRUSTING), &quick());
    let ended = command.env_remove("ENLACE_WHATSAPP_URL").output().await.unwrap();
    let stderr = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(1), "{stderr}");
    let line = stderr.strip_prefix("device-pod: ENLACE_WHATSAPP_URL: ").expect(&stderr);
    assert!(line.contains("must not meet the real one") && line.trim_end().lines().count() == 1, "{line}");
    assert!(!world.directory.path().join("data").exists(), "nothing was begun");
}

#[tokio::test]
async fn a_second_process_on_the_same_directory_is_refused_before_it_connects() {
    let (world, signer) = (World::new().await, TokenSigner::generate("test").unwrap());
    let program = linked(&world, &signer).await;
    let second = command(&world, Path::new(TRUSTING), &quick()).output().await.unwrap();
    assert_eq!(second.status.code(), Some(1));
    let stderr = String::from_utf8(second.stderr).unwrap();
    assert!(stderr.lines().last().unwrap().contains("is in use by another process"), "{stderr}");
    assert_eq!(program.client.state().await.unwrap().phase, Phase::Connected);
    program.kill().await;
    world.assert_one_client_at_a_time().await;
}

#[tokio::test]
async fn metrics_have_a_port_of_their_own_and_no_number_in_them() {
    let (world, signer) = (World::new().await, TokenSigner::generate("test").unwrap());
    let program = linked(&world, &signer).await;
    let client =
        DeviceClient::http(format!("http://{}", program.metrics).parse().unwrap(), "uid-1", signer.clone());
    let request = http::Request::get("/metrics").body(axum::body::Body::empty()).unwrap();
    let response = client.forward(request).await.unwrap();
    let body = http_body_util::BodyExt::collect(response.into_body()).await.unwrap().to_bytes();
    let text = String::from_utf8(body.to_vec()).unwrap();
    assert!(text.contains("enlace_device_connected{device=\"default/billing\"} 1"), "{text}");
    assert!(!text.contains(NUMBER), "{text}");
    program.kill().await;
    world.assert_one_client_at_a_time().await;
}

#[tokio::test]
async fn a_production_program_refuses_the_simulator_and_says_whom_it_trusts() {
    let version = Command::new(TRUSTING).arg("--version").output().await.unwrap();
    assert!(String::from_utf8(version.stdout).unwrap().contains("trusts simulator (not for production)"));
    let Some(production) = std::env::var_os("ENLACE_PRODUCTION_DEVICE").map(PathBuf::from) else {
        let why = "ENLACE_PRODUCTION_DEVICE names no production program, as cargo xtask test does";
        skipped("a test of what a production program trusts", why);
        return;
    };
    let version = Command::new(&production).arg("--version").output().await.unwrap();
    assert!(String::from_utf8(version.stdout).unwrap().contains("(trusts WhatsApp)"));

    let (world, signer) = (World::new().await, TokenSigner::generate("test").unwrap());
    let program = Program::start(&world, &production, &signer).await;
    let state = program.until(|state| state.reason.is_some()).await;
    assert_eq!((state.reason, state.qr), (Some(Reason::HandshakeFailed), None));
    assert_eq!(
        world.control().server().state().await.unwrap().pairings,
        0,
        "it told the server nothing of itself"
    );
    program.kill().await;
    world.assert_one_client_at_a_time().await;
}

#[tokio::test]
async fn it_stops_at_once_while_a_code_is_shown() {
    let (world, signer) = (World::new().await, TokenSigner::generate("test").unwrap());
    let program = Program::start(&world, Path::new(TRUSTING), &signer).await;
    program.until(|state| state.qr.is_some()).await;
    let started = Instant::now();
    assert!(program.terminate().await.success());
    assert!(started.elapsed() < Duration::from_secs(4), "{:?}", started.elapsed());
}

#[tokio::test]
async fn neither_codes_nor_numbers_are_in_the_log() {
    let (world, signer) = (World::new().await, TokenSigner::generate("test").unwrap());
    let settings = serde_json::json!({ "phoneNumber": NUMBER, "pairing": { "method": "PairingCode" } });
    let program = Program::start_with(&world, Path::new(TRUSTING), &signer, config(settings)).await;
    let code = program.until(|state| state.pairing_code.is_some()).await.pairing_code.unwrap().code;
    world.phone().enter_code(&code).await.unwrap();
    program.until(|state| state.phase == Phase::Connected).await;
    world.other().send_text(NUMBER, "words of a person").await.unwrap();
    program.client.send(&crate::sending::text(OTHER, "words of a company")).await.unwrap();
    world.other().wait_for_text("words of a company", PATIENCE).await.unwrap();
    let log = Arc::clone(&program.log);
    assert!(program.terminate().await.success());
    let log = log.lock().unwrap().clone();
    assert!(log.contains("Connected"), "{log}");
    for secret in [code.as_str(), NUMBER, OTHER, "words of"] {
        assert!(!log.contains(secret), "{secret} is in the log:\n{log}");
    }
    world.assert_one_client_at_a_time().await;
}

#[tokio::test]
async fn a_link_does_not_wait_for_the_delay_of_a_lost_connection() {
    // The server ends the connection right after a link; in which order the engine's tasks tell of the two is a race.
    let settings = serde_json::json!({ "phoneNumber": NUMBER, "connection": { "reconnectDelay": "5m" } });
    let linking = (0..20).map(|_| async {
        let (world, signer) = (World::new().await, TokenSigner::generate("test").unwrap());
        let program =
            Program::start_with(&world, Path::new(TRUSTING), &signer, config(settings.clone())).await;
        let qr = program.until(|state| state.qr.is_some()).await.qr.unwrap();
        world.phone().scan(&qr.code).await.unwrap();
        let state = program.until(|state| state.phase == Phase::Connected).await;
        assert_eq!(state.last_disconnect, None);
        program.kill().await;
        world.assert_one_client_at_a_time().await;
    });
    futures::future::join_all(linking).await;
}
