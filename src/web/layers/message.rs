//! Arguments and answers of layers as MessagePack: read and written here, and nowhere else.
//!
//! Never traps: what cannot be read is an `InvalidArgument`. Structs have named fields; bytes are
//! `serde_bytes`, since serde writes a `Vec<u8>` as a list of numbers.

use std::rc::Rc;
use std::sync::Arc;

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use super::Object;
use crate::error::{Error, ErrorKind, Result};

/// Levels of lists and maps within each other that arguments may have.
const DEPTH_MAX: usize = 100;

/// A call's arguments.
#[derive(Clone, Copy, Debug)]
pub struct Args<'a>(pub &'a [u8]);

impl<'a> Args<'a> {
    /// The arguments as a tuple with one part for each; what is left out at the page's end is `None`.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` if they are others, or more or fewer.
    pub fn read<T: Deserialize<'a>>(self) -> Result<T> {
        let mut from = rmp_serde::Deserializer::from_read_ref(self.0);
        from.set_max_depth(DEPTH_MAX);
        let value = T::deserialize(&mut from).map_err(|error| {
            Error::new(ErrorKind::InvalidArgument, "the arguments are not those of this method")
                .with_source(Arc::new(error))
        })?;
        // Whatever could still be read was too much.
        match IgnoredAny::deserialize(&mut from) {
            Ok(_) => Err(Error::new(ErrorKind::InvalidArgument, "there are more arguments than one list")),
            Err(_) => Ok(value),
        }
    }

    /// Checks that there are none.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` if there are some.
    pub fn none(self) -> Result<()> {
        self.read::<[(); 0]>().map(drop)
    }
}

/// What a call answers.
pub struct Answer {
    pub body: Vec<u8>,
    /// What it has made, for the number that the page gave.
    pub made: Option<Rc<dyn Object>>,
}

impl Answer {
    /// Answers nothing: `undefined` on the page.
    pub fn nothing() -> Self {
        Answer { body: Vec::new(), made: None }
    }

    /// Answers a value.
    ///
    /// # Errors
    ///
    /// `Backend` if it cannot be written.
    pub fn value(value: &impl Serialize) -> Result<Self> {
        let body = rmp_serde::to_vec_named(value).map_err(|error| {
            Error::new(ErrorKind::Backend, "the answer cannot be written").with_source(Arc::new(error))
        })?;
        Ok(Answer { body, made: None })
    }

    /// The same answer, with an object for the number that the page gave.
    pub fn with(self, made: impl Object + 'static) -> Self {
        Answer { made: Some(Rc::new(made)), ..self }
    }
}
