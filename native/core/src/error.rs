//! Why something is not converted, and where: the texts of `chatpb/_errors.py` and
//! `chatpb/_mapping/fault.py`.

use std::fmt;

use crate::fault::{Fault, Step, find_fault};
use crate::json::{BOM, CONSTANTS, Cursor, Piece, Text, decode};
use crate::{MAX_DEPTH, Nan};

/// How many characters of a text an error shows, and the bytes in which they are.
const SEEN: usize = 12;
const SEEN_BYTES: usize = 24;

/// A value that cannot be converted, and where it is.
///
/// Its text names the place first:
///
/// ```
/// let completion = chatpb::schema().message_type("chatpb.v1.ChatCompletion").unwrap();
/// let error = chatpb::json_to_binary(br#"{"id":}"#, completion, Default::default()).unwrap_err();
/// assert_eq!("$.id", error.path);
/// assert_eq!(Some(6), error.offset);
/// assert_eq!("$.id (byte 6): expected a value, got '}'", error.to_string());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConversionError {
    /// The place in the JSON document, such as `$.choices[0].logprobs`; `$` is all of it.
    pub path: String,
    /// What is wrong there and what was expected, in lower case.
    pub reason: String,
    /// The byte offset in the JSON text; None if there is no text.
    pub offset: Option<usize>,
}

impl fmt::Display for ConversionError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.path)?;
        if let Some(offset) = self.offset {
            write!(formatter, " (byte {offset})")?;
        }
        write!(formatter, ": {}", self.reason)
    }
}

impl std::error::Error for ConversionError {}

impl ConversionError {
    /// The error of a whole document.
    pub(crate) fn new(reason: impl Into<String>) -> Self {
        Self {
            path: "$".to_string(),
            reason: reason.into(),
            offset: None,
        }
    }
}

/// The reason of what nests too deep.
pub fn too_deep() -> String {
    format!("nested deeper than {MAX_DEPTH} levels")
}

/// The reason of a number that is not finite.
pub fn not_json(constant: &str) -> String {
    format!("{constant} is not JSON; pass allow_nan=True to keep it")
}

/// Why a text is not read as a JSON object: its first fault, or that it is another value. None if
/// it is a JSON object.
#[cold]
#[inline(never)]
pub fn find_refusal(data: &[u8], nan: Nan) -> Option<ConversionError> {
    if let Some(error) = find_error(data, nan) {
        return Some(error);
    }
    let mut cursor = Cursor::new(data, 0, nan);
    cursor.at = if data.starts_with(BOM) { BOM.len() } else { 0 };
    let kind = match cursor.next() {
        b'{' => return None,
        b'[' => "an array",
        b'"' => "a string",
        b't' | b'f' => "a boolean",
        b'n' => "null",
        _ => "a number",
    };
    Some(ConversionError {
        offset: Some(cursor.at),
        ..ConversionError::new(format!("expected an object, got {kind}"))
    })
}

/// The first fault of a JSON text; None if there is none.
pub fn find_error(data: &[u8], nan: Nan) -> Option<ConversionError> {
    let fault = find_fault(data, nan)?;
    let mut path = "$".to_string();
    for step in &fault.path {
        match step {
            Step::Name(place) => {
                let mut name = Cursor::new(&data[place.clone()], 0, nan);
                put_text(name.string().unwrap_or_default(), &mut path);
            }
            Step::Index(index) => put_index(*index, &mut path),
            Step::Around => {}
        }
    }
    Some(ConversionError {
        path,
        reason: reason(data, &fault),
        offset: Some(fault.at),
    })
}

fn reason(data: &[u8], fault: &Fault) -> String {
    let rest = &data[fault.at..];
    let expected = match fault.kind {
        "utf8" => return "not UTF-8".to_string(),
        "depth" => return too_deep(),
        "constant" => {
            let mut words = CONSTANTS.iter().map(|(word, _)| *word);
            let word = words.find(|word| rest.starts_with(word.as_bytes()));
            return not_json(word.unwrap_or_default());
        }
        "value" => "a value",
        "name" => "a member name in double quotes",
        "colon" => "':' after a member name",
        "comma or }" => "',' or '}'",
        "comma or ]" => "',' or ']'",
        "end" => "the end of the text",
        "string" => "the end of a string",
        "escape" => "an escape sequence",
        _ => "a control character to be escaped",
    };
    let seen = if rest.is_empty() {
        "the end of the text".to_string()
    } else {
        let text = String::from_utf8_lossy(&rest[..rest.len().min(SEEN_BYTES)]);
        python_repr(&text.chars().take(SEEN).collect::<String>())
    };
    format!("expected {expected}, got {seen}")
}

/// A text as a literal of Python, in which the reference shows what it has seen.
fn python_repr(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') {
        '"'
    } else {
        '\''
    };
    let mut out = String::from(quote);
    for char in text.chars() {
        match char {
            '\t' => out.push_str("\\t"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\\' => out.push_str("\\\\"),
            _ if char == quote => out.extend(['\\', char]),
            _ if is_printable(char) => out.push(char),
            _ => {
                let code = u32::from(char);
                out.push_str(&match code {
                    0..=0xff => format!("\\x{code:02x}"),
                    0x100..=0xffff => format!("\\u{code:04x}"),
                    _ => format!("\\U{code:08x}"),
                });
            }
        }
    }
    out.push(quote);
    out
}

/// Whether a character is neither white space other than the space, nor a control or format
/// character, nor unassigned. What follows another character is escaped for no other reason.
fn is_printable(char: char) -> bool {
    matches!(char, ' '..='~') || format!("a{char}").escape_debug().nth(2).is_none()
}

/// Appends an index to a path.
pub fn put_index(index: usize, path: &mut String) {
    path.push_str(&format!("[{index}]"));
}

/// Appends the name of a member to a path.
pub fn put_name(name: &str, path: &mut String) {
    put_pieces(name.chars().map(Ok), path);
}

/// Appends the name of a member, which is a JSON string, to a path.
fn put_text(name: Text<'_>, path: &mut String) {
    let mut pieces = Vec::new();
    let decoded = decode(name, |piece| match piece {
        Piece::Plain(bytes) => pieces.extend(String::from_utf8_lossy(bytes).chars().map(Ok)),
        Piece::Char(char) => pieces.push(Ok(char)),
        Piece::LoneSurrogate(unit) => pieces.push(Err(unit)),
    });
    debug_assert!(decoded.is_ok(), "the name was read before");
    put_pieces(pieces.into_iter(), path);
}

/// Appends a name: its characters and lone surrogates.
fn put_pieces(name: impl Iterator<Item = Result<char, u16>>, path: &mut String) {
    let start = path.len();
    let mut is_identifier = true;
    let mut is_first = true;
    path.push_str("['");
    for piece in name {
        is_identifier &= matches!(piece, Ok('A'..='Z' | 'a'..='z' | '_'))
            || !is_first && matches!(piece, Ok('0'..='9'));
        is_first = false;
        match piece {
            Ok(char @ ('\\' | '\'')) => path.extend(['\\', char]),
            Ok(char) => path.push(char),
            Err(unit) => path.push_str(&format!("\\u{unit:04x}")),
        }
    }
    if is_identifier && !is_first {
        path.replace_range(start..start + 2, ".");
    } else {
        path.push_str("']");
    }
}

#[cfg(test)]
mod tests {
    use super::{find_refusal, put_name, python_repr};
    use crate::Nan;

    #[test]
    fn texts_are_shown_as_python_shows_them() {
        for (expected, text) in [
            (r"'abc'", "abc"),
            (r#""it's""#, "it's"),
            (r#"'it\'s "x"'"#, "it's \"x\""),
            (r"'\\ \t\n\r\x00\x1f\x7f'", "\\ \t\n\r\0\u{1f}\u{7f}"),
            (r"'\x85\xa0\xadé'", "\u{85}\u{a0}\u{ad}é"),
            (
                r"'\u200b\u2028\u3000\ufeff\ue000'",
                "\u{200b}\u{2028}\u{3000}\u{feff}\u{e000}",
            ),
            (r"'\U000e0001'", "\u{e0001}"),
            ("'e\u{301}\u{fffd}😀'", "e\u{301}\u{fffd}😀"),
            ("'\u{301}'", "\u{301}"),
        ] {
            assert_eq!(expected, python_repr(text));
        }
    }

    #[test]
    fn names_are_quoted_where_they_must_be() {
        for (expected, name) in [
            ("$.choices", "choices"),
            ("$._1", "_1"),
            ("$['1']", "1"),
            ("$['']", ""),
            (r"$['it\'s \\']", "it's \\"),
            ("$['é']", "é"),
        ] {
            let mut path = "$".to_string();
            put_name(name, &mut path);
            assert_eq!(expected, path);
        }
    }

    #[test]
    fn paths_have_what_names_say() {
        let text = br#"{"a\u0062":[1,{"\ud800\u00e9'":[{"x":tru}]}]}"#;
        let error = find_refusal(text, Nan::Refused).unwrap();
        assert_eq!(r"$.ab[1]['\ud800é\''][0].x", error.path);
    }

    #[test]
    fn what_is_not_an_object_is_named() {
        for (expected, text) in [
            ("an array", "[]"),
            ("a string", "\"\""),
            ("a boolean", " true"),
            ("null", "null"),
            ("a number", "\u{feff}\n-1"),
        ] {
            let error = find_refusal(text.as_bytes(), Nan::Refused).unwrap();
            assert_eq!(format!("expected an object, got {expected}"), error.reason);
        }
        assert_eq!(None, find_refusal(b"{}", Nan::Refused));
    }
}
