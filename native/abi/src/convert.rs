//! JSON to binary and back.

use std::ffi::c_char;

use chatpb_core::{Options, schema};

use crate::border::{Failure, Input, Status, call};
use crate::outcome::Outcome;

/// Accept and write NaN, Infinity and -Infinity, which are not JSON.
pub const ALLOW_NAN: u32 = 1;
/// Leave fields and enum values that the schema does not know out of the JSON. Otherwise they are
/// errors.
pub const IGNORE_UNKNOWN_FIELDS: u32 = 2;

/// The version of the library, such as "0.1.0", with a zero byte behind it. It is never freed.
#[unsafe(no_mangle)]
pub extern "C" fn chatpb_version() -> *const c_char {
    const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "\0");
    VERSION.as_ptr().cast()
}

/// The number of a message type, which is valid in this process only.
///
/// @param name The full name in UTF-8, such as "chatpb.v1.ChatCompletion".
/// @param size How many bytes the name has.
/// @return The number; -1 if no message type with this name mirrors a JSON object.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chatpb_message_type(name: *const c_char, size: usize) -> i32 {
    let data = name.cast();
    let mut outcome = Outcome::default();
    let mut found = None;
    let work = |name: &[u8], _: &mut Outcome| {
        let name = std::str::from_utf8(name).unwrap_or_default();
        found = schema().message_type(name);
        Ok(())
    };
    // SAFETY: by the contract of the header; the result is a local variable.
    unsafe { call(&raw mut outcome, Input { data, size }, work) };
    found
        .and_then(|number| i32::try_from(number).ok())
        .unwrap_or(-1)
}

/// What the flags of a call mean.
pub fn options(flags: u32) -> Result<Options, Failure> {
    if flags & !(ALLOW_NAN | IGNORE_UNKNOWN_FIELDS) != 0 {
        return Err(Failure::Usage("there is no such flag"));
    }
    Ok(Options {
        allow_nan: flags & ALLOW_NAN != 0,
        ignore_unknown_fields: flags & IGNORE_UNKNOWN_FIELDS != 0,
    })
}

fn known_type(message_type: i32) -> Result<usize, Failure> {
    let number = usize::try_from(message_type).ok();
    let number = number.filter(|&number| schema().has_number(number));
    number.ok_or(Failure::Usage("no message type has this number"))
}

/// Reads OpenAI's JSON into the binary form of a message.
///
/// @param data The JSON text, in UTF-8.
/// @param size How many bytes it has.
/// @param message_type What `chatpb_message_type` gave.
/// @param flags 0, or `CHATPB_ALLOW_NAN`.
/// @param result Gets one piece, the message; or the error.
/// @return `CHATPB_STATUS_OK`, or what is wrong.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chatpb_json_to_binary(
    data: *const u8,
    size: usize,
    message_type: i32,
    flags: u32,
    result: *mut Outcome,
) -> Status {
    let work = |data: &[u8], outcome: &mut Outcome| {
        let (number, options) = (known_type(message_type)?, options(flags)?);
        schema().json_to_binary(data, number, options, outcome.output())?;
        Ok(())
    };
    // SAFETY: by the contract of the header.
    unsafe { call(result, Input { data, size }, work) }
}

/// Writes the binary form of a message as OpenAI's JSON.
///
/// @param data The message.
/// @param size How many bytes it has.
/// @param message_type What `chatpb_message_type` gave.
/// @param flags 0, or `CHATPB_ALLOW_NAN` and `CHATPB_IGNORE_UNKNOWN_FIELDS`, joined by `|`.
/// @param result Gets one piece, the JSON text; or the error.
/// @return `CHATPB_STATUS_OK`, or what is wrong.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chatpb_binary_to_json(
    data: *const u8,
    size: usize,
    message_type: i32,
    flags: u32,
    result: *mut Outcome,
) -> Status {
    let work = |data: &[u8], outcome: &mut Outcome| {
        let (number, options) = (known_type(message_type)?, options(flags)?);
        schema().binary_to_json(data, number, options, outcome.output())?;
        Ok(())
    };
    // SAFETY: by the contract of the header.
    unsafe { call(result, Input { data, size }, work) }
}
