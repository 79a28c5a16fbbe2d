//! The store under test: `object_store` as a user has it, but for how it connects and signs.
//!
//! A user takes its feature `aws`, which brings a TLS library; on the loopback interface there is none.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use hmac::{Hmac, KeyInit, Mac};
use http_body_util::BodyExt;
use hyper::header::{HOST, HeaderValue};
use hyper_util::rt::TokioIo;
use object_store::aws::AmazonS3Builder;
use object_store::client::{
    ClientOptions, CryptoProvider, DigestAlgorithm, DigestContext, HmacContext, HttpClient, HttpConnector,
    HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpResponseBody, HttpService, Signer,
    SigningAlgorithm,
};
use object_store::{Result, RetryConfig};
use persistency::object_stores::ObjectStores;
use sha2::{Digest, Sha256};
use tokio::net::TcpStream;
use tokio::runtime::Handle;

use super::server::{BUCKET, KEY_ID, SECRET, Server, Shared};

/// The server's bucket as a store.
pub fn store(server: &Server) -> ObjectStores {
    with_secret(server, SECRET)
}

pub fn with_secret(server: &Server, secret: &str) -> ObjectStores {
    let retries = RetryConfig { max_retries: 0, ..RetryConfig::default() };
    let s3 = AmazonS3Builder::new()
        // Signed, and so always the same; the connector knows where the server is.
        .with_endpoint("http://localhost")
        .with_allow_http(true)
        .with_region("us-east-1")
        .with_bucket_name(BUCKET)
        .with_access_key_id(KEY_ID)
        .with_secret_access_key(secret)
        // What fails is seen by the archive at once.
        .with_retry(retries)
        .with_crypto_provider(Arc::new(Crypto))
        .with_http_connector(Connector(Arc::clone(server.shared())))
        .build()
        .unwrap();
    ObjectStores::on(Handle::current(), Arc::new(s3))
}

/// Connects to wherever the server was started last, for each request anew.
#[derive(Clone, Debug)]
struct Connector(Arc<Shared>);

impl HttpConnector for Connector {
    fn connect(&self, _options: &ClientOptions) -> Result<HttpClient> {
        Ok(HttpClient::new(self.clone()))
    }
}

#[async_trait]
impl HttpService for Connector {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let never = || HttpError::new(HttpErrorKind::Connect, std::io::Error::other("it was never started"));
        let address = self.0.address().ok_or_else(never)?;
        let stream = TcpStream::connect(address).await;
        let stream = stream.map_err(|error| HttpError::new(HttpErrorKind::Connect, error))?;
        let failed = |error: hyper::Error| HttpError::new(HttpErrorKind::Request, error);
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
        // Ends with the answer's body; an error of it the request has too.
        tokio::spawn(connection);
        let (mut parts, body) = request.into_parts();
        if let Some(host) = parts.uri.authority().and_then(|host| HeaderValue::from_str(host.as_str()).ok()) {
            parts.headers.insert(HOST, host);
        }
        if let Some(path) = parts.uri.path_and_query() {
            parts.uri = path.clone().into();
        }
        let answer = sender.send_request(hyper::Request::from_parts(parts, body)).await.map_err(failed)?;
        Ok(answer.map(|body| {
            HttpResponseBody::new(body.map_err(|error| HttpError::new(HttpErrorKind::Interrupted, error)))
        }))
    }
}

/// What signing needs, and no more.
#[derive(Debug)]
struct Crypto;

impl CryptoProvider for Crypto {
    fn digest(&self, _: DigestAlgorithm) -> Result<Box<dyn DigestContext>> {
        Ok(Box::new(Hash(Sha256::new(), Vec::new())))
    }

    fn hmac(&self, _: DigestAlgorithm, secret: &[u8]) -> Result<Box<dyn HmacContext>> {
        let hmac = Hmac::<Sha256>::new_from_slice(secret).map_err(generic)?;
        Ok(Box::new(KeyedHash(hmac, Vec::new())))
    }

    fn sign(&self, _: SigningAlgorithm, _: &[u8]) -> Result<Box<dyn Signer>> {
        Err(generic("S3 asks for no such signature"))
    }
}

fn generic(error: impl fmt::Display) -> object_store::Error {
    object_store::Error::Generic { store: "tests", source: error.to_string().into() }
}

struct Hash(Sha256, Vec<u8>);

impl DigestContext for Hash {
    fn update(&mut self, data: &[u8]) {
        self.0.update(data);
    }

    fn finish(&mut self) -> Result<&[u8]> {
        self.1 = self.0.finalize_reset().to_vec();
        Ok(&self.1)
    }
}

struct KeyedHash(Hmac<Sha256>, Vec<u8>);

impl HmacContext for KeyedHash {
    fn update(&mut self, data: &[u8]) {
        self.0.update(data);
    }

    fn finish(&mut self) -> Result<&[u8]> {
        self.1 = self.0.clone().finalize().into_bytes().to_vec();
        Ok(&self.1)
    }
}
