//! Messages in any form that protobuf takes, to JSON text or to an error: the slow way.
//!
//! `crate::write` is fast and declines what no serializer writes, and what is refused. Here a message
//! is read as protobuf's own parsers read it: fields in any order, repeated ones that are merged,
//! numbers in more bytes than they need, lists in pieces. It is read three times, each time in
//! linear time and without a copy of the tree: to check the bytes, to look for fields that the
//! schema does not know, and to write. What is refused, and in which order, is that of
//! `chatpb/_mapping/convert.py`.

mod level;
mod refusal;
mod unknown;
mod validate;
mod wire;
mod write;

use crate::error::{ConversionError, find_error};
use crate::{MAX_DEPTH, Nan, Options, Schema};

/// Writes the binary form of a message as JSON text, or gives the reason why not.
#[cold]
#[inline(never)]
pub fn binary_to_json(
    schema: &Schema,
    data: &[u8],
    message_type: usize,
    options: Options,
) -> Result<Vec<u8>, ConversionError> {
    let mapped = &schema.messages[message_type];
    if validate::message(schema, mapped, data, wire::MAX_LEVELS).is_err() {
        let reason = format!("not the binary form of a {}", mapped.name);
        return Err(ConversionError::new(reason));
    }
    if !options.ignore_unknown_fields
        && let Some(error) = unknown::find(schema, mapped, data)
    {
        return Err(error);
    }
    let (text, brackets) = write::write(schema, mapped, data, options)?;
    // Free values nest in what is around them, which no text shows alone.
    if brackets > MAX_DEPTH / 2
        && let Some(error) = find_error(&text, Nan::Allowed)
    {
        return Err(ConversionError {
            offset: None,
            ..error
        });
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::binary_to_json;
    use crate::{Nan, Options, schema, write as fast};

    const VECTORS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/vectors");
    const ROOT: &str = "chatpb.v1.ChatCompletion";
    const BOTH: [bool; 2] = [false, true];

    fn slow(data: &[u8], name: &str, ignore_unknown_fields: bool) -> Result<String, String> {
        let kind = schema().message_type(name).unwrap();
        let options = Options {
            allow_nan: false,
            ignore_unknown_fields,
        };
        let text = binary_to_json(schema(), data, kind, options).map_err(|e| e.to_string())?;
        Ok(String::from_utf8(text).unwrap())
    }

    /// A field with a length.
    fn field(number: u8, content: &[u8]) -> Vec<u8> {
        let size = u8::try_from(content.len()).unwrap();
        [&[number << 3 | 2, size][..], content].concat()
    }

    #[test]
    fn the_slow_way_gives_what_the_fast_one_gives() {
        let manifest = fs::read(format!("{VECTORS}/manifest.json")).unwrap();
        let manifest: Vec<serde_json::Value> = serde_json::from_slice(&manifest).unwrap();
        for vector in manifest {
            let name = vector["name"].as_str().unwrap();
            let data = fs::read(format!("{VECTORS}/{name}.binpb")).unwrap();
            let kind = vector["message_type"].as_str().unwrap();
            let mut text = Vec::new();
            let number = schema().message_type(kind).unwrap();
            let done = fast::binary_to_json(schema(), &data, number, Nan::Refused, &mut text);
            assert_eq!(Ok(()), done, "{name}");
            let text = String::from_utf8(text).unwrap();
            for ignore in BOTH {
                assert_eq!(Ok(&text), slow(&data, kind, ignore).as_ref(), "{name}");
            }
        }
    }

    #[test]
    fn pieces_are_merged() {
        let usage = [field(6, b"\x08\x01"), field(6, b"\x10\x02")].concat();
        let whole = field(6, b"\x08\x01\x10\x02");
        assert!(slow(&whole, ROOT, false).unwrap().contains("\"usage\":{"));
        assert_eq!(slow(&whole, ROOT, false), slow(&usage, ROOT, false));
        let ids = [field(1, b"a"), field(2, b"o"), field(1, b"b")].concat();
        let text = slow(&ids, ROOT, false).unwrap();
        assert!(
            text.starts_with("{\"id\":\"b\",\"object\":\"o\","),
            "{text}"
        );
    }

    #[test]
    fn of_a_oneof_the_last_counts() {
        let name = "chatpb.v1.Choice";
        let text = |stop: &[u8]| {
            let number = schema().messages[schema().message_type(name).unwrap()]
                .fields
                .iter()
                .find(|field| field.oneof.is_none() && field.name == "stop_reason")
                .map(|field| field.number)
                .unwrap();
            let mut data = Vec::new();
            crate::wire::put_bytes(&mut data, number, stop);
            slow(&data, name, false).unwrap()
        };
        let both = [b"\x08\x07".to_vec(), field(2, b"x")];
        assert!(text(&both.concat()).contains("\"x\""));
        let both = [field(2, b"x"), b"\x08\x07".to_vec()];
        assert!(text(&both.concat()).contains(":7"));
    }

    #[test]
    fn entries_with_unknown_fields_are_unknown() {
        let known = [field(1, b"k"), field(2, b"v")].concat();
        let other = [known.clone(), field(3, b"x")].concat();
        let data = [field(9, &known), field(9, &other)].concat();
        let error = slow(&data, ROOT, false).unwrap_err();
        assert!(error.starts_with("$: field 9 of chatpb.v1.ChatCompletion is not"));
        let text = slow(&data, ROOT, true).unwrap();
        assert!(text.contains("\"metadata\":{\"k\":\"v\"}"), "{text}");
    }

    #[test]
    fn groups_may_have_a_field_of_number_0() {
        let group = [b"\x9b\x06\x01".as_slice(), &[0; 8], b"\x9c\x06"].concat();
        assert!(slow(&group, ROOT, true).is_ok());
        assert!(slow(&group[2..11], ROOT, true).is_err());
    }

    #[test]
    fn levels_are_limited() {
        let groups = |count| {
            let (open, close) = (b"\x9b\x06".repeat(count), b"\x9c\x06".repeat(count));
            [open, close].concat()
        };
        assert!(slow(&groups(100), ROOT, true).is_ok());
        for count in [101, 1_000_000] {
            let error = slow(&groups(count), ROOT, true).unwrap_err();
            assert!(error.ends_with("not the binary form of a chatpb.v1.ChatCompletion"));
        }
    }
}
