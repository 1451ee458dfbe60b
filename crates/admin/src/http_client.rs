//! A small HTTP client: one server, one request at a time, over one connection that is kept.
//!
//! A server must tolerate the same request twice: a request on a kept connection that breaks is sent again.

use anyhow::{Context, Result, bail};
use axum::body::{Body, to_bytes};
use axum::http::uri::{Authority, Scheme};
use axum::http::{HeaderValue, Method, Request, StatusCode, Uri, header};
use bytes::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use pelago_net::{Fingerprint, Trust};
use std::path::Path;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long connecting may take, TLS included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of an answer at most: a page has 16 MiB, and what frames its documents.
const MAX_ANSWER_BYTES: usize = 32 * 1024 * 1024;

/// A server and the way to it. Formatting it shows no secret.
#[derive(Debug)]
pub struct HttpClient {
    authority: Authority,
    /// `host:port`.
    address: String,
    /// Before every path that is asked for; without a slash at its end.
    base: String,
    trust: Option<Trust>,
    authorization: Option<HeaderValue>,
    connection: Option<SendRequest<Body>>,
}

/// What is sent.
pub struct Question<'a> {
    /// What is to be done.
    pub method: Method,
    /// With its query.
    pub path: &'a str,
    /// The body and its type.
    pub body: Option<(&'static str, Bytes)>,
    /// How long the answer may take.
    pub patience: Duration,
}

impl HttpClient {
    /// For the server at a URL. Whom to `trust` has to be said for `https`.
    ///
    /// # Errors
    /// If it is no URL of a server, or nobody was named to trust.
    pub fn new(
        url: &str,
        trust: Option<Trust>,
        authorization: Option<HeaderValue>,
    ) -> Result<Self> {
        let uri: Uri = url.parse().with_context(|| format!("{url:?} is no URL"))?;
        let encrypted = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTP => false,
            Some(scheme) if *scheme == Scheme::HTTPS => true,
            _ => bail!("{url:?} is no URL: it begins with http:// or https://"),
        };
        let Some(authority) = uri.authority().cloned() else { bail!("{url:?} names no host") };
        if authority.as_str().contains('@') {
            bail!("a URL with a password in it is refused: it would be seen in lists of processes");
        }
        if uri.query().is_some() {
            bail!("{url:?} has a query: name the server only");
        }
        if encrypted && trust.is_none() {
            bail!("{url}: say whom to trust, with a file of certificates or a fingerprint");
        }
        let port = authority.port_u16().unwrap_or(if encrypted { 443 } else { 80 });
        let address = format!("{}:{port}", authority.host());
        let base = uri.path().trim_end_matches('/').to_owned();
        let trust = trust.filter(|_| encrypted);
        Ok(Self { authority, address, base, trust, authorization, connection: None })
    }

    /// Asks and waits for the whole answer.
    ///
    /// # Errors
    /// If there is none in time.
    pub async fn ask(&mut self, question: &Question<'_>) -> Result<(StatusCode, Bytes)> {
        let asked = async {
            let kept = self.connection.take();
            if let Some(mut connection) = kept
                && connection.ready().await.is_ok()
                && let Ok(answer) = self.send(connection, question).await
            {
                return Ok(answer);
            }
            let connection = timeout(CONNECT_TIMEOUT, self.connect());
            let connection = connection.await.context("connecting takes too long")??;
            self.send(connection, question).await
        };
        match timeout(question.patience, asked).await {
            Ok(answer) => answer.with_context(|| self.address.clone()),
            Err(_) => bail!("{}: no answer within {:?}", self.address, question.patience),
        }
    }

    async fn connect(&self) -> Result<SendRequest<Body>> {
        let stream = TcpStream::connect(&self.address).await?;
        stream.set_nodelay(true)?;
        match &self.trust {
            Some(trust) => open(trust.connect(&self.address, stream).await?).await,
            None => open(stream).await,
        }
    }

    /// Keeps the connection if it can be used again.
    async fn send(
        &mut self,
        mut connection: SendRequest<Body>,
        question: &Question<'_>,
    ) -> Result<(StatusCode, Bytes)> {
        let mut request = Request::builder()
            .method(question.method.clone())
            .uri(format!("{}{}", self.base, question.path))
            .header(header::HOST, self.authority.as_str());
        if let Some(authorization) = &self.authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        let body = match &question.body {
            Some((kind, bytes)) => {
                request = request.header(header::CONTENT_TYPE, *kind);
                Body::from(bytes.clone())
            }
            None => Body::empty(),
        };
        let answer = connection.send_request(request.body(body)?).await?;
        let status = answer.status();
        let body = to_bytes(Body::new(answer.into_body()), MAX_ANSWER_BYTES).await?;
        self.connection = Some(connection);
        Ok((status, body))
    }
}

async fn open(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> Result<SendRequest<Body>> {
    let (sender, connection) = handshake(TokioIo::new(stream)).await?;
    // It ends with its sender; the request that is under way is told how it broke.
    tokio::spawn(async move { drop(connection.await) });
    Ok(sender)
}

/// Whom to trust, of certificates in a file or a fingerprint.
///
/// # Errors
/// If the file cannot be used.
pub fn trust(ca: Option<&Path>, fingerprint: Option<Fingerprint>) -> Result<Option<Trust>> {
    Ok(match (ca, fingerprint) {
        (Some(file), _) => Some(Trust::certificates(file)?),
        (None, Some(fingerprint)) => Some(Trust::fingerprint(fingerprint)?),
        (None, None) => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_urls_say_what_is_wrong() {
        for (url, expected) in [
            ("", "no URL"),
            ("127.0.0.1:80", "http://"),
            ("ftp://host", "http://"),
            ("http://me:secret@host", "password"),
            ("http://host/?a=b", "query"),
            ("https://host", "whom to trust"),
        ] {
            let error = format!("{:#}", HttpClient::new(url, None, None).unwrap_err());
            assert!(error.contains(expected), "{url:?}: {error}");
        }
        let client = HttpClient::new("http://host:9200/base/", None, None).unwrap();
        assert_eq!((&*client.address, &*client.base), ("host:9200", "/base"));
    }
}
