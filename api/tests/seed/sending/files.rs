//! Files: in JSON and as parts of a form.

use http::{Request, StatusCode, header};
use serde_json::{Value, json};

use super::{PDF, TO, base64, linked, messages};
use crate::fixture::Api;
use crate::person::{Person, error};

/// Kind, MIME type and name of the last message.
fn last(device: &crate::device::Played) -> [Value; 3] {
    let message = messages(device).pop().unwrap();
    [message["type"].clone(), message["media"]["mimeType"].clone(), message["media"]["fileName"].clone()]
}

#[tokio::test]
async fn each_file_goes_out_as_what_it_is_under_its_own_name() {
    let api = Api::start(&[]).await;
    let (ana, _, device) = linked(&api).await;
    let word = "application/vnd.openxmlformats-officedocument.wordprocessingml.document";
    let excel = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet";
    for (mediatype, name, mimetype, kind, mime) in [
        ("document", "F001-1 ñ.pdf", "", "document", "application/pdf"),
        ("document", "F001-1.XML", "", "document", "application/xml"),
        ("document", "carta.docx", word, "document", word),
        ("document", "libro.xlsx", "", "document", excel),
        ("document", "notas.txt", "application/octet-stream", "document", "text/plain"),
        ("document", "foto.png", "", "document", "image/png"),
        ("image", "foto.png", "", "image", "image/png"),
        ("image", "F001-1.pdf", "", "document", "application/pdf"),
        ("video", "v.mp4", "", "video", "video/mp4"),
        ("audio", "a.ogg", "audio/ogg; codecs=opus", "audio", "audio/ogg; codecs=opus"),
        ("", "v.mp4", "", "video", "video/mp4"),
        ("", "carta.docx", "", "document", word),
    ] {
        let body = json!({
            "number": TO, "mediatype": mediatype, "media": base64(b"contenido"), "filename": name, "mimetype": mimetype,
        });
        let answer = ana.post("/api/send-whatsap", body).await;
        assert_eq!(answer.status, StatusCode::OK, "{name}: {}", answer.text);
        assert_eq!(answer.json()["filename"], name);
        assert_eq!(last(&device), [json!(kind), json!(mime), json!(name)], "{mediatype} {name}");
        assert_eq!(messages(&device).pop().unwrap()["media"]["data"], base64(b"contenido"));
    }
}

#[tokio::test]
async fn an_unnamed_file_is_known_by_its_bytes() {
    let api = Api::start(&[]).await;
    let (ana, _, device) = linked(&api).await;
    let png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR";
    let answer =
        ana.post("/api/send-media", json!({ "number": TO, "media": base64(png), "message": "Mira" })).await;
    assert_eq!(answer.json()["filename"], "archivo.png");
    assert_eq!(last(&device), [json!("image"), json!("image/png"), Value::Null]);
    assert_eq!(messages(&device).pop().unwrap()["caption"], "Mira");
    let url = format!("data:application/pdf;base64,{}", base64(PDF));
    ana.post("/api/send-media", json!({ "number": TO, "media": url, "mediatype": "document" })).await;
    assert_eq!(last(&device), [json!("document"), json!("application/pdf"), json!("archivo.pdf")]);
}

#[tokio::test]
async fn the_text_of_a_sound_follows_it() {
    let api = Api::start(&[]).await;
    let (ana, _, device) = linked(&api).await;
    let body = json!({ "number": TO, "media": base64(b"ID3"), "filename": "a.mp3", "caption": "Escuche" });
    let answer = ana.post("/api/send-media", body).await;
    assert_eq!(answer.json()["queue_ids"], json!([1, 2]), "{}", answer.text);
    let sent = messages(&device);
    assert_eq!(sent[0]["type"], "audio");
    assert_eq!(sent[1], json!({ "to": TO, "type": "text", "text": "Escuche" }));
}

#[tokio::test]
async fn a_form_with_a_file_keeps_its_name_and_type() {
    let api = Api::start(&[]).await;
    let (ana, id, device) = linked(&api).await;
    let number: (&str, &str, &str, &[u8]) = ("number", "", "", TO.as_bytes());
    let from: (&str, &str, &str, &[u8]) = ("fromNumber", "", "", id.as_bytes());
    let photo = ana
        .upload(
            "/api/send-media",
            &[
                number,
                from,
                ("message", "", "", "Foto ñ".as_bytes()),
                ("media", "foto.png", "image/png", b"png"),
            ],
        )
        .await;
    assert_eq!(photo.json()["filename"], "foto.png", "{}", photo.text);
    assert_eq!(last(&device), [json!("image"), json!("image/png"), json!("foto.png")]);
    assert_eq!(messages(&device).pop().unwrap()["caption"], "Foto ñ");
    for (name, kind, mime) in [
        ("Factura.pdf", "application/pdf", "application/pdf"),
        ("f.xml", "text/xml", "application/xml"),
        ("carta.odt", "application/octet-stream", "application/vnd.oasis.opendocument.text"),
    ] {
        let sent = ana.upload("/api/send-whatsap", &[number, ("pdf", name, kind, PDF)]).await;
        assert_eq!(sent.status, StatusCode::OK, "{}", sent.text);
        assert_eq!(last(&device), [json!("document"), json!(mime), json!(name)]);
    }
    let without = ana.upload("/api/send-whatsap", &[("pdf", "f.pdf", "application/pdf", PDF)]).await;
    assert_eq!(error(&without), (400, "Número de destino requerido".to_owned()));
}

/// What PHP sends for `CURLOPT_POSTFIELDS => ['media' => base64_encode(…)]`.
#[tokio::test]
async fn a_field_of_a_form_may_have_a_file_in_base64() {
    let api = Api::start(&[]).await;
    let (ana, _, device) = linked(&api).await;
    let pdf = [PDF, &[0xfb; 18 * 1024 * 1024]].concat();
    let media = base64(&pdf);
    let parts = [
        ("number", "", "", TO.as_bytes()),
        ("filename", "", "", b"F001-1.pdf".as_slice()),
        ("media", "", "", media.as_bytes()),
    ];
    for path in ["/api/send-message", "/api/send-media", "/api/send-whatsap"] {
        let sent = ana.upload(path, &parts).await;
        assert_eq!(sent.status, StatusCode::OK, "{path}: {}", sent.text);
        assert!(messages(&device).pop().unwrap()["media"]["data"] == media, "another file arrived");
    }
}

#[tokio::test]
async fn what_is_no_base64_is_refused_instead_of_sent_broken() {
    let api = Api::start(&[]).await;
    let (ana, _, device) = linked(&api).await;
    let body = |media: Value| json!({ "number": TO, "mediatype": "image", "media": media });
    let broken = ana.post("/api/send-whatsap", body(json!("%%%"))).await;
    assert_eq!(error(&broken), (400, "El campo media no es base64 ni una URL válida".to_owned()));
    let number = ana.post("/api/send-whatsap", body(json!(123))).await;
    assert_eq!(error(&number), (500, "Error procesando archivo media".to_owned()));
    assert_eq!(messages(&device), Vec::<Value>::new());
}

/// Defect 8: files were public, under names that callers chose, and took the place of others.
#[tokio::test]
async fn no_file_is_written_or_served() {
    let api = Api::start(&[]).await;
    let (ana, _, device) = linked(&api).await;
    let word = "UNA-FACTURA-SECRETA";
    let before = files_below(api.data("").parent().unwrap());
    for (name, shown) in
        [("../../x.html", "x.html"), ("C:\\a\\x.html", "x.html"), ("factura.pdf", "factura.pdf")]
    {
        let body = json!({
            "number": TO, "mediatype": "document", "media": base64(word.as_bytes()), "filename": name,
        });
        assert_eq!(ana.post("/api/send-whatsap", body).await.json()["filename"], shown);
        assert_eq!(last(&device)[2], shown);
        let sent = ana
            .upload(
                "/api/send-media",
                &[("number", "", "", TO.as_bytes()), ("media", name, "text/html", word.as_bytes())],
            )
            .await;
        assert_eq!(sent.json()["filename"], shown, "{}", sent.text);
        for path in [format!("/uploads/{shown}"), format!("/public/uploads/{shown}"), format!("/{shown}")] {
            assert_eq!(api.call("GET", &path, "", None).await.status, StatusCode::NOT_FOUND, "{path}");
        }
    }
    // Two that have the same name are two files.
    assert_eq!(messages(&device).len(), 6);
    assert_eq!(files_below(api.data("").parent().unwrap()), before, "a file is left");
    for name in ["enlace.db", "enlace.db-wal"] {
        let stored = std::fs::read(api.database_file(name)).unwrap_or_default();
        assert!(!stored.windows(word.len()).any(|window| window == word.as_bytes()), "{name} has the file");
    }
}

/// Defect 11: uploads had no limit, and what was refused was left behind.
#[tokio::test]
async fn an_upload_has_limits() {
    let api = Api::start(&[]).await;
    let (ana, _, device) = linked(&api).await;
    let number: (&str, &str, &str, &[u8]) = ("number", "", "", TO.as_bytes());
    let large = vec![b'x'; 25 * 1024 * 1024 + 1];
    let refused =
        ana.upload("/api/send-media", &[number, ("media", "a.pdf", "application/pdf", &large)]).await;
    assert_eq!(refused.status, StatusCode::PAYLOAD_TOO_LARGE, "{}", refused.text);
    let fits =
        ana.upload("/api/send-media", &[number, ("media", "a.pdf", "application/pdf", &large[1..])]).await;
    assert_eq!(fits.status, StatusCode::OK, "{}", fits.text);
    let text = ana.upload("/api/send-media", &[number, ("message", "", "", &large)]).await;
    assert_eq!(text.status, StatusCode::PAYLOAD_TOO_LARGE, "{}", text.text);
    let halves = [number, ("a", "", "", &large[1..]), ("b", "", "", &large[1..])];
    let fields = ana.upload("/api/send-media", &halves).await;
    assert_eq!(fields.status, StatusCode::PAYLOAD_TOO_LARGE, "{}", fields.text);
    let parts = vec![("x", "", "", b"x".as_slice()); 100_001];
    let many = ana.upload("/api/send-media", &parts).await;
    assert_eq!(error(&many), (400, "El formulario tiene demasiados campos".to_owned()));
    for (path, field) in
        [("/api/send-media", "pdf"), ("/api/send-whatsap", "media"), ("/api/send-message", "media")]
    {
        let other = ana.upload(path, &[number, (field, "f.pdf", "application/pdf", PDF)]).await;
        assert_eq!(error(&other), (400, "Campo de archivo inesperado".to_owned()), "{path}");
        assert_eq!(other.json()["message"], "Unexpected field");
    }
    let file = ("media", "f.pdf", "application/pdf", PDF);
    let twice = ana.upload("/api/send-media", &[number, file, file]).await;
    assert_eq!(error(&twice), (400, "Campo de archivo inesperado".to_owned()));
    let broken = ana.post_as("/api/send-media", "multipart/form-data; boundary=x", "--x\r\nnada").await;
    assert_eq!(broken.status, StatusCode::BAD_REQUEST, "{}", broken.text);
    let nobody = Person { api: &api, token: "0".repeat(64) };
    let unknown =
        nobody.upload("/api/send-media", &[number, ("media", "a.pdf", "application/pdf", &large)]).await;
    assert_eq!(error(&unknown), (401, "Token inválido o expirado".to_owned()));
    assert_eq!(messages(&device).len(), 1);
}

#[tokio::test]
async fn a_text_does_not_wait_for_the_large_bodies_of_its_user() {
    let api = Api::start(&[]).await;
    let (ana, _, device) = linked(&api).await;
    let text = json!({ "number": TO, "message": "hola" }).to_string();
    // Both places of the user are taken by bodies of which nothing comes.
    let (read, mut reads) = tokio::sync::mpsc::unbounded_channel();
    let slow = || {
        let read = read.clone();
        let body = futures::stream::once(async move {
            read.send(()).unwrap();
            std::future::pending::<Result<Vec<u8>, std::io::Error>>().await
        });
        ana.post_as("/api/send-message", "application/json", axum::body::Body::from_stream(body))
    };
    let sent = async {
        for _ in 0..2 {
            reads.recv().await.unwrap();
        }
        let request = Request::post("/api/send-message")
            .header(header::AUTHORIZATION, format!("Bearer {}", ana.token))
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::CONTENT_LENGTH, text.len());
        api.send(request.body(text.clone().into()).unwrap()).await
    };
    tokio::select! {
        answer = sent => assert_eq!(answer.status(), StatusCode::OK),
        answer = futures::future::select(Box::pin(slow()), Box::pin(slow())) => panic!("{:?}", answer.factor_first().0.text),
    }
    assert_eq!(messages(&device).len(), 1);
}

fn files_below(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files_below(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}
