//! A file: its bytes, its name, its MIME type, and the kind of message that carries it.

use std::path::Path;

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use enlace_contract::messages::{Base64, Content, Media};

/// The largest file, in bytes.
pub(super) const MAX_FILE: usize = 25 * 1024 * 1024;
/// The longest name of a file, in bytes: that of common file systems.
const MAX_NAME: usize = 255;
/// The longest MIME type that is taken over, in bytes (RFC 6838).
const MAX_MIME: usize = 127;
/// What says nothing of a file.
const UNKNOWN: &str = "application/octet-stream";

/// What clients write as base64 is not always RFC 4648 to the letter: padding may be missing.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// A file that is to be sent.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct File {
    /// Its bytes.
    pub(super) bytes: Vec<u8>,
    /// Its name: one plain line, without a path.
    pub(super) name: Option<String>,
    /// Its MIME type.
    pub(super) mime: String,
}

/// What the caller says a file is.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Claims<'a> {
    /// `filename`.
    pub(super) name: Option<&'a str>,
    /// `mimetype`, or that of the part or of the server it comes from.
    pub(super) mime: Option<&'a str>,
}

impl File {
    /// A file with what is known of it. The type is the one that is claimed, else that of the name, else that of the content.
    pub(super) fn new(bytes: Vec<u8>, claims: Claims<'_>) -> Self {
        let name = claims.name.and_then(plain_name);
        let claimed = claims.mime.and_then(usable);
        let by_name = || name.as_deref().and_then(|name| mime_guess::from_path(name).first());
        let by_content = || infer::get(&bytes).map(|kind| kind.mime_type().to_owned());
        let mime = claimed
            .or_else(|| by_name().map(|mime| mime.to_string()))
            .or_else(by_content)
            .unwrap_or_else(|| UNKNOWN.to_owned());
        // Billing systems and phones know XML under this name.
        let mime = if mime.starts_with("text/xml") { "application/xml".to_owned() } else { mime };
        Self { bytes, name, mime }
    }

    /// The name, made of the type where there is none.
    pub(super) fn shown_name(&self) -> String {
        self.name.clone().unwrap_or_else(|| match extension(&self.mime) {
            Some(extension) => format!("archivo.{extension}"),
            None => "archivo".to_owned(),
        })
    }

    /// What carries it: a document when the caller says so, else what the type can be shown as. Sound has no caption: it comes back.
    pub(super) fn content(self, as_document: bool, caption: Option<String>) -> (Content, Option<String>) {
        let shown = if as_document { Shown::Document } else { shown(&self.mime) };
        let name = self.shown_name();
        let media = Media {
            data: Base64(self.bytes),
            mime_type: Some(self.mime),
            file_name: if shown == Shown::Document { Some(name) } else { self.name },
        };
        match shown {
            Shown::Image => (Content::Image { media, caption }, None),
            Shown::Video => (Content::Video { media, caption }, None),
            Shown::Audio => (Content::Audio { media, voice: false }, caption),
            Shown::Document => (Content::Document { media, caption }, None),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shown {
    Image,
    Video,
    Audio,
    Document,
}

/// As what WhatsApp's programs show a type; what they cannot is a document.
fn shown(mime: &str) -> Shown {
    match mime.split(';').next().unwrap_or_default().trim() {
        "image/jpeg" | "image/png" | "image/webp" | "image/gif" => Shown::Image,
        "video/mp4" | "video/3gpp" | "video/quicktime" => Shown::Video,
        "audio/mpeg" | "audio/mp3" | "audio/mp4" | "audio/m4a" | "audio/x-m4a" | "audio/aac"
        | "audio/amr" | "audio/ogg" | "audio/opus" | "audio/wav" | "audio/x-wav" => Shown::Audio,
        _ => Shown::Document,
    }
}

/// A claimed type, when it is one and says something.
fn usable(claimed: &str) -> Option<String> {
    let mime = claimed.trim().parse::<mime_guess::Mime>().ok()?;
    let named = !matches!(mime.subtype().as_str(), "" | "*") && !matches!(mime.type_().as_str(), "" | "*");
    let says =
        !matches!(mime.essence_str(), UNKNOWN | "application/x-www-form-urlencoded" | "binary/octet-stream");
    let text = mime.to_string();
    (named && says && text.is_ascii() && text.len() <= MAX_MIME).then_some(text)
}

fn extension(mime: &str) -> Option<&'static str> {
    match mime {
        "image/jpeg" => Some("jpg"),
        "application/xml" => Some("xml"),
        "text/plain" => Some("txt"),
        other => mime_guess::get_mime_extensions_str(other)?.first().copied(),
    }
}

/// The last part of a path, on one line; none when nothing is left.
pub(super) fn plain_name(text: &str) -> Option<String> {
    let last = text.rsplit(['/', '\\']).next().unwrap_or_default();
    let mut name: String = last
        .chars()
        .filter(|c| !c.is_control() && !matches!(c, '\u{2028}' | '\u{2029}'))
        .collect::<String>()
        .trim()
        .to_owned();
    if name.len() > MAX_NAME {
        // The end tells the type.
        let end = Path::new(&name).extension().and_then(|end| end.to_str()).filter(|end| end.len() <= 16);
        let end = end.map(|end| format!(".{end}")).unwrap_or_default();
        let mut at = MAX_NAME - end.len();
        while !name.is_char_boundary(at) {
            at -= 1;
        }
        name.truncate(at);
        name.push_str(&end);
    }
    (!matches!(name.as_str(), "" | "." | "..")).then_some(name)
}

/// The bytes of base64 as clients write it, with the type that a `data:` URL has. None: it is no base64, or there is nothing.
///
/// Line breaks, the alphabet of URLs, missing padding, and spaces where a form lost its `+` are taken; anything else would be a broken
/// file at the receiver.
pub(super) fn decode(text: &str) -> Option<(Vec<u8>, Option<&str>)> {
    let (mime, text) = match text.trim().strip_prefix("data:").map(|rest| rest.split_once(";base64,")) {
        None => (None, text),
        Some(None) => return None,
        Some(Some((mime, text))) => (Some(mime), text),
    };
    let letters: Vec<u8> = text
        .trim()
        .bytes()
        .filter(|byte| !matches!(byte, b'\r' | b'\n' | b'\t'))
        .map(|byte| match byte {
            b'-' | b' ' => b'+',
            b'_' => b'/',
            other => other,
        })
        .collect();
    let bytes = LENIENT.decode(letters).ok()?;
    (!bytes.is_empty()).then_some((bytes, mime.filter(|mime| !mime.is_empty())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mime(bytes: &[u8], name: Option<&str>, mime: Option<&str>) -> String {
        File::new(bytes.to_vec(), Claims { name, mime }).mime
    }

    #[test]
    fn a_file_has_its_own_type() {
        for (name, expected) in [
            ("F001-1.pdf", "application/pdf"),
            ("F001-1.XML", "application/xml"),
            ("carta.docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"),
            ("libro.xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"),
            ("notas.txt", "text/plain"),
            ("v.mp4", "video/mp4"),
            ("a.mp3", "audio/mpeg"),
            ("foto.jpg", "image/jpeg"),
            ("datos.zip", "application/zip"),
        ] {
            assert_eq!(mime(b"?", Some(name), None), expected, "{name}");
            assert_eq!(mime(b"?", Some(name), Some("application/octet-stream")), expected, "{name}");
        }
        assert_eq!(mime(b"?", Some("a.pdf"), Some("text/csv; charset=utf-8")), "text/csv; charset=utf-8");
        assert_eq!(mime(b"?", Some("f.xml"), Some("text/xml")), "application/xml");
        assert_eq!(mime(b"%PDF-1.4", None, Some("not a type")), "application/pdf");
        assert_eq!(mime(b"?", None, None), UNKNOWN);
    }

    #[test]
    fn a_type_goes_out_as_what_it_can_be_shown_as() {
        for (mime, kind) in [
            ("image/png", "image"),
            ("image/svg+xml", "document"),
            ("video/mp4", "video"),
            ("video/x-msvideo", "document"),
            ("audio/ogg; codecs=opus", "audio"),
            ("application/pdf", "document"),
        ] {
            let file = File::new(b"?".to_vec(), Claims { name: None, mime: Some(mime) });
            assert_eq!(file.content(false, None).0.kind(), kind, "{mime}");
        }
        let picture = File::new(b"?".to_vec(), Claims { name: Some("a.png"), mime: None });
        assert_eq!(picture.content(true, None).0.kind(), "document");
        let sound = File::new(b"?".to_vec(), Claims { name: Some("a.mp3"), mime: None });
        let (content, left) = sound.content(false, Some("oye".to_owned()));
        assert_eq!((content.kind(), left.as_deref()), ("audio", Some("oye")));
    }

    #[test]
    fn a_name_is_one_line_without_a_path() {
        for (text, name) in [
            ("F001-1 ñ.pdf", Some("F001-1 ñ.pdf")),
            ("../../x.html", Some("x.html")),
            ("C:\\facturas\\a.pdf", Some("a.pdf")),
            ("a\r\nb.pdf", Some("ab.pdf")),
            ("..", None),
            ("a/", None),
            ("  ", None),
        ] {
            assert_eq!(plain_name(text).as_deref(), name, "{text:?}");
        }
        let long = plain_name(&format!("{}.pdf", "ñ".repeat(200))).unwrap();
        assert!(long.len() <= 255 && long.ends_with("ñ.pdf"), "{long}");
        let unnamed = File::new(b"%PDF-1.4".to_vec(), Claims::default());
        assert_eq!(unnamed.shown_name(), "archivo.pdf");
    }

    #[test]
    fn base64_is_read_as_clients_write_it() {
        for text in [
            "JVBERi0xLjQ+",
            "JVBERi0x\r\nLjQ+\n",
            "JVBERi0xLjQ-",
            "JVBERi0xLjQ ",
            "data:application/pdf;base64,JVBERi0xLjQ+",
        ] {
            let expected: &[u8] = if text.ends_with(' ') { b"%PDF-1.4" } else { b"%PDF-1.4>" };
            let (bytes, _) = decode(text).unwrap_or_else(|| panic!("{text:?}"));
            assert!(bytes.starts_with(&expected[..8]), "{text:?}");
        }
        assert_eq!(decode("a b_").unwrap().0, decode("a+b/").unwrap().0);
        assert_eq!(decode("AA").unwrap().0, [0]);
        assert_eq!(decode("data:image/png;base64,AA==").unwrap().1, Some("image/png"));
        for wrong in ["", "%%%", "====", "data:text/plain,hola", "a"] {
            assert!(decode(wrong).is_none(), "{wrong:?}");
        }
    }
}
