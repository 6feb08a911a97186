//! A stored message as a protocol message.

use enlace_contract::messages::{Content, Media};
use whatsapp_rust::anyhow;
use whatsapp_rust::client::Client;
use whatsapp_rust::media::{
    AudioOptions, DocumentOptions, ImageOptions, VideoOptions, audio_message, document_message,
    image_message, video_message,
};
use whatsapp_rust::upload::{UploadOptions, UploadResponse};
use whatsapp_rust::wacore::download::MediaType;
use whatsapp_rust::waproto::whatsapp as wa;

/// The protocol message of a content; a file is uploaded first.
pub(super) async fn prepare(client: &Client, content: Content) -> anyhow::Result<wa::Message> {
    Ok(match content {
        Content::Text { text } => wa::Message { conversation: Some(text), ..wa::Message::default() },
        Content::Image { media, caption } => {
            let mimetype = mime_type(&media);
            let upload = upload(client, media, MediaType::Image).await?;
            image_message(
                upload,
                ImageOptions { caption, mimetype: Some(mimetype), ..ImageOptions::default() },
            )
        }
        Content::Video { media, caption } => {
            let mimetype = mime_type(&media);
            let upload = upload(client, media, MediaType::Video).await?;
            video_message(
                upload,
                VideoOptions { caption, mimetype: Some(mimetype), ..VideoOptions::default() },
            )
        }
        Content::Audio { media, voice } => {
            let mimetype = mime_type(&media);
            let upload = upload(client, media, MediaType::Audio).await?;
            audio_message(
                upload,
                AudioOptions { mimetype: Some(mimetype), ptt: Some(voice), ..AudioOptions::default() },
            )
        }
        Content::Document { media, caption } => {
            let mimetype = mime_type(&media);
            let file_name = media.file_name.clone().unwrap_or_else(|| "document".to_owned());
            let upload = upload(client, media, MediaType::Document).await?;
            let options = DocumentOptions {
                mimetype: Some(mimetype),
                file_name: Some(file_name.clone()),
                title: Some(file_name),
                caption,
                ..DocumentOptions::default()
            };
            document_message(upload, options)
        }
    })
}

async fn upload(client: &Client, media: Media, kind: MediaType) -> anyhow::Result<UploadResponse> {
    client.upload(media.data.0, kind, UploadOptions::default()).await
}

/// The MIME type of a file: as the caller says, else by its name, else by its content.
fn mime_type(media: &Media) -> String {
    if let Some(said) = &media.mime_type {
        return said.clone();
    }
    let by_name = media.file_name.as_deref().and_then(|name| mime_guess::from_path(name).first_raw());
    by_name
        .or_else(|| infer::get(&media.data.0).map(|kind| kind.mime_type()))
        .unwrap_or("application/octet-stream")
        .to_owned()
}

#[cfg(test)]
mod tests {
    use enlace_contract::messages::Base64;

    use super::*;

    #[test]
    fn a_file_has_the_type_it_is_said_to_have_then_that_of_its_name_then_of_its_content() {
        let media = |mime: Option<&str>, name: Option<&str>, data: &[u8]| Media {
            data: Base64(data.to_vec()),
            mime_type: mime.map(str::to_owned),
            file_name: name.map(str::to_owned),
        };
        assert_eq!(mime_type(&media(Some("text/csv"), Some("a.pdf"), b"%PDF-1.7")), "text/csv");
        assert_eq!(mime_type(&media(None, Some("factura.xml"), b"%PDF-1.7")), "text/xml");
        assert_eq!(mime_type(&media(None, Some("factura"), b"%PDF-1.7")), "application/pdf");
        assert_eq!(mime_type(&media(None, None, b"?")), "application/octet-stream");
    }
}
