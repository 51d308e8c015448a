//! Strings that come in pieces.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::general_purpose::{GeneralPurpose, PAD};

/// Takes what Python's strict decoder takes.
const BASE64: GeneralPurpose =
    GeneralPurpose::new(&STANDARD, PAD.with_decode_allow_trailing_bits(true));

/// Pieces of a string, one after the other.
#[derive(Clone, Debug)]
pub struct Text {
    text: Vec<u8>,
    /// What the pieces stand for so far, if each of them is base64.
    bytes: Option<Vec<u8>>,
    is_one: bool,
}

impl Text {
    pub fn new(first: &[u8], is_base64: bool) -> Self {
        Self {
            text: first.to_vec(),
            bytes: is_base64.then(|| BASE64.decode(first).ok()).flatten(),
            is_one: true,
        }
    }

    pub fn append(&mut self, piece: &[u8]) {
        self.is_one = false;
        append_wtf8(&mut self.text, piece);
        if let Some(bytes) = &mut self.bytes
            && BASE64.decode_vec(piece, bytes).is_err()
        {
            self.bytes = None;
        }
    }

    /// Whether no piece has a character.
    pub fn is_blank(&self) -> bool {
        self.text.is_empty()
    }

    /// The string.
    pub fn finish(self) -> Vec<u8> {
        match self.bytes {
            Some(bytes) if !self.is_one => BASE64.encode(bytes).into_bytes(),
            _ => self.text,
        }
    }
}

/// A name that comes in pieces, again, or longer than before.
#[derive(Clone, Debug)]
pub struct Name(Vec<u8>);

impl Name {
    pub fn new(first: &[u8]) -> Self {
        Self(first.to_vec())
    }

    pub fn add(&mut self, piece: &[u8]) {
        if begins(piece, &self.0) {
            self.0.clear();
            self.0.extend_from_slice(piece);
        } else {
            append_wtf8(&mut self.0, piece);
        }
    }

    /// The name.
    pub fn finish(self) -> Vec<u8> {
        self.0
    }
}

/// Appends WTF-8: two surrogates that make a pair become the character.
pub fn append_wtf8(text: &mut Vec<u8>, piece: &[u8]) {
    if let (&[.., 0xed, high @ 0xa0..=0xaf, end], &[0xed, low @ 0xb0..=0xbf, last, ref rest @ ..]) =
        (text.as_slice(), piece)
    {
        let bits = |byte: u8| u32::from(byte & 0x3f);
        let high = bits(high) << 6 & 0x3ff | bits(end);
        let low = bits(low) << 6 & 0x3ff | bits(last);
        if let Some(char) = char::from_u32(0x10000 + (high << 10) + low) {
            text.truncate(text.len() - 3);
            text.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
            text.extend_from_slice(rest);
            return;
        }
    }
    text.extend_from_slice(piece);
}

/// Whether WTF-8 begins with another one, by UTF-16 code units: a character begins with the first of
/// its surrogates.
pub fn begins(text: &[u8], start: &[u8]) -> bool {
    if text.starts_with(start) {
        return true;
    }
    let Some((head, &[0xed, high @ 0xa0..=0xaf, end])) = start.split_last_chunk() else {
        return false;
    };
    let rest = text.strip_prefix(head).and_then(|rest| rest.get(..4));
    let rest = rest.and_then(|rest| std::str::from_utf8(rest).ok());
    let Some(char) = rest.and_then(|rest| rest.chars().next()) else {
        return false;
    };
    let unit = 0xd000 | u16::from(high & 0x3f) << 6 | u16::from(end & 0x3f);
    char.len_utf16() == 2 && char.encode_utf16(&mut [0; 2])[0] == unit
}
