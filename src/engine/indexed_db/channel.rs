//! The broadcast channel of a job: who commits tells the others, with generation and seq only.
//!
//! Never carries rows, and nothing relies on it: where there is none, others are noticed later.

use std::rc::Rc;

use js_sys::Uint8Array;
use tokio::sync::Notify;
use wasm_bindgen::JsCast;
use wasm_bindgen::closure::Closure;
use web_sys::{BroadcastChannel, MessageEvent};

/// Bytes of a message: the generation, then the seq with its highest byte first.
const MESSAGE_BYTES: usize = 24;

type Handler = Closure<dyn Fn(MessageEvent)>;

/// One end of a job's channel; closed when it is dropped.
pub(super) struct Channel {
    /// `None` where the browser has no such channels.
    end: Option<(BroadcastChannel, Handler)>,
    heard: Rc<Notify>,
}

impl Channel {
    pub(super) fn open(name: &str) -> Self {
        let heard = Rc::new(Notify::new());
        let end = BroadcastChannel::new(name).ok().map(|channel| {
            let inner = Rc::clone(&heard);
            let on_message = Handler::new(move |event: MessageEvent| {
                let message = event.data().dyn_into::<Uint8Array>();
                if message.is_ok_and(|message| message.length() as usize == MESSAGE_BYTES) {
                    inner.notify_one();
                }
            });
            channel.set_onmessage(Some(on_message.as_ref().unchecked_ref()));
            (channel, on_message)
        });
        Channel { end, heard }
    }

    /// Tells the others.
    pub(super) fn announce(&self, generation: [u8; 16], seq: u64) {
        if let Some((channel, _)) = &self.end {
            let message = [&generation[..], &seq.to_be_bytes()].concat();
            // Refused only by a closed channel, and then nobody is to be told.
            let _ = channel.post_message(&Uint8Array::new_from_slice(&message));
        }
    }

    /// Resolves when another end has announced since this last resolved.
    pub(super) async fn heard(&self) {
        self.heard.notified().await;
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        if let Some((channel, _)) = &self.end {
            channel.set_onmessage(None);
            channel.close();
        }
    }
}
