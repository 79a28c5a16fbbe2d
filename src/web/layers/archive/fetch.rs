//! A store on a server, spoken to by `fetch`, and what the server's answers mean. Never repeats a call.
//!
//! `pkg-template/docs/archive.md` has the protocol, for whoever writes a server.

use async_trait::async_trait;
use futures_channel::oneshot;
use futures_util::future::{Either, select};
use futures_util::pin_mut;
use js_sys::{Array, Promise, Uint8Array};
use serde::Deserialize;
use wasm_bindgen::prelude::wasm_bindgen;
use wasm_bindgen_futures::JsFuture;

use crate::archive::{LIST_MAX, Put, Store};
use crate::error::{Error, ErrorKind, Result};
use crate::spawn::spawn_local;

/// Bytes of an object that is read at most: far above what a segment with the largest batch has.
const OBJECT_BYTES_MAX: u32 = 256 * 1024 * 1024;
/// Bytes of a list; a name has less than a kilobyte.
const LIST_BYTES_MAX: u32 = 1024 * 1024;
/// Bytes of any other answer, which says something to people at most.
const WORDS_BYTES_MAX: u32 = 64 * 1024;
const TIMEOUT_MS: u32 = 120_000;

#[wasm_bindgen(module = "/src/web/layers/archive/fetch.js")]
extern "C" {
    type Exchange;

    #[wasm_bindgen(constructor)]
    fn new() -> Exchange;

    /// Resolves with a list of a status and bytes, or words.
    #[wasm_bindgen(method)]
    #[allow(clippy::too_many_arguments, reason = "they cross the border one by one")]
    fn run(
        this: &Exchange,
        method: &str,
        url: &str,
        headers: Vec<String>,
        credentials: &str,
        body: Option<Vec<u8>>,
        timeout_ms: u32,
        bytes_max: u32,
    ) -> Promise;

    #[wasm_bindgen(method)]
    fn abort(this: &Exchange);
}

/// Where a server is and how it is spoken to, as it crosses. The page has checked the address.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Server {
    /// Ends with a slash.
    url: String,
    /// Names and values in turns.
    headers: Vec<String>,
    credentials: Credentials,
    timeout_ms: Option<u32>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Credentials {
    Omit,
    SameOrigin,
    Include,
}

/// What a server has answered: bytes, or words about a failure.
enum Said {
    Well(Vec<u8>),
    Badly(u16, String),
}

impl Server {
    async fn ask(&self, method: &str, rest: &str, body: Option<&[u8]>, bytes_max: u32) -> Result<Said> {
        let answered = self.begin(method, rest, body, bytes_max);
        // The task that answers lives as long as this waits.
        let gone = |_| Error::new(ErrorKind::Backend, "the exchange was given up");
        answered.await.map_err(gone)?
    }

    /// Begins an exchange, which ends when nobody waits for its answer any more.
    fn begin(
        &self,
        method: &str,
        rest: &str,
        body: Option<&[u8]>,
        bytes_max: u32,
    ) -> oneshot::Receiver<Result<Said>> {
        let (mut answer, answered) = oneshot::channel();
        let mut headers = self.headers.clone();
        if body.is_some() {
            let own = ["content-type", "application/octet-stream", "if-none-match", "*"];
            headers.extend(own.map(str::to_owned));
        }
        let credentials = match self.credentials {
            Credentials::Omit => "omit",
            Credentials::SameOrigin => "same-origin",
            Credentials::Include => "include",
        };
        let (url, timeout_ms) = (format!("{}{rest}", self.url), self.timeout_ms.unwrap_or(TIMEOUT_MS));
        let exchange = Exchange::new();
        let body = body.map(<[u8]>::to_vec);
        let done = exchange.run(method, &url, headers, credentials, body, timeout_ms, bytes_max);
        spawn_local(async move {
            let said = {
                let given_up = answer.cancellation();
                pin_mut!(given_up);
                match select(JsFuture::from(done), given_up).await {
                    Either::Left((done, _)) => done.ok().map(|done| said(&Array::from(&done))),
                    Either::Right(_) => None,
                }
            };
            match said {
                // Given up meanwhile, which is fine.
                Some(said) => drop(answer.send(said)),
                None => exchange.abort(),
            }
        });
        answered
    }

    fn list_address(prefix: &str, from: &str, limit: usize) -> String {
        // `=` is the one sign of names that has a meaning there.
        let encoded = |name: &str| name.replace('=', "%3D");
        format!("?prefix={}&from={}&limit={limit}", encoded(prefix), encoded(from))
    }
}

fn said(answer: &Array) -> Result<Said> {
    let status = answer.get(0).as_f64().unwrap_or_default() as u16;
    let second = answer.get(1);
    let Some(words) = second.as_string() else { return Ok(Said::Well(Uint8Array::from(second).to_vec())) };
    match status {
        0 => Err(Error::new(ErrorKind::Backend, format!("the server cannot be reached: {words}"))),
        1 => Err(Error::new(ErrorKind::Timeout, format!("the server: {words}"))),
        2 => Err(Error::new(ErrorKind::TooLarge, format!("the server's answer: {words}"))),
        _ => Ok(Said::Badly(status, words)),
    }
}

/// What an answer means that is none of those that were to be expected.
fn refused(status: u16, words: &str) -> Error {
    let (kind, what) = match status {
        401 | 403 => (ErrorKind::Backend, "the server refuses the caller, whose headers say who that is"),
        400 | 404 | 405 | 411 | 415 | 501 => {
            (ErrorKind::Unsupported, "no server of archives answers at this address")
        }
        413 => (ErrorKind::TooLarge, "the server takes no object of this size"),
        429 | 503 => (ErrorKind::Overloaded, "the server is busy"),
        507 => (ErrorKind::StorageFull, "the server has no room left"),
        _ => (ErrorKind::Backend, "the server has failed"),
    };
    Error::new(kind, format!("{what}: {status} {words}"))
}

#[async_trait]
impl Store for Server {
    async fn put_new(&self, name: &str, bytes: &[u8]) -> Result<Put> {
        match self.ask("PUT", name, Some(bytes), WORDS_BYTES_MAX).await {
            Ok(Said::Well(_)) => Ok(Put::Created),
            Ok(Said::Badly(409 | 412, _)) => Ok(Put::Exists),
            Ok(Said::Badly(status, words)) => Err(refused(status, &words).in_context(name)),
            Err(error) => Err(error.in_context(name)),
        }
    }

    async fn get(&self, name: &str) -> Result<Option<Vec<u8>>> {
        match self.ask("GET", name, None, OBJECT_BYTES_MAX).await {
            Ok(Said::Well(bytes)) => Ok(Some(bytes)),
            Ok(Said::Badly(404, _)) => Ok(None),
            Ok(Said::Badly(status, words)) => Err(refused(status, &words).in_context(name)),
            Err(error) => Err(error.in_context(name)),
        }
    }

    async fn list(&self, prefix: &str, from: &str, limit: usize) -> Result<Vec<String>> {
        let limit = limit.min(LIST_MAX);
        let address = Server::list_address(prefix, from, limit);
        let bytes = match self.ask("GET", &address, None, LIST_BYTES_MAX).await {
            Ok(Said::Well(bytes)) => bytes,
            Ok(Said::Badly(status, words)) => return Err(refused(status, &words).in_context(prefix)),
            Err(error) => return Err(error.in_context(prefix)),
        };
        let names = listed(&bytes, prefix, from, limit);
        let other =
            || Error::new(ErrorKind::Unsupported, format!("{prefix}: what the server lists is no list"));
        names.ok_or_else(other)
    }

    async fn delete(&self, name: &str) -> Result<()> {
        match self.ask("DELETE", name, None, WORDS_BYTES_MAX).await {
            Ok(Said::Well(_) | Said::Badly(404, _)) => Ok(()),
            Ok(Said::Badly(status, words)) => Err(refused(status, &words).in_context(name)),
            Err(error) => Err(error.in_context(name)),
        }
    }
}

/// The names of a list, if they are those that were asked for.
fn listed(bytes: &[u8], prefix: &str, from: &str, limit: usize) -> Option<Vec<String>> {
    let text = std::str::from_utf8(bytes).ok()?;
    if !text.is_empty() && !text.ends_with('\n') {
        return None;
    }
    let names: Vec<String> = text.lines().map(str::to_owned).collect();
    let asked_for = names.iter().all(|name| name.starts_with(prefix) && name.as_str() >= from);
    (asked_for && names.is_sorted() && names.len() <= limit).then_some(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::test;

    #[test]
    fn a_list_is_taken_only_if_it_is_what_was_asked_for() {
        let of = |bytes: &[u8]| listed(bytes, "a/", "a/2", 2);
        assert_eq!(of(b""), Some(Vec::new()));
        assert_eq!(of(b"a/2\na/3\n"), Some(vec!["a/2".to_owned(), "a/3".to_owned()]));
        for bad in
            [&b"a/2"[..], b"a/1\n", b"b/2\n", b"a/3\na/2\n", b"a/2\na/3\na/4\n", b"<html>\n", b"\xff\n"]
        {
            assert_eq!(of(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn what_can_never_succeed_is_told_from_what_may_later() {
        let kinds = [401, 404, 413, 429, 500, 507].map(|status| refused(status, "").kind());
        use ErrorKind::{Backend, Overloaded, StorageFull, TooLarge, Unsupported};
        assert_eq!(kinds, [Backend, Unsupported, TooLarge, Overloaded, Backend, StorageFull]);
    }
}
