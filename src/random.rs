//! Random bytes, the platform's own.

use crate::error::Result;

/// 16 bytes that nobody else has.
#[cfg(not(all(feature = "web", target_family = "wasm", target_os = "unknown")))]
pub(crate) fn random_bytes() -> Result<[u8; 16]> {
    use crate::error::{Error, ErrorKind};

    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)
        .map_err(|error| Error::new(ErrorKind::Backend, format!("no random bytes: {error:?}")))?;
    Ok(bytes)
}

/// The same for the npm package, whose browsers all have them: to say why there are none costs a page more.
#[cfg(all(feature = "web", target_family = "wasm", target_os = "unknown"))]
pub(crate) fn random_bytes() -> Result<[u8; 16]> {
    use wasm_bindgen::prelude::wasm_bindgen;

    #[wasm_bindgen]
    extern "C" {
        #[wasm_bindgen(js_namespace = crypto, js_name = getRandomValues)]
        fn fill(bytes: &mut [u8]);
    }

    let mut bytes = [0; 16];
    fill(&mut bytes);
    Ok(bytes)
}
