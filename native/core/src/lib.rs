#![cfg_attr(feature = "prost", doc = include_str!("../README.md"))]
//!
//! # How it works
//!
//! JSON is converted in one pass, driven by descriptors. The rules are those of `docs/mapping.md` in
//! the repository. No field and no enum word is named in the code: the tables come from the
//! descriptors and their options.
#![forbid(unsafe_code)]

mod builtin;
mod convert;
mod decimal;
mod error;
mod fault;
mod json;
#[cfg(feature = "prost")]
mod messages;
mod read;
mod repeats;
mod schema;
mod slow;
mod sse;
mod stream;
#[cfg(feature = "table")]
#[doc(hidden)]
pub mod table;
#[cfg(feature = "prost")]
pub mod v1;
mod wire;
mod write;

pub use builtin::{DESCRIPTOR_SET, schema};
pub use convert::{Options, binary_to_json, json_to_binary};
pub use error::ConversionError;
#[doc(hidden)]
pub use error::find_error;
#[doc(hidden)]
pub use json::{put_double, put_integer, put_quoted};
#[cfg(feature = "prost")]
pub use messages::{
    fold_messages, from_json, from_json_with, to_json, to_json_with, unfold_message,
};
pub use schema::Schema;
pub use sse::ChunkDecoder;
pub use stream::{Compacted, Compactor, Folder, Restorer, fold, unfold};

/// The input has a form that the fast ways do not take.
///
/// A JSON text is declined only if it is refused: `error::find_refusal` gives the reason. Messages are
/// also declined in forms that no serializer of one message writes, which `slow` converts.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Declined;

/// Whether NaN, Infinity and -Infinity, which are not JSON, are taken.
#[doc(hidden)]
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
#[doc(hidden)]
pub const MAX_DEPTH: usize = 200;
