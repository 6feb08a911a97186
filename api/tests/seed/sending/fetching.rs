//! Files by URL, from a server on this machine: only an installation that allows its range reaches it.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::response::{IntoResponse as _, Redirect, Response};
use axum::routing::get;
use http::{StatusCode, header};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::{PDF, TO, linked, messages};
use crate::fixture::{Api, settings};
use crate::person::error;

/// A server of files: its address, and the paths that were asked for.
async fn files() -> (String, Arc<Mutex<Vec<String>>>) {
    let asked: Arc<Mutex<Vec<String>>> = Arc::default();
    let noted = Arc::clone(&asked);
    let note = move |request: axum::extract::Request, next: axum::middleware::Next| {
        noted.lock().unwrap().push(request.uri().path().to_owned());
        next.run(request)
    };
    let huge = || {
        let chunks = (0..26).map(|_| Ok::<_, std::io::Error>(vec![0_u8; 1024 * 1024]));
        Response::new(Body::from_stream(futures::stream::iter(chunks)))
    };
    let router = Router::new()
        .route("/factura%20F001.pdf", get(async || ([(header::CONTENT_TYPE, "application/pdf")], PDF)))
        .route("/sin-tipo", get(async || PDF))
        .route("/vacio", get(async || ""))
        .route("/enorme", get(async move || huge()))
        .route("/falta", get(async || StatusCode::NOT_FOUND))
        .route("/uno", get(async || Redirect::temporary("/dos")))
        .route("/dos", get(async || Redirect::permanent("factura%20F001.pdf")))
        .route("/vuelta", get(async || Redirect::to("/vuelta")))
        .route("/adentro", get(async || Redirect::to("http://169.254.169.254/latest/meta-data")))
        .route(
            "/archivo",
            get(async || ([(header::LOCATION, "file:///etc/passwd")], StatusCode::FOUND).into_response()),
        )
        .layer(axum::middleware::from_fn(note));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    (base, asked)
}

async fn allowing(ranges: &[&str]) -> Api {
    let media_allow = ranges.iter().map(|range| range.parse().unwrap()).collect();
    Api::start_with(&[], settings(|settings| settings.compatible.media_allow = media_allow)).await
}

#[tokio::test]
async fn a_file_by_url_goes_out_with_its_name_and_type() {
    let (base, _) = files().await;
    let api = allowing(&["127.0.0.0/8"]).await;
    let (ana, _, device) = linked(&api).await;
    let url = format!("{base}/factura%20F001.pdf");
    for (path, body, name) in [
        (
            "/api/send-media",
            json!({ "number": TO, "media": url, "message": "Su factura" }),
            "factura F001.pdf",
        ),
        (
            "/api/send-file",
            json!({ "toNumber": TO, "fileUrl": url, "caption": "Su factura", "mediatype": "document" }),
            "factura F001.pdf",
        ),
        (
            "/api/send-media",
            json!({ "number": TO, "media": format!("{base}/uno"), "caption": "Su factura" }),
            "factura F001.pdf",
        ),
        (
            "/api/send-media",
            json!({ "number": TO, "media": format!("{base}/sin-tipo"), "filename": "a.pdf", "caption": "Su factura" }),
            "a.pdf",
        ),
    ] {
        let answer = ana.post(path, body).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
        assert_eq!(answer.json()["filename"], name);
        let sent = messages(&device).pop().unwrap();
        assert_eq!((&sent["type"], &sent["caption"]), (&json!("document"), &json!("Su factura")));
        assert_eq!(
            sent["media"],
            json!({ "data": super::base64(PDF), "mimeType": "application/pdf", "fileName": name })
        );
    }
}

#[tokio::test]
async fn nothing_of_the_own_network_is_fetched_unless_it_is_allowed() {
    let (base, asked) = files().await;
    let port = base.rsplit(':').next().unwrap();
    let api = allowing(&["10.0.0.0/8"]).await;
    let (ana, _, device) = linked(&api).await;
    for url in [
        format!("{base}/sin-tipo"),
        format!("http://localhost:{port}/sin-tipo"),
        format!("http://2130706433:{port}/sin-tipo"),
        format!("http://[::ffff:127.0.0.1]:{port}/sin-tipo"),
        "http://169.254.169.254/latest/meta-data".to_owned(),
        "http://192.168.0.1/".to_owned(),
        "http://[fd00:ec2::254]/".to_owned(),
    ] {
        let answer = ana.post("/api/send-media", json!({ "number": TO, "media": url })).await;
        let forbidden = (400, "La dirección de la URL del archivo no está permitida".to_owned());
        assert_eq!(error(&answer), forbidden, "{url}");
    }
    assert_eq!(*asked.lock().unwrap(), Vec::<String>::new());
    assert_eq!(messages(&device), Vec::<Value>::new());
}

#[tokio::test]
async fn a_redirect_is_checked_like_the_url_itself() {
    let (base, asked) = files().await;
    let api = allowing(&["127.0.0.1/32"]).await;
    let (ana, _, device) = linked(&api).await;
    for (path, expected) in [
        ("adentro", "La dirección de la URL del archivo no está permitida"),
        ("archivo", "La URL del archivo no es válida: se acepta http o https"),
        ("vuelta", "La URL del archivo redirige más de 3 veces"),
        ("falta", "La URL del archivo respondió con el estado 404"),
        ("enorme", "El archivo de la URL supera el límite de 26214400 bytes"),
        ("vacio", "El archivo de la URL está vacío"),
    ] {
        let body = json!({ "number": TO, "media": format!("{base}/{path}") });
        assert_eq!(error(&ana.post("/api/send-media", body).await), (400, expected.to_owned()), "{path}");
    }
    let turns = asked.lock().unwrap().iter().filter(|path| *path == "/vuelta").count();
    assert_eq!(turns, 4, "the URL and three redirects");
    assert_eq!(messages(&device), Vec::<Value>::new());
}

#[tokio::test]
async fn nothing_is_fetched_for_a_device_that_cannot_send_it() {
    let (base, asked) = files().await;
    let api = allowing(&["127.0.0.0/8"]).await;
    let ana = crate::person::Person::register(&api, super::OWN).await;
    let id = ana.add(json!({})).await;
    ana.device(&id).await;
    let body = json!({ "number": TO, "media": format!("{base}/sin-tipo"), "fromNumber": id });
    let answer = ana.post("/api/send-media", body).await;
    assert_eq!(error(&answer), (400, "Sesión de WhatsApp no lista".to_owned()));
    assert_eq!(*asked.lock().unwrap(), Vec::<String>::new());
}
