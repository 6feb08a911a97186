//! The HTTP client for media and for the version look-up: bounded in time and size.

use std::time::Duration;

use whatsapp_rust::http::UreqHttpClient;

use crate::endpoints::Endpoints;

/// How long opening a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long one transfer may take in all.
const TRANSFER_TIMEOUT: Duration = Duration::from_secs(300);
/// The largest file, in bytes. WhatsApp allows 2 GB documents; a device's memory does not.
const MAX_BODY: u64 = 100 * 1024 * 1024;

fn ureq_client() -> UreqHttpClient {
    let agent = ureq::Agent::config_builder()
        .timeout_connect(Some(CONNECT_TIMEOUT))
        .timeout_global(Some(TRANSFER_TIMEOUT))
        .input_buffer_size(16 * 1024)
        .output_buffer_size(16 * 1024)
        .max_idle_connections(3)
        .build()
        .new_agent();
    UreqHttpClient::with_agent(agent).with_max_body_bytes(MAX_BODY)
}

/// The client for these endpoints.
#[cfg(not(feature = "simulator-trust"))]
pub(super) fn client(_: &Endpoints) -> UreqHttpClient {
    ureq_client()
}

/// The client for these endpoints: with a media address, every request goes there.
#[cfg(feature = "simulator-trust")]
pub(super) fn client(endpoints: &Endpoints) -> redirect::Redirected {
    redirect::Redirected { inner: ureq_client(), base: endpoints.media.clone() }
}

#[cfg(feature = "simulator-trust")]
mod redirect {
    use async_trait::async_trait;
    use whatsapp_rust::anyhow::Result;
    use whatsapp_rust::http::{HttpClient, HttpRequest, HttpResponse, UreqHttpClient};
    use whatsapp_rust::wacore::net::{StreamingHttpResponse, UploadBody};

    /// Sends each request to one address, whatever host it names.
    pub(crate) struct Redirected {
        pub(super) inner: UreqHttpClient,
        pub(super) base: Option<String>,
    }

    impl Redirected {
        fn rewrite(&self, mut request: HttpRequest) -> HttpRequest {
            if let Some(base) = &self.base
                && let Some((_, rest)) = request.url.split_once("://")
            {
                let path = rest.find('/').map_or("", |at| &rest[at..]);
                request.url = format!("{}{path}", base.trim_end_matches('/'));
            }
            request
        }
    }

    #[async_trait]
    impl HttpClient for Redirected {
        async fn execute(&self, request: HttpRequest) -> Result<HttpResponse> {
            self.inner.execute(self.rewrite(request)).await
        }

        fn supports_streaming(&self) -> bool {
            self.inner.supports_streaming()
        }

        fn execute_streaming(&self, request: HttpRequest) -> Result<StreamingHttpResponse> {
            self.inner.execute_streaming(self.rewrite(request))
        }

        fn supports_upload_streaming(&self) -> bool {
            self.inner.supports_upload_streaming()
        }

        fn execute_upload(
            &self,
            request: HttpRequest,
            body: UploadBody,
            length: u64,
        ) -> Result<HttpResponse> {
            self.inner.execute_upload(self.rewrite(request), body, length)
        }
    }
}
