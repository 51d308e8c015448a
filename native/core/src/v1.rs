//! The messages of the schema as prost generates them, and with the feature `tonic` the client of
//! the service.
//!
//! Every field and every word that OpenAI documents has a typed field. What a server adds is in the
//! `residue` of the message, as JSON text. A unary call and a stream are methods of
//! `chat_completion_service_client::ChatCompletionServiceClient`.
//!
//! # What prost does not keep
//!
//! * Fields that this version of the schema does not know are dropped when a message is decoded. A
//!   program between a producer with a newer schema and a store passes the bytes on.
//! * -0.0 in a field without presence, such as the `logprob` of a token, is not encoded: it reads
//!   back as 0.0.
//! * An entry of a map leaves out a value that is zero. It reads the same, but the bytes are others
//!   than the canonical ones.
//! * Bytes in which a known field has another wire type are refused, not kept as unknown.
//!
//! Functions of this crate on bytes, such as [`json_to_binary`](crate::json_to_binary), have none of
//! these limits.
#![allow(clippy::all, clippy::pedantic, missing_docs, rustdoc::all)]

include!("gen/chatpb/v1/chatpb.v1.rs");
#[cfg(feature = "tonic")]
include!("gen/chatpb/v1/chatpb.v1.tonic.rs");
