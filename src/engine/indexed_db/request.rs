//! Requests of a transaction, and the conversion of keys and values between JavaScript and bytes.
//!
//! Never interprets what it reads beyond its JavaScript type; knows nothing of rows.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use js_sys::{Array, ArrayBuffer, Function, Object, Reflect, Uint8Array};
use wasm_bindgen::{JsCast, JsValue};
use web_sys::{
    IdbCursor, IdbCursorDirection, IdbKeyRange, IdbObjectStore, IdbRequest, IdbRequestReadyState,
    IdbTransaction,
};

use super::fault::{During, corrupt, thrown};
use super::layout::Store;
use crate::engine::EngineError;
use crate::engine::row_key::Bounds;

/// A transaction as its body sees it.
pub(super) struct Tx {
    transaction: IdbTransaction,
    success: Function,
    during: During,
}

/// One store of a transaction. Reads answer in the order in which they are asked.
pub(super) struct OpenStore {
    store: IdbObjectStore,
    success: Function,
    during: During,
}

/// A read that has been asked; awaiting it works only inside the transaction's body.
pub(super) struct Request {
    request: IdbRequest,
    during: During,
}

impl Tx {
    pub(super) fn new(transaction: &IdbTransaction, success: &Function, during: During) -> Self {
        Tx { transaction: transaction.clone(), success: success.clone(), during }
    }

    pub(super) fn store(&self, store: Store) -> Result<OpenStore, EngineError> {
        let during = self.during;
        let store = self.transaction.object_store(store.name()).map_err(|value| thrown(&value, during))?;
        Ok(OpenStore { store, success: self.success.clone(), during })
    }
}

impl OpenStore {
    pub(super) fn get(&self, key: &JsValue) -> Result<Request, EngineError> {
        self.ask(self.store.get(key))
    }

    /// The first key of a range, or the key itself if it is there.
    pub(super) fn get_key(&self, query: &JsValue) -> Result<Request, EngineError> {
        self.ask(self.store.get_key(query))
    }

    /// The first values of a range, or the last ones backwards, where the browser can.
    pub(super) fn get_all(
        &self,
        range: &IdbKeyRange,
        limit: u32,
        reverse: bool,
    ) -> Result<Request, EngineError> {
        if reverse {
            return self.ask(self.backwards("getAll", range, limit));
        }
        self.ask(self.store.get_all_with_key_and_limit(range, limit))
    }

    /// The keys that belong to the values of [`get_all`](Self::get_all).
    pub(super) fn get_all_keys(
        &self,
        range: &IdbKeyRange,
        limit: u32,
        reverse: bool,
    ) -> Result<Request, EngineError> {
        if reverse {
            return self.ask(self.backwards("getAllKeys", range, limit));
        }
        self.ask(self.store.get_all_keys_with_key_and_limit(range, limit))
    }

    /// The form with options, which browsers without `getAllRecords` do not understand.
    fn backwards(&self, method: &str, range: &IdbKeyRange, limit: u32) -> Result<IdbRequest, JsValue> {
        let options = Object::new();
        Reflect::set(&options, &"query".into(), range)?;
        Reflect::set(&options, &"count".into(), &limit.into())?;
        Reflect::set(&options, &"direction".into(), &"prev".into())?;
        let method: Function = Reflect::get(&self.store, &method.into())?.dyn_into()?;
        Ok(method.call1(&self.store, &options)?.unchecked_into())
    }

    pub(super) fn count(&self, range: &IdbKeyRange) -> Result<Request, EngineError> {
        self.ask(self.store.count_with_key(range))
    }

    /// Any key of the store, undefined if it is empty.
    pub(super) fn any_key(&self) -> Result<Request, EngineError> {
        self.get_key(&range_of(&bytes_to_js(&[]), None)?.into())
    }

    /// The key `steps` rows before the last one of a range; `None` if there are not so many.
    ///
    /// Two requests with a cursor that carries no values, however many rows it passes.
    pub(super) async fn key_from_end(
        &self,
        range: &IdbKeyRange,
        steps: u32,
    ) -> Result<Option<JsValue>, EngineError> {
        let during = self.during;
        let opened = self.store.open_key_cursor_with_range_and_direction(range, IdbCursorDirection::Prev);
        let request = self.ask(opened)?;
        let again = Request { request: request.request.clone(), during };
        let mut cursor = request.await?;
        if steps > 0 && !cursor.is_null() {
            cursor.unchecked_ref::<IdbCursor>().advance(steps).map_err(|value| thrown(&value, during))?;
            cursor = again.await?;
        }
        if cursor.is_null() {
            return Ok(None);
        }
        cursor.unchecked_ref::<IdbCursor>().key().map(Some).map_err(|value| thrown(&value, during))
    }

    /// Asks for a write. Nobody waits for it: if it fails it aborts the transaction.
    pub(super) fn put(&self, key: &JsValue, value: &JsValue) -> Result<(), EngineError> {
        self.written(self.store.put_with_key(value, key))
    }

    /// Like `put`, but it fails if the key is there.
    #[cfg(test)]
    pub(super) fn add_for_test(&self, key: &JsValue, value: &JsValue) -> Result<(), EngineError> {
        self.written(self.store.add_with_key(value, key))
    }

    pub(super) fn delete(&self, query: &JsValue) -> Result<(), EngineError> {
        self.written(self.store.delete(query))
    }

    pub(super) fn clear(&self) -> Result<(), EngineError> {
        self.written(self.store.clear())
    }

    fn written(&self, asked: Result<IdbRequest, JsValue>) -> Result<(), EngineError> {
        asked.map(drop).map_err(|value| thrown(&value, self.during))
    }

    fn ask(&self, asked: Result<IdbRequest, JsValue>) -> Result<Request, EngineError> {
        let request = asked.map_err(|value| thrown(&value, self.during))?;
        request.set_onsuccess(Some(&self.success));
        Ok(Request { request, during: self.during })
    }
}

impl Future for Request {
    type Output = Result<JsValue, EngineError>;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        // Nothing is woken: the driver polls the body at every success.
        if self.request.ready_state() != IdbRequestReadyState::Done {
            return Poll::Pending;
        }
        Poll::Ready(self.request.result().map_err(|value| thrown(&value, self.during)))
    }
}

impl Bounds {
    /// As a key range.
    pub(super) fn range(&self) -> Result<IdbKeyRange, EngineError> {
        range_of(&bytes_to_js(&self.lower), self.upper.as_deref().map(bytes_to_js).as_ref())
    }
}

/// The range from `lower` up to, but without, `upper`; the caller knows that it is not empty.
pub(super) fn range_of(lower: &JsValue, upper: Option<&JsValue>) -> Result<IdbKeyRange, EngineError> {
    match upper {
        Some(upper) => IdbKeyRange::bound_with_lower_open_and_upper_open(lower, upper, false, true),
        None => IdbKeyRange::lower_bound(lower),
    }
    .map_err(|value| thrown(&value, During::Reading))
}

/// A `Uint8Array` with a buffer of exactly these bytes: a view would be stored with all that it views.
pub(super) fn bytes_to_js(bytes: &[u8]) -> JsValue {
    Uint8Array::new_from_slice(bytes).into()
}

/// The bytes of a key as IndexedDB gives it back.
pub(super) fn key_to_bytes(key: &JsValue) -> Result<Vec<u8>, EngineError> {
    match key.dyn_ref::<ArrayBuffer>() {
        Some(buffer) => Ok(Uint8Array::new(buffer).to_vec()),
        None => Err(corrupt("a key is not binary")),
    }
}

/// The bytes of a stored value; `None` where there is none.
pub(super) fn value_to_bytes(value: &JsValue) -> Result<Option<Vec<u8>>, EngineError> {
    if value.is_undefined() {
        return Ok(None);
    }
    match value.dyn_ref::<Uint8Array>() {
        Some(bytes) => Ok(Some(bytes.to_vec())),
        None => Err(corrupt("a value is not binary")),
    }
}

/// The elements of an answer of `getAll` or `getAllKeys`.
pub(super) fn elements(answer: JsValue) -> Result<Array, EngineError> {
    answer.dyn_into().map_err(|_| corrupt("an answer is not an array"))
}
