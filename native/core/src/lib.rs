//! JSON of OpenAI chat completions to protobuf and back, in one pass, driven by descriptors.
//!
//! The rules are those of `docs/mapping.md`. No field and no enum word is named here: the tables
//! come from the descriptors and their options. What is refused, and a few rare forms, are not
//! decided here but by the reference implementation: see [`Declined`].
#![forbid(unsafe_code)]

mod builtin;
mod convert;
mod decimal;
mod error;
mod fault;
mod json;
mod read;
mod repeats;
mod schema;
mod slow;
mod sse;
mod stream;
#[cfg(feature = "table")]
#[doc(hidden)]
pub mod table;
mod wire;
mod write;

pub use builtin::{DESCRIPTOR_SET, schema};
pub use convert::{Options, binary_to_json, json_to_binary};
pub use error::ConversionError;
pub use fault::{Fault, Step, find_fault};
pub use schema::Schema;
pub use sse::{EventStream, TooLong};
pub use stream::{Compacted, Compactor, Folder, Restorer, fold, unfold};

/// The input is left to the reference implementation.
///
/// A JSON text is declined only if it is refused: `find_fault` tells where and why. Messages are also
/// declined in a form that no serializer of one message writes, which the reference converts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Declined;

/// Whether NaN, Infinity and -Infinity, which are not JSON, are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nan {
    Allowed,
    Refused,
}

impl From<bool> for Nan {
    fn from(allow: bool) -> Self {
        if allow { Self::Allowed } else { Self::Refused }
    }
}

/// The most containers that may surround a value.
const MAX_DEPTH: usize = 200;

impl Schema {
    /// Reads a JSON text into the binary form of a message, and appends it to `out`.
    ///
    /// Declined, `out` holds junk behind what it held.
    pub fn json_to_binary(
        &self,
        data: &[u8],
        message_type: usize,
        nan: Nan,
        out: &mut Vec<u8>,
    ) -> Result<(), Declined> {
        read::json_to_binary(self, data, message_type, nan, out)
    }

    /// Writes the binary form of a message as JSON text, and appends it to `out`.
    ///
    /// Declined, `out` holds junk behind what it held.
    pub fn binary_to_json(
        &self,
        data: &[u8],
        message_type: usize,
        nan: Nan,
        out: &mut Vec<u8>,
    ) -> Result<(), Declined> {
        write::binary_to_json(self, data, message_type, nan, out)
    }
}
