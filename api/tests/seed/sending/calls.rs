//! Documented calls (`docs/compatible-calls.md`), made with the programs that they are written for.

use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::process::Command;

use super::{OWN, PDF, TO, base64, messages};
use crate::fixture::{Api, in_time};
use crate::person::Person;
use crate::skipped::skipped;

const PAGE: &str = include_str!("../../../../docs/compatible-calls.md");
/// The address in the page.
const WRITTEN: &str = "http://localhost:3000";
/// XML whose base64 has a plus and a slash, as real files have.
const XML: &[u8] = b"<a>\xc3\xb1\xfb\xff\xbf</a>";

/// A call and its answer.
#[derive(Debug)]
struct Call {
    command: String,
    answer: Value,
}

/// The blocks of a language.
fn blocks(language: &str) -> Vec<&'static str> {
    let fence = format!("```{language}\n");
    let of = |rest: &'static str| rest.split_once("\n```").map(|(block, _)| block);
    PAGE.split(fence.as_str()).skip(1).map(|rest| of(rest).unwrap()).collect()
}

fn calls() -> Vec<Call> {
    let blocks = blocks("console").into_iter();
    let calls = blocks.flat_map(|block| block.strip_prefix("$ ").unwrap().split("\n$ "));
    calls
        .map(|call| {
            // The answer is the last line.
            let (command, answer) = call.trim_end().rsplit_once('\n').unwrap();
            let answer = serde_json::from_str(answer).unwrap_or_else(|error| panic!("{error}: {answer}"));
            Call { command: command.to_owned(), answer }
        })
        .collect()
}

/// A folder with the files that the page names.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in [("factura.pdf", PDF), ("factura.xml", XML), ("foto.png", b"\x89PNG\r\n\x1a\n")] {
        std::fs::write(folder.path().join(name), content).unwrap();
    }
    folder
}

/// The API on a port.
async fn serve(api: &Api) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(enlace_api::server::serve(listener, api.app.clone(), std::future::pending()));
    base
}

async fn run(
    program: &str,
    arguments: &[&str],
    folder: &Path,
    environment: &[(&str, &str)],
) -> (bool, String) {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(folder).envs(environment.iter().copied()).kill_on_drop(true);
    // Nothing between the program and this machine.
    for name in ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"] {
        command.env_remove(name);
    }
    let output = in_time(command.output()).await.unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    (output.status.success(), text)
}

/// Whether a program runs; if not, that is said where it is seen.
fn runs(program: &str, arguments: &[&str], package: &str) -> bool {
    let ran = std::process::Command::new(program).args(arguments).output();
    let runs = ran.is_ok_and(|output| output.status.success());
    if !runs {
        skipped(&format!("a test with {program}"), &format!("install the package {package}"));
    }
    runs
}

/// Whether an answer is as written, in which `"…"` is anything.
#[track_caller]
fn assert_like(written: &Value, actual: &Value, call: &str) {
    match (written, actual) {
        (Value::String(any), _) if any == "…" => {}
        (Value::Object(written), Value::Object(actual)) => {
            let names = |object: &serde_json::Map<String, Value>| object.keys().cloned().collect::<Vec<_>>();
            assert_eq!(names(actual), names(written), "{call}");
            for (name, value) in written {
                assert_like(value, &actual[name], &format!("{call}\n{name}"));
            }
        }
        _ => assert_eq!(actual, written, "{call}"),
    }
}

#[tokio::test]
async fn every_documented_call_with_curl_is_answered_as_documented() {
    if !runs("curl", &["--version"], "curl") {
        return;
    }
    let api = Api::start(&[]).await;
    let (base, folder) = (serve(&api).await, folder());
    let (mut token, mut id) = (String::new(), String::new());
    let mut person = None;
    let calls = calls();
    assert!(calls.len() > 15, "{}", calls.len());
    for Call { command, answer } in calls {
        // What people do in between, and what becomes of messages.
        if let Some(person) = &person {
            let person: &Person<'_> = person;
            if command.contains("/api/qr") {
                person.device(&id).await.shows_code();
                api.until_phase(&person.key(&id).await, "AwaitingScan").await;
            }
            if command.contains("/api/status") {
                person.linked(&id, OWN).await;
            }
            if command.contains("wait") || command.contains("legacy") {
                let sent = [json!({ "state": "sent" }), json!({ "state": "sent" })];
                let count = if command.contains("legacy") { 2 } else { 1 };
                person.device(&id).await.fates.lock().unwrap().extend(sent.into_iter().take(count));
            }
        }
        let line = command.replace(WRITTEN, &base).replacen("curl ", "curl --silent --show-error ", 1);
        let environment = [("TOKEN", token.as_str()), ("INSTANCIA", id.as_str())];
        let (ended, said) = run("sh", &["-c", &line], folder.path(), &environment).await;
        assert!(ended, "{command}");
        let said: Value =
            serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}: {command}"));
        assert_like(&answer, &said, &command);
        if let Some(new) = said["token"].as_str() {
            token = new.to_owned();
        }
        if let Some(new) = said["instancia_id"].as_str() {
            id = new.to_owned();
            person = Some(Person { api: &api, token: token.clone() });
        }
    }
}

#[tokio::test]
async fn the_documented_call_from_php_sends_the_invoice() {
    if !runs("php", &["-r", "exit(extension_loaded('curl') ? 0 : 1);"], "php-cli with php-curl") {
        return;
    }
    let api = Api::start(&[]).await;
    let (base, folder) = (serve(&api).await, folder());
    let (ana, _, device) = super::linked(&api).await;
    device.fates.lock().unwrap().extend([json!({ "state": "sent" }), json!({ "state": "sent" })]);
    let program = blocks("php").pop().unwrap().replace(WRITTEN, &base);
    std::fs::write(folder.path().join("enviar.php"), program).unwrap();
    let said = run("php", &["enviar.php"], folder.path(), &[("TOKEN", &ana.token)]).await;
    assert_eq!(said, (true, "Documentos enviados correctamente via Baileys\n".to_owned()));
    let sent = messages(&device);
    assert_eq!(sent.len(), 2);
    for (message, data, name) in [(&sent[0], XML, "F001-2.xml"), (&sent[1], PDF, "F001-2.pdf")] {
        assert_eq!((&message["to"], &message["type"]), (&json!(TO), &json!("document")));
        assert_eq!(
            (&message["media"]["data"], &message["media"]["fileName"]),
            (&json!(base64(data)), &json!(name))
        );
        let caption = message["caption"].as_str().unwrap();
        assert!(caption.starts_with("*Panadería & Café Ñandú*\n*RUC: 20100000001*\n"), "{caption}");
        assert!(caption.contains("\nSr(es). José Pérez\n"), "{caption}");
    }
    // A token that is not good is an error that the program shows.
    let refused = run("php", &["enviar.php"], folder.path(), &[("TOKEN", "nada")]).await;
    assert_eq!(refused, (false, "Error: Token inválido o expirado\n".to_owned()));
}
