//! The protocol that the npm package's archives speak, over a store: documented in `pkg-template/docs/archive.md`.
//!
//! Never touches a file by itself: names are checked here, and kept by the store.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use persistency::ErrorKind;
use persistency::archive::{LIST_MAX, Put, Store};
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

/// Connections that are served at one time; further ones wait.
const CONNECTIONS_MAX: usize = 64;
/// Bytes of a name at most.
const NAME_BYTES_MAX: usize = 1024;
/// How long a request may take to arrive.
const ARRIVAL: Duration = Duration::from_secs(120);

/// What is served, to whom.
pub struct Server {
    store: Arc<dyn Store>,
    /// What `Authorization` has to be, hashed, so that comparing takes as long whatever is guessed.
    authorization: Option<[u8; 32]>,
    origin: HeaderValue,
    max_bytes: usize,
}

/// A refusal, or a failure.
struct No(StatusCode, String);

impl No {
    fn because(status: StatusCode, why: &str) -> Self {
        No(status, why.to_owned())
    }
}

impl From<persistency::Error> for No {
    fn from(error: persistency::Error) -> Self {
        let status = match error.kind() {
            ErrorKind::StorageFull => StatusCode::INSUFFICIENT_STORAGE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        No(status, error.to_string())
    }
}

impl Server {
    /// Serves a store to pages of `origin`, to those that know the token if there is one.
    pub fn new(
        store: Arc<dyn Store>,
        token: Option<String>,
        origin: &str,
        max_bytes: usize,
    ) -> Result<Self, header::InvalidHeaderValue> {
        let authorization = token.map(|token| Sha256::digest(format!("Bearer {token}")).into());
        Ok(Server { store, authorization, origin: HeaderValue::from_str(origin)?, max_bytes })
    }

    async fn answer(&self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
        let carried_out = tokio::time::timeout(ARRIVAL, self.carry_out(request)).await;
        let late = |_| Err(No::because(StatusCode::REQUEST_TIMEOUT, "the request has not arrived in time"));
        let (status, body) = match carried_out.unwrap_or_else(late) {
            Ok(answer) => answer,
            Err(No(status, why)) => (status, Bytes::from(why)),
        };
        let mut response = Response::new(Full::new(body));
        *response.status_mut() = status;
        self.mark(response.headers_mut(), status);
        Ok(response)
    }

    /// The headers of every answer: pages of another origin may read it, nobody keeps it.
    fn mark(&self, headers: &mut HeaderMap, status: StatusCode) {
        let mut set = |name: HeaderName, value: &'static str| {
            headers.insert(name, HeaderValue::from_static(value));
        };
        let is_text = status != StatusCode::OK;
        set(
            header::CONTENT_TYPE,
            if is_text { "text/plain; charset=utf-8" } else { "application/octet-stream" },
        );
        set(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
        set(header::CACHE_CONTROL, "no-store");
        set(header::ACCESS_CONTROL_ALLOW_METHODS, "GET, PUT, DELETE");
        set(header::ACCESS_CONTROL_ALLOW_HEADERS, "authorization, content-type, if-none-match");
        set(header::ACCESS_CONTROL_MAX_AGE, "600");
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, self.origin.clone());
    }

    async fn carry_out(&self, request: Request<Incoming>) -> Result<(StatusCode, Bytes), No> {
        // A browser asks first whether it may ask, and brings no token then.
        if request.method() == Method::OPTIONS {
            return Ok((StatusCode::NO_CONTENT, Bytes::new()));
        }
        self.authorize(request.headers())?;
        let name = request.uri().path().trim_start_matches('/').to_owned();
        if name.is_empty() && request.method() == Method::GET {
            return self.list(request.uri().query().unwrap_or_default()).await;
        }
        if !is_name(&name) {
            return Err(No::because(StatusCode::BAD_REQUEST, "no object can have this name"));
        }
        match *request.method() {
            Method::GET => match self.store.get(&name).await? {
                Some(bytes) => Ok((StatusCode::OK, Bytes::from(bytes))),
                None => Err(No::because(StatusCode::NOT_FOUND, "there is no such object")),
            },
            Method::PUT => self.put(&name, request).await,
            Method::DELETE => {
                self.store.delete(&name).await?;
                Ok((StatusCode::NO_CONTENT, Bytes::new()))
            }
            _ => Err(No::because(StatusCode::METHOD_NOT_ALLOWED, "only GET, PUT and DELETE")),
        }
    }

    fn authorize(&self, headers: &HeaderMap) -> Result<(), No> {
        let Some(authorization) = self.authorization else { return Ok(()) };
        let given = headers.get(header::AUTHORIZATION).map(HeaderValue::as_bytes).unwrap_or_default();
        let given: [u8; 32] = Sha256::digest(given).into();
        match given == authorization {
            true => Ok(()),
            false => Err(No::because(StatusCode::UNAUTHORIZED, "another token is wanted")),
        }
    }

    async fn list(&self, query: &str) -> Result<(StatusCode, Bytes), No> {
        let bad = || No::because(StatusCode::BAD_REQUEST, "a list has prefix, from and limit");
        let value = |name: &str| {
            let pair = query.split('&').filter_map(|pair| pair.split_once('=')).find(|(of, _)| *of == name);
            // Of the signs that names have, this one alone has to be escaped.
            pair.map(|(_, value)| value.replace("%3D", "=")).ok_or_else(bad)
        };
        let (prefix, from, limit) = (value("prefix")?, value("from")?, value("limit")?);
        let limit: usize = limit.parse().map_err(|_| bad())?;
        let folder = prefix.strip_suffix('/').ok_or_else(bad)?;
        let has_signs_of_names = from.len() <= NAME_BYTES_MAX && from.bytes().all(is_sign);
        if !is_name(folder) || !has_signs_of_names || !(1..=LIST_MAX).contains(&limit) {
            return Err(bad());
        }
        let names = self.store.list(&prefix, &from, limit).await?;
        let list: String = names.into_iter().map(|name| name + "\n").collect();
        Ok((StatusCode::OK, Bytes::from(list)))
    }

    async fn put(&self, name: &str, request: Request<Incoming>) -> Result<(StatusCode, Bytes), No> {
        if request.headers().get(header::IF_NONE_MATCH).is_none_or(|value| value != "*") {
            let why = "objects are only ever created: If-None-Match: * is missing";
            return Err(No::because(StatusCode::PRECONDITION_REQUIRED, why));
        }
        let body = Limited::new(request.into_body(), self.max_bytes).collect().await.map_err(|error| {
            match error.is::<LengthLimitError>() {
                true => No(StatusCode::PAYLOAD_TOO_LARGE, format!("more than {} bytes", self.max_bytes)),
                false => No(StatusCode::BAD_REQUEST, error.to_string()),
            }
        })?;
        match self.store.put_new(name, &body.to_bytes()).await? {
            Put::Created => Ok((StatusCode::CREATED, Bytes::new())),
            Put::Exists => Err(No::because(StatusCode::PRECONDITION_FAILED, "there is one of this name")),
        }
    }
}

/// Whether an object can have this name, which then leads nowhere else.
fn is_name(name: &str) -> bool {
    let is_part = |part: &str| !part.is_empty() && part != "." && part != "..";
    name.len() <= NAME_BYTES_MAX && name.bytes().all(is_sign) && name.split('/').all(is_part)
}

fn is_sign(byte: u8) -> bool {
    matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'=' | b'/')
}

/// Serves until the process ends; says at what address first.
pub async fn serve(server: Server, address: SocketAddr, say: impl Fn(SocketAddr)) -> std::io::Result<()> {
    let listener = TcpListener::bind(address).await?;
    say(listener.local_addr()?);
    let (server, room) = (Arc::new(server), Arc::new(Semaphore::new(CONNECTIONS_MAX)));
    loop {
        let place = Arc::clone(&room).acquire_owned().await.map_err(std::io::Error::other)?;
        let (stream, _) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                eprintln!("archive_server: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let server = Arc::clone(&server);
        tokio::spawn(async move {
            let answer = service_fn(move |request| {
                let server = Arc::clone(&server);
                async move { server.answer(request).await }
            });
            let mut http = hyper::server::conn::http1::Builder::new();
            http.timer(TokioTimer::new()).header_read_timeout(ARRIVAL);
            if let Err(error) = http.serve_connection(TokioIo::new(stream), answer).await {
                eprintln!("archive_server: {error}");
            }
            drop(place);
        });
    }
}
