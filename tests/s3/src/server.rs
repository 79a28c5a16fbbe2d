//! An S3 server on the loopback interface, over a directory: started and stopped as often as a test likes.
//!
//! It is `s3s-fs`, which checks signatures and `If-None-Match`. That check and the write behind it are two
//! steps there, where S3 has one, so puts are let through one at a time.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use hyper::Method;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s_fs::FileSystem;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

pub const BUCKET: &str = "backups";
pub const KEY_ID: &str = "somebody";
pub const SECRET: &str = "something only they know";

/// A server and the directory that it keeps between two runs.
pub struct Server {
    directory: tempfile::TempDir,
    shared: Arc<Shared>,
    running: Option<JoinSet<()>>,
}

/// What connections and clients know of it.
#[derive(Debug, Default)]
pub struct Shared {
    /// Where it was started last; nothing answers there once it has been stopped.
    address: Mutex<Option<SocketAddr>>,
    puts: tokio::sync::Mutex<()>,
    requests: AtomicU64,
}

impl Shared {
    pub fn address(&self) -> Option<SocketAddr> {
        *self.address.lock().unwrap()
    }
}

impl Server {
    /// One that is not started yet, with an empty bucket.
    pub fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join(BUCKET)).unwrap();
        Server { directory, shared: Arc::default(), running: None }
    }

    pub async fn started() -> Self {
        let mut server = Server::new();
        server.start().await;
        server
    }

    pub async fn start(&mut self) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        *self.shared.address.lock().unwrap() = Some(listener.local_addr().unwrap());
        let mut running = JoinSet::new();
        running.spawn(accept(listener, service(self.directory.path()), Arc::clone(&self.shared)));
        self.running = Some(running);
    }

    /// Ends it at once, as a crash would: whatever is under way gets no answer.
    pub async fn stop(&mut self) {
        if let Some(mut running) = self.running.take() {
            running.shutdown().await;
        }
    }

    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// How many requests have come.
    pub fn requests(&self) -> u64 {
        self.shared.requests.load(Ordering::Relaxed)
    }
}

fn service(directory: &Path) -> S3Service {
    let mut service = S3ServiceBuilder::new(FileSystem::new(directory).unwrap());
    service.set_auth(SimpleAuth::from_single(KEY_ID, SECRET));
    service.build()
}

/// Serves connections until it is dropped, and them with it.
async fn accept(listener: TcpListener, service: S3Service, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let (service, shared) = (service.clone(), Arc::clone(&shared));
        connections.spawn(async move {
            let answer = service_fn(|request: hyper::Request<hyper::body::Incoming>| {
                let (service, shared) = (service.clone(), Arc::clone(&shared));
                async move {
                    shared.requests.fetch_add(1, Ordering::Relaxed);
                    let _alone = match *request.method() {
                        Method::PUT => Some(shared.puts.lock().await),
                        _ => None,
                    };
                    let answer = service.call(request.map(s3s::Body::from)).await;
                    Ok::<_, Infallible>(answer.unwrap())
                }
            });
            // A client that has gone is its own matter.
            http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await.ok();
        });
    }
}
