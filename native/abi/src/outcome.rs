//! What a call gives: its output or its error, read through getters.

use std::ffi::c_char;

use crate::border::{Failure, Input, Status, free, make};

/// The most memory that a result keeps for the next call.
const MOST_KEPT: usize = 4 << 20;

/// What a call gives. Make one with `chatpb_result_new` and use it for any number of calls: it keeps
/// its memory, up to 4 MiB, so that the next call need not ask for new one.
#[derive(Default)]
pub struct Outcome {
    /// The output, one piece or more, of which only the first `count` are of the last call.
    parts: Vec<Vec<u8>>,
    count: usize,
    path: Text,
    reason: Text,
    message: Text,
    offset: Option<usize>,
}

/// A text for C: with a zero byte behind it.
struct Text(Vec<u8>);

impl Default for Text {
    fn default() -> Self {
        Self(vec![0])
    }
}

impl Text {
    fn set(&mut self, text: &str) {
        self.0.clear();
        self.0.extend_from_slice(text.as_bytes());
        self.0.push(0);
    }

    fn clear(&mut self) {
        if self.0.len() > 1 {
            self.set("");
        }
    }

    fn size(&self) -> usize {
        self.0.len() - 1
    }
}

impl Outcome {
    /// Forgets what the last call gave, and memory beyond what is kept.
    pub fn clear(&mut self) {
        self.parts.truncate(1);
        if self
            .parts
            .first()
            .is_some_and(|part| part.capacity() > MOST_KEPT)
        {
            self.parts.clear();
        }
        self.count = 0;
        self.path.clear();
        self.reason.clear();
        self.message.clear();
        self.offset = None;
    }

    /// The first piece of the output, empty, to be written to.
    pub fn output(&mut self) -> &mut Vec<u8> {
        if self.parts.is_empty() {
            self.parts.push(Vec::new());
        }
        self.count = 1;
        self.parts[0].clear();
        &mut self.parts[0]
    }

    /// Takes an output of one piece.
    pub fn give(&mut self, part: Vec<u8>) {
        self.give_all(vec![part]);
    }

    /// Takes an output of any number of pieces.
    pub fn give_all(&mut self, parts: Vec<Vec<u8>>) {
        self.count = parts.len();
        self.parts = parts;
    }

    /// Whether the input is in memory of this result, which a call writes to.
    pub fn overlaps(&self, input: Input) -> bool {
        let start = input.data as usize;
        self.parts.iter().any(|part| {
            let own = part.as_ptr() as usize;
            let end = start.saturating_add(input.size);
            input.size > 0 && start < own + part.capacity() && own < end
        })
    }

    pub fn fail(&mut self, failure: Failure) -> Status {
        match failure {
            Failure::Refused(error) => {
                self.count = 0;
                self.path.set(&error.path);
                self.reason.set(&error.reason);
                self.message.set(&error.to_string());
                self.offset = error.offset;
                Status::Refused
            }
            Failure::Usage(reason) => {
                self.count = 0;
                self.reason.set(reason);
                self.message.set(reason);
                Status::Usage
            }
        }
    }

    pub fn panicked(&mut self) -> Status {
        const REASON: &str = "a bug of chatpb: it panicked";
        self.count = 0;
        self.reason.set(REASON);
        self.message.set(REASON);
        Status::Panic
    }

    fn part(&self, index: usize) -> Option<&[u8]> {
        let part = self.parts[..self.count].get(index)?;
        Some(part)
    }
}

/// Makes a result. Free it with `chatpb_result_free`.
#[unsafe(no_mangle)]
pub extern "C" fn chatpb_result_new() -> *mut Outcome {
    make(|| Ok(Outcome::default()))
}

/// Frees a result and all that its getters gave.
///
/// @param result A result; NULL is allowed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chatpb_result_free(result: *mut Outcome) {
    // SAFETY: by the contract of the header.
    unsafe { free(result) }
}

/// How many pieces the output of the last call has: 1 for a conversion, any number for `unfold` and
/// for the decoder of event streams, 0 after a failure.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chatpb_result_count(result: *const Outcome) -> usize {
    // SAFETY: by the contract of the header.
    unsafe { result.as_ref() }.map_or(0, |result| result.count)
}

/// The bytes of a piece of the output of the last call.
///
/// @param index From 0 to below `chatpb_result_count`.
/// @return The bytes, which belong to the result and are valid until it is used for the next call or
///     freed. NULL if there is no such piece. No zero byte is behind them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chatpb_result_data(result: *const Outcome, index: usize) -> *const u8 {
    // SAFETY: by the contract of the header.
    let part = unsafe { result.as_ref() }.and_then(|result| result.part(index));
    part.map_or(std::ptr::null(), <[u8]>::as_ptr)
}

/// How many bytes a piece of the output of the last call has; 0 if there is no such piece.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chatpb_result_size(result: *const Outcome, index: usize) -> usize {
    // SAFETY: by the contract of the header.
    let part = unsafe { result.as_ref() }.and_then(|result| result.part(index));
    part.map_or(0, <[u8]>::len)
}

/// A text of the error of the last call.
///
/// # Safety
///
/// The result is NULL or of `chatpb_result_new`.
unsafe fn text(result: *const Outcome, get: fn(&Outcome) -> &Text) -> (*const c_char, usize) {
    // SAFETY: by the contract of the header.
    match unsafe { result.as_ref() } {
        Some(result) => (get(result).0.as_ptr().cast(), get(result).size()),
        None => (c"".as_ptr(), 0),
    }
}

/// Where in the document the error of the last call is, such as `$.choices[0].logprobs`.
///
/// @return UTF-8 with a zero byte behind it, empty if there is none. It belongs to the result and is
///     valid until that is used for the next call or freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chatpb_result_path(result: *const Outcome) -> *const c_char {
    // SAFETY: by the contract of the header.
    unsafe { text(result, |result| &result.path) }.0
}

/// How many bytes `chatpb_result_path` gives, without the zero byte.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chatpb_result_path_size(result: *const Outcome) -> usize {
    // SAFETY: by the contract of the header.
    unsafe { text(result, |result| &result.path) }.1
}

/// Why the last call failed, in lower case.
///
/// @return UTF-8 with a zero byte behind it, empty if there is none. It belongs to the result and is
///     valid until that is used for the next call or freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chatpb_result_reason(result: *const Outcome) -> *const c_char {
    // SAFETY: by the contract of the header.
    unsafe { text(result, |result| &result.reason) }.0
}

/// How many bytes `chatpb_result_reason` gives, without the zero byte.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chatpb_result_reason_size(result: *const Outcome) -> usize {
    // SAFETY: by the contract of the header.
    unsafe { text(result, |result| &result.reason) }.1
}

/// The path, the offset and the reason of the error of the last call, as one text.
///
/// @return UTF-8 with a zero byte behind it, empty if there is none. It belongs to the result and is
///     valid until that is used for the next call or freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chatpb_result_message(result: *const Outcome) -> *const c_char {
    // SAFETY: by the contract of the header.
    unsafe { text(result, |result| &result.message) }.0
}

/// How many bytes `chatpb_result_message` gives, without the zero byte.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chatpb_result_message_size(result: *const Outcome) -> usize {
    // SAFETY: by the contract of the header.
    unsafe { text(result, |result| &result.message) }.1
}

/// At which byte of the JSON text the error of the last call is; `SIZE_MAX` if it has no such place.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chatpb_result_offset(result: *const Outcome) -> usize {
    // SAFETY: by the contract of the header.
    let offset = unsafe { result.as_ref() }.and_then(|result| result.offset);
    offset.unwrap_or(usize::MAX)
}
