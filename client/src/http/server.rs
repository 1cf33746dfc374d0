//! The connection to a server: sends requests, again where that is safe, and reads the answers.

use std::sync::Arc;
use std::time::Duration;

use gristmill_core::Instant;
use gristmill_core::causes::with_causes;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, IF_MATCH, IF_RANGE, RANGE};
use reqwest::redirect::Policy;
use reqwest::{Body, Certificate, Client, RequestBuilder, Response, StatusCode, Url};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::again;
use super::call::Call;
use super::error::HttpError;
use super::options::{ServerOptions, is_loopback};
use super::reply::{Reply, read, refused};
use super::upload::Upload;

/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(10);

/// The most rows that a page of a list has.
const PAGE_ROWS: u32 = 1_000;

/// A server. Clones share the connection.
#[derive(Debug, Clone)]
pub struct Server(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    client: Client,
    base: Url,
    timeout: Duration,
}

impl Server {
    /// Prepares requests to a server, and sends none yet.
    ///
    /// # Errors
    ///
    /// [`HttpError::Options`] when the address, the token or the certificates make no sense.
    pub fn new(options: &ServerOptions) -> Result<Self, HttpError> {
        let base = options.base()?;
        let mut headers = HeaderMap::new();
        if let Some(token) = &options.token {
            headers.insert(AUTHORIZATION, token.header()?);
        }
        if let Some(tenant) = &options.tenant {
            let value = HeaderValue::try_from(tenant);
            let value = value.map_err(|_| HttpError::Options(format!("`{tenant}` is not the name of a tenant")))?;
            headers.insert(HeaderName::from_static("gristmill-tenant"), value);
        }
        // An earlier caller may have installed the same one.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = Client::builder()
            .redirect(Policy::none())
            .user_agent(concat!("gristmill/", env!("CARGO_PKG_VERSION")))
            .default_headers(headers)
            .connect_timeout(CONNECT)
            .tcp_keepalive(Duration::from_secs(15));
        if is_loopback(&base) {
            builder = builder.no_proxy();
        }
        if let Some(pem) = &options.ca {
            let none = || HttpError::Options("the file of the authority holds no certificate in PEM".to_owned());
            let certificates =
                Certificate::from_pem_bundle(pem).ok().filter(|found| !found.is_empty()).ok_or_else(none)?;
            builder = builder.tls_certs_merge(certificates);
        }
        let client = builder.build();
        let client =
            client.map_err(|error| HttpError::Options(format!("HTTP cannot be set up: {}", with_causes(&error))))?;
        Ok(Self(Arc::new(Inner { client, base, timeout: options.timeout })))
    }

    /// Its address, for messages.
    pub fn address(&self) -> String {
        self.0.base.as_str().trim_end_matches('/').to_owned()
    }

    /// Sends a request and returns its document.
    ///
    /// # Errors
    ///
    /// [`HttpError`].
    pub async fn send<T: DeserializeOwned>(&self, call: &Call) -> Result<T, HttpError> {
        Ok(self.reply(call).await?.data)
    }

    /// Returns the time on the server's clock.
    ///
    /// # Errors
    ///
    /// [`HttpError`].
    pub async fn clock(&self) -> Result<Instant, HttpError> {
        let reply: Reply<Value> = self.reply(&Call::get(&["version"])).await?;
        let reason = "it has no timestamp".to_owned();
        reply.at.ok_or_else(|| HttpError::Strange { server: self.address(), reason })
    }

    /// Sends a request for a list, and returns a page of it and the key at which the next one begins, if there is one.
    ///
    /// # Errors
    ///
    /// [`HttpError`].
    pub async fn page<T: DeserializeOwned>(&self, call: &Call) -> Result<(Vec<T>, Option<String>), HttpError> {
        let Reply { data, next, at: _ } = self.reply(call).await?;
        Ok((data, next))
    }

    /// Returns a whole list, page by page. The request names neither `after` nor `limit`.
    ///
    /// # Errors
    ///
    /// [`HttpError`].
    pub async fn all<T: DeserializeOwned>(&self, call: &Call) -> Result<Vec<T>, HttpError> {
        let (mut all, mut after) = (Vec::new(), None);
        loop {
            let (rows, next) = self.page(&call.clone().param("limit", PAGE_ROWS).maybe("after", after)).await?;
            all.extend(rows);
            match next {
                Some(next) => after = Some(next),
                None => return Ok(all),
            }
        }
    }

    /// Sends a body as it is read or made, once: what was read cannot be sent again.
    ///
    /// # Errors
    ///
    /// [`HttpError`]; when making it failed, what that said.
    pub async fn upload<T: DeserializeOwned>(&self, call: &Call, upload: Upload) -> Result<T, HttpError> {
        // With a key of its own each job would keep one.
        let request = self.request(&call.clone().unkeyed());
        self.pour(request, upload).await
    }

    /// Sends the next bytes of an upload, once. What has come of them stays also when it breaks off.
    ///
    /// # Errors
    ///
    /// Same as [`Server::upload`].
    pub async fn append<T: DeserializeOwned>(&self, call: &Call, offset: u64, upload: Upload) -> Result<T, HttpError> {
        let request = self.request(call).header(HeaderName::from_static("upload-offset"), offset);
        self.pour(request, upload.of("application/partial-upload")).await
    }

    /// Sends a request with a body as it is read or made.
    async fn pour<T: DeserializeOwned>(&self, request: RequestBuilder, upload: Upload) -> Result<T, HttpError> {
        let media = upload.media;
        let (body, wrong) = upload.body();
        let answer = match request.header(CONTENT_TYPE, media).body(body).send().await {
            Ok(response) => read(&self.address(), response).await.map(|reply| reply.data),
            Err(error) => Err(self.no_answer(error)),
        };
        // The server sees a body that breaks off; the caller learns why.
        match wrong.take() {
            Some(wrong) => Err(HttpError::Input(wrong)),
            None => answer,
        }
    }

    /// Sends a request whose answer is a stream, and gives its pieces away as they come.
    ///
    /// # Errors
    ///
    /// [`HttpError`], and those of `take`, as [`HttpError::Input`].
    pub async fn download(
        &self,
        call: &Call,
        mut take: impl FnMut(&[u8]) -> Result<(), String> + Send,
    ) -> Result<(), HttpError> {
        let mut response = self.request(call).send().await.map_err(|error| self.no_answer(error))?;
        if !response.status().is_success() {
            return Err(refused(&self.address(), response).await);
        }
        while let Some(piece) = response.chunk().await.map_err(|error| self.no_answer(error))? {
            take(&piece).map_err(HttpError::Input)?;
        }
        Ok(())
    }

    /// Sends a request for a file of which the first bytes are there already, as long as it still has this strong tag, and
    /// gives its pieces away as they come, each with the number of bytes before it: the file begins anew at 0 when the
    /// server sends all of it.
    ///
    /// # Errors
    ///
    /// Same as [`Server::download`].
    pub async fn download_rest(
        &self,
        call: &Call,
        (have, tag): (u64, &str),
        mut take: impl FnMut(u64, &[u8]) -> Result<(), String> + Send,
    ) -> Result<(), HttpError> {
        let mut request = self.request(call);
        if have > 0 {
            request = request.header(RANGE, format!("bytes={have}-")).header(IF_RANGE, format!("\"{tag}\""));
        }
        let mut response = request.send().await.map_err(|error| self.no_answer(error))?;
        if !response.status().is_success() {
            return Err(refused(&self.address(), response).await);
        }
        let mut at = if response.status() == StatusCode::PARTIAL_CONTENT { have } else { 0 };
        while let Some(piece) = response.chunk().await.map_err(|error| self.no_answer(error))? {
            take(at, &piece).map_err(HttpError::Input)?;
            at += piece.len() as u64;
        }
        Ok(())
    }

    async fn reply<T: DeserializeOwned>(&self, call: &Call) -> Result<Reply<T>, HttpError> {
        let mut tries = 1;
        loop {
            let error = match self.once(call).await {
                Ok(response) => match read(&self.address(), response).await {
                    Ok(reply) => return Ok(reply),
                    Err(error) => error,
                },
                Err(error) => error,
            };
            let Some(wait) = again::wait(call, &error, tries) else { return Err(error) };
            tries += 1;
            tokio::time::sleep(wait).await;
        }
    }

    async fn once(&self, call: &Call) -> Result<Response, HttpError> {
        let mut request = self.request(call).timeout(call.timeout.unwrap_or(self.0.timeout));
        if let Some(body) = &call.body {
            request = request.header(CONTENT_TYPE, "application/json").body(Body::from(body.to_string()));
        }
        request.send().await.map_err(|error| self.no_answer(error))
    }

    fn request(&self, call: &Call) -> RequestBuilder {
        let mut request = self.0.client.request(call.method.clone(), call.url(&self.0.base));
        if let Some(key) = &call.key {
            request = request.header("idempotency-key", key);
        }
        if let Some(version) = &call.if_match {
            request = request.header(IF_MATCH, format!("\"{version}\""));
        }
        request
    }

    fn no_answer(&self, error: reqwest::Error) -> HttpError {
        let (server, error) = (self.address(), error.without_url());
        let reason = if error.is_timeout() { "it took too long".to_owned() } else { with_causes(&error) };
        if error.is_connect() {
            return HttpError::Unreachable { server, reason };
        }
        HttpError::Broken { server, reason }
    }
}
