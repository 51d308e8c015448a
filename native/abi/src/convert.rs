//! JSON to binary and back.

use std::ffi::c_char;
use std::sync::LazyLock;

use chatpb_core::{Declined, Nan, Schema, Step, find_fault};

use crate::border::{Failure, Input, Status, call};
use crate::outcome::{ConversionError, Outcome};

/// Take NaN, Infinity and -Infinity, which are not JSON.
pub const CHATPB_ALLOW_NAN: u32 = 1;
/// Leave fields that the schema does not know out of JSON, instead of refusing the message.
pub const CHATPB_IGNORE_UNKNOWN_FIELDS: u32 = 2;

static SCHEMA: LazyLock<Schema> = LazyLock::new(|| {
    Schema::new(include_bytes!("../../../chatpb/v1/descriptor_set.binpb"))
        .expect("the schema of chatpb is valid")
});

/// The version of the library, such as "0.1.0", with a zero byte behind it. It is never freed.
#[unsafe(no_mangle)]
pub extern "C" fn chatpb_version() -> *const c_char {
    const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "\0");
    VERSION.as_ptr().cast()
}

/// The number of a message type, for this process only.
///
/// @param name The full name in UTF-8, such as "chatpb.v1.ChatCompletion".
/// @param size How many bytes the name has.
/// @return The number; -1 if no message type with that name mirrors a JSON value.
///
/// # Safety
///
/// `size` bytes at `name` can be read.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chatpb_message_type(name: *const c_char, size: usize) -> i32 {
    let data = name.cast();
    let mut outcome = Outcome::default();
    let mut found = -1;
    // SAFETY: by the contract; the result is a local variable.
    unsafe {
        call(&raw mut outcome, Input { data, size }, |name, _| {
            let number = std::str::from_utf8(name)
                .ok()
                .and_then(|name| SCHEMA.message_type(name));
            found = number
                .and_then(|number| i32::try_from(number).ok())
                .unwrap_or(-1);
            Ok(())
        })
    };
    found
}

/// What the numbers of a call mean.
fn options(message_type: i32, flags: u32) -> Result<(usize, Nan), Failure> {
    let number = usize::try_from(message_type).ok();
    let number = number.filter(|&number| number < SCHEMA.messages.len());
    let number = number.ok_or(Failure::Usage("no message type has this number"))?;
    if flags & !(CHATPB_ALLOW_NAN | CHATPB_IGNORE_UNKNOWN_FIELDS) != 0 {
        return Err(Failure::Usage("there is no such flag"));
    }
    Ok((number, Nan::from(flags & CHATPB_ALLOW_NAN != 0)))
}

/// Reads OpenAI's JSON into the binary form of a message.
///
/// Any thread may call this at any time, with a result of its own.
///
/// @param data The JSON text, in UTF-8. It must not be in the memory of `result`.
/// @param size How many bytes it has.
/// @param message_type What `chatpb_message_type` gave.
/// @param flags 0 or `CHATPB_ALLOW_NAN`.
/// @param result Gets one piece, the message; or the error.
/// @return `CHATPB_OK`, or what is wrong.
///
/// # Safety
///
/// `size` bytes at `data` can be read; the result is NULL or of `chatpb_result_new`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chatpb_json_to_binary(
    data: *const u8,
    size: usize,
    message_type: i32,
    flags: u32,
    result: *mut Outcome,
) -> Status {
    let work = |data: &[u8], outcome: &mut Outcome| {
        let (number, nan) = options(message_type, flags)?;
        let done = SCHEMA.json_to_binary(data, number, nan, outcome.output());
        done.map_err(|Declined| Failure::Refused(fault(data, nan)))
    };
    // SAFETY: by the contract.
    unsafe { call(result, Input { data, size }, work) }
}

/// Writes the binary form of a message as OpenAI's JSON.
///
/// Any thread may call this at any time, with a result of its own.
///
/// @param data The message. It must not be in the memory of `result`.
/// @param size How many bytes it has.
/// @param message_type What `chatpb_message_type` gave.
/// @param flags 0, or `CHATPB_ALLOW_NAN` and `CHATPB_IGNORE_UNKNOWN_FIELDS`, joined by `|`.
/// @param result Gets one piece, the JSON text; or the error.
/// @return `CHATPB_OK`, or what is wrong.
///
/// # Safety
///
/// `size` bytes at `data` can be read; the result is NULL or of `chatpb_result_new`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chatpb_binary_to_json(
    data: *const u8,
    size: usize,
    message_type: i32,
    flags: u32,
    result: *mut Outcome,
) -> Status {
    let work = |data: &[u8], outcome: &mut Outcome| {
        let (number, nan) = options(message_type, flags)?;
        let done = SCHEMA.binary_to_json(data, number, nan, outcome.output());
        done.map_err(|Declined| {
            Failure::Refused(ConversionError {
                path: "$".to_owned(),
                reason: "it is not a valid message".to_owned(),
                offset: None,
            })
        })
    };
    // SAFETY: by the contract.
    unsafe { call(result, Input { data, size }, work) }
}

/// Why a text was refused.
fn fault(data: &[u8], nan: Nan) -> ConversionError {
    let Some(fault) = find_fault(data, nan) else {
        return ConversionError {
            path: "$".to_owned(),
            reason: "it does not fit the message type".to_owned(),
            offset: None,
        };
    };
    let mut path = "$".to_owned();
    for step in fault.path {
        match step {
            Step::Name(place) => {
                path.push('.');
                path.push_str(String::from_utf8_lossy(&data[place]).trim_matches('"'));
            }
            Step::Index(index) => path.push_str(&format!("[{index}]")),
            Step::Around => {}
        }
    }
    ConversionError {
        path,
        reason: fault.kind.to_owned(),
        offset: Some(fault.at),
    }
}
