//! The conversions of the built-in schema, with errors.

use crate::error::{ConversionError, find_refusal};
use crate::{Declined, Nan, Schema, read, schema, slow, write};

/// How values are converted. By default nothing is allowed.
///
/// A new version may add a field: write `Options { allow_nan: true, ..Options::default() }`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Whether NaN, Infinity and -Infinity, which are not JSON, are accepted and written.
    pub allow_nan: bool,
    /// Whether fields and enum values that this version of the schema does not know are left out
    /// of the JSON. Otherwise they are errors.
    pub ignore_unknown_fields: bool,
}

/// Reads a JSON text into the binary form of a message.
///
/// The binary form is canonical: texts that differ only in white space and in the order of
/// documented members give the same bytes. What the typed fields cannot represent is in the
/// residues of the message.
///
/// * `data`: a JSON object in UTF-8; white space and a byte order mark may surround it. If a member
///   is repeated, the last one wins.
/// * `message_type`: what [`Schema::message_type`] gives.
///
/// # Errors
///
/// The text is not one JSON object, is not UTF-8, or nests deeper than 200 levels.
///
/// # Examples
///
/// ```
/// # fn main() -> Result<(), chatpb::ConversionError> {
/// let message_type = chatpb::schema().message_type("chatpb.v1.ChatCompletion").unwrap();
/// let text = br#"{"id":"chatcmpl-1","choices":[],"new":1}"#;
/// let binary = chatpb::json_to_binary(text, message_type, Default::default())?;
/// assert_eq!(&text[..], chatpb::binary_to_json(&binary, message_type, Default::default())?);
/// # Ok(())
/// # }
/// ```
pub fn json_to_binary(
    data: &[u8],
    message_type: usize,
    options: Options,
) -> Result<Vec<u8>, ConversionError> {
    let mut out = Vec::new();
    schema().json_to_binary(data, message_type, options, &mut out)?;
    Ok(out)
}

/// Writes the binary form of a message as JSON text.
///
/// The text is compact: documented members in the order in which api.openai.com sends them, then
/// the others. The law: what [`json_to_binary`] reads from a text is written as the same JSON value.
///
/// # Errors
///
/// The bytes are not a message of the type, or it has unknown fields, numbers that are not finite,
/// several values in a union, or text that is not JSON where JSON is expected.
///
/// # Examples
///
/// ```
/// let message_type = chatpb::schema().message_type("chatpb.v1.ChatCompletion").unwrap();
/// let error = chatpb::binary_to_json(b"{}", message_type, Default::default()).unwrap_err();
/// assert_eq!("$: not the binary form of a chatpb.v1.ChatCompletion", error.to_string());
/// ```
pub fn binary_to_json(
    data: &[u8],
    message_type: usize,
    options: Options,
) -> Result<Vec<u8>, ConversionError> {
    let mut out = Vec::new();
    schema().binary_to_json(data, message_type, options, &mut out)?;
    Ok(out)
}

impl Schema {
    /// What [`json_to_binary`] does, for this schema; appends to `out`.
    ///
    /// # Errors
    ///
    /// As for [`json_to_binary`]. Then `out` holds junk after what it held before.
    pub fn json_to_binary(
        &self,
        data: &[u8],
        message_type: usize,
        options: Options,
        out: &mut Vec<u8>,
    ) -> Result<(), ConversionError> {
        self.check_number(message_type)?;
        let nan = Nan::from(options.allow_nan);
        read::json_to_binary(self, data, message_type, nan, out).map_err(|Declined| {
            // What is declined is refused: the reason is always found.
            find_refusal(data, nan).unwrap_or_else(|| ConversionError::new("not a JSON object"))
        })
    }

    /// What [`binary_to_json`] does, for this schema; appends to `out`.
    ///
    /// # Errors
    ///
    /// As for [`binary_to_json`]. Then `out` holds junk after what it held before.
    pub fn binary_to_json(
        &self,
        data: &[u8],
        message_type: usize,
        options: Options,
        out: &mut Vec<u8>,
    ) -> Result<(), ConversionError> {
        self.check_number(message_type)?;
        let nan = Nan::from(options.allow_nan);
        let start = out.len();
        if write::binary_to_json(self, data, message_type, nan, out).is_ok() {
            return Ok(());
        }
        out.truncate(start);
        out.extend(slow::binary_to_json(self, data, message_type, options)?);
        Ok(())
    }

    fn check_number(&self, message_type: usize) -> Result<(), ConversionError> {
        if self.has_number(message_type) {
            return Ok(());
        }
        let reason = format!("the schema has no message type {message_type}");
        Err(ConversionError::new(reason))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_numbers_that_the_schema_gives_are_taken() {
        let given: Vec<_> = schema().messages.iter().map(|m| &*m.name).collect();
        let given: Vec<_> = given
            .iter()
            .filter_map(|name| schema().message_type(name))
            .collect();
        assert!(
            given.len() < schema().messages.len(),
            "unions have numbers too"
        );
        for number in 0..=schema().messages.len() {
            let read = json_to_binary(b"{}", number, Options::default());
            let written = binary_to_json(b"", number, Options::default());
            assert_eq!(given.contains(&number), read.is_ok());
            assert_eq!(given.contains(&number), written.is_ok());
        }
    }
}
