//! The C ABI of chatpb: what C, C++ and, in linear memory of WebAssembly, Java and TypeScript call.
//!
//! Only pointers, sizes and numbers cross the border: no struct by value, no callback. All that a
//! call gives is in a `chatpb_result`, which the caller makes, reads through getters, and uses again.
//!
//! This is the only crate of chatpb with unsafe code, and only to turn what C passes into slices
//! and references. A panic, which would be a bug of chatpb, is the status `CHATPB_STATUS_PANIC`; in
//! WebAssembly it is a trap instead, after which the instance must not be used any more.
#![deny(unsafe_op_in_unsafe_fn)]
#![warn(clippy::undocumented_unsafe_blocks)]

mod border;
mod convert;
mod memory;
mod outcome;
mod sse;
mod stream;
#[cfg(test)]
mod tests;
