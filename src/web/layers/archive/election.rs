//! Which tab ships, for the layer: see `candidate.js`.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use async_trait::async_trait;
use futures_channel::oneshot;
use js_sys::Promise;
use wasm_bindgen::closure::Closure;
use wasm_bindgen::prelude::wasm_bindgen;
use wasm_bindgen_futures::JsFuture;

use crate::archive::{Asked, Candidate, Election};
use crate::error::{Error, ErrorKind, Result};
use crate::spawn::spawn_local;

#[wasm_bindgen(module = "/src/web/layers/archive/candidate.js")]
extern "C" {
    #[wasm_bindgen(js_name = Candidate)]
    type Elected;

    #[wasm_bindgen(constructor, js_class = Candidate)]
    fn new(name: &str, asked: &AskedOf) -> Elected;

    #[wasm_bindgen(method, js_class = Candidate)]
    fn chosen(this: &Elected) -> Promise;

    #[wasm_bindgen(method, js_class = Candidate)]
    fn ask(this: &Elected, seq: u64);

    #[wasm_bindgen(method, js_class = Candidate)]
    fn leave(this: &Elected);
}

/// What takes the seqs that others ask for; called until it is dropped.
type AskedOf = Closure<dyn Fn(u64)>;

thread_local! {
    /// Candidates by number: handles can be sent between threads, these cannot. As many as archives are attached.
    static CANDIDATES: RefCell<BTreeMap<u32, (Elected, AskedOf)>> = RefCell::default();
    static NEXT: Cell<u32> = const { Cell::new(0) };
}

/// Has the browser choose one tab.
#[derive(Debug)]
pub struct WebLocks;

struct Numbered(u32);

impl Election for WebLocks {
    fn join(&self, name: &str, asked: Asked) -> Result<Box<dyn Candidate>> {
        let asked = Closure::new(asked);
        let elected = Elected::new(&format!("persistency/{name}"), &asked);
        let number = NEXT.replace(NEXT.get().wrapping_add(1));
        CANDIDATES.with_borrow_mut(|all| all.insert(number, (elected, asked)));
        Ok(Box::new(Numbered(number)))
    }
}

impl Numbered {
    fn begin(&self) -> oneshot::Receiver<()> {
        let (answer, chosen) = oneshot::channel();
        let promise = CANDIDATES.with_borrow(|all| all.get(&self.0).map(|(elected, _)| elected.chosen()));
        if let Some(promise) = promise {
            spawn_local(async move {
                // Dropped meanwhile, which is fine.
                if JsFuture::from(promise).await.is_ok() {
                    answer.send(()).ok();
                }
            });
        }
        chosen
    }
}

#[async_trait]
impl Candidate for Numbered {
    async fn chosen(&self) -> Result<()> {
        let chosen = self.begin();
        chosen.await.map_err(|_| Error::new(ErrorKind::Backend, "no tab can be chosen to ship"))
    }

    fn ask(&self, seq: u64) {
        CANDIDATES.with_borrow(|all| {
            if let Some((elected, _)) = all.get(&self.0) {
                elected.ask(seq);
            }
        });
    }
}

impl Drop for Numbered {
    fn drop(&mut self) {
        // Not dropped while it is borrowed.
        let gone = CANDIDATES.with_borrow_mut(|all| all.remove(&self.0));
        if let Some((elected, _)) = gone {
            elected.leave();
        }
    }
}
