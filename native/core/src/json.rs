//! JSON text (RFC 8259): a cursor over it, and the compact form in which free values are kept.

use std::hash::BuildHasher;

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use crate::{Declined, MAX_DEPTH, Nan};

/// The byte order mark, which may come before a text.
pub const BOM: &[u8] = b"\xef\xbb\xbf";
/// How many member names of an object are compared one by one before they are hashed.
const FEW_NAMES: usize = 16;

/// A place in a JSON text that is valid UTF-8.
pub struct Cursor<'a> {
    pub data: &'a [u8],
    pub at: usize,
    /// The number of containers around the place.
    pub depth: usize,
    pub nan: Nan,
    /// Whether a member is repeated. Then the text is declined: see `crate::repeats`.
    pub repeats: bool,
}

/// A string in the text.
#[derive(Clone, Copy, Default)]
pub struct Text<'a> {
    /// The bytes between the quotes.
    pub raw: &'a [u8],
    pub has_escapes: bool,
}

impl<'a> Cursor<'a> {
    pub fn new(data: &'a [u8], depth: usize, nan: Nan) -> Self {
        Self {
            data,
            at: 0,
            depth,
            nan,
            repeats: false,
        }
    }

    /// The byte here, or 0 at the end.
    #[inline]
    pub fn peek(&self) -> u8 {
        *self.data.get(self.at).unwrap_or(&0)
    }

    #[inline]
    pub fn skip_space(&mut self) {
        while matches!(self.peek(), b' ' | b'\n' | b'\t' | b'\r') {
            self.at += 1;
        }
    }

    /// White space and the byte behind it.
    #[inline]
    pub fn next(&mut self) -> u8 {
        self.skip_space();
        self.peek()
    }

    #[inline]
    pub fn expect(&mut self, byte: u8) -> Result<(), Declined> {
        if self.next() != byte {
            return Err(Declined);
        }
        self.at += 1;
        Ok(())
    }

    /// Enters a container, whose opening bracket is here.
    #[inline]
    pub fn enter(&mut self) -> Result<(), Declined> {
        if self.depth >= MAX_DEPTH {
            return Err(Declined);
        }
        self.depth += 1;
        self.at += 1;
        Ok(())
    }

    /// Leaves a container or goes on in it: whether another element follows.
    #[inline]
    pub fn more(&mut self, closing: u8) -> Result<bool, Declined> {
        let byte = self.next();
        self.at += 1;
        if byte == closing {
            self.depth -= 1;
            return Ok(false);
        }
        if byte == b',' {
            Ok(true)
        } else {
            Err(Declined)
        }
    }

    /// After `enter`: whether the container has an element; leaves it if not.
    #[inline]
    pub fn any(&mut self, closing: u8) -> bool {
        if self.next() == closing {
            self.at += 1;
            self.depth -= 1;
            return false;
        }
        true
    }

    /// Reads a literal that must be here.
    #[inline]
    pub fn literal(&mut self, word: &[u8]) -> Result<(), Declined> {
        if self.data[self.at..].starts_with(word) {
            self.at += word.len();
            return Ok(());
        }
        Err(Declined)
    }

    /// Reads a string, whose opening quote must be here.
    #[inline]
    pub fn string(&mut self) -> Result<Text<'a>, Declined> {
        if self.peek() != b'"' {
            return Err(Declined);
        }
        let start = self.at + 1;
        let mut end = start;
        let mut has_escapes = false;
        loop {
            end = special(self.data, end);
            match self.data.get(end) {
                Some(b'"') => break,
                Some(b'\\') => {
                    has_escapes = true;
                    end += 2; // what follows is looked at when it is decoded
                }
                _ => return Err(Declined),
            }
        }
        self.at = end + 1;
        let raw = &self.data[start..end];
        Ok(Text { raw, has_escapes })
    }

    /// Reads a number of at most 18 digits without a sign, a fraction and an exponent; None, and
    /// nothing is read, if something else is here.
    #[inline]
    pub fn short_natural(&mut self) -> Option<u64> {
        let (mut end, mut value) = (self.at, 0);
        let mut byte = self.peek();
        while byte.is_ascii_digit() && end - self.at < 18 {
            value = value * 10 + u64::from(byte - b'0');
            end += 1;
            byte = *self.data.get(end).unwrap_or(&0);
        }
        let digits = end - self.at;
        let is_canonical = digits == 1 || digits > 1 && self.peek() != b'0';
        if !is_canonical || matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'E') {
            return None;
        }
        self.at = end;
        Some(value)
    }

    /// A number, as it is written, and whether it has neither fraction nor exponent.
    #[inline]
    pub fn number(&mut self) -> Result<(&'a [u8], bool), Declined> {
        let start = self.at;
        if self.peek() == b'-' {
            self.at += 1;
        }
        if self.peek() == b'0' {
            self.at += 1;
        } else {
            self.digits()?;
        }
        let mut is_integer = true;
        if self.peek() == b'.' {
            self.at += 1;
            self.digits()?;
            is_integer = false;
        }
        if matches!(self.peek(), b'e' | b'E') {
            self.at += 1;
            if matches!(self.peek(), b'+' | b'-') {
                self.at += 1;
            }
            self.digits()?;
            is_integer = false;
        }
        Ok((&self.data[start..self.at], is_integer))
    }

    #[inline]
    fn digits(&mut self) -> Result<(), Declined> {
        let start = self.at;
        while self.peek().is_ascii_digit() {
            self.at += 1;
        }
        if self.at == start {
            Err(Declined)
        } else {
            Ok(())
        }
    }

    /// Reads NaN or an infinity, if they are allowed.
    #[cold]
    #[inline(never)]
    pub fn constant(&mut self) -> Result<f64, Declined> {
        let rest = self.data.get(self.at..).unwrap_or_default();
        let found = CONSTANTS
            .iter()
            .find(|(word, _)| rest.starts_with(word.as_bytes()));
        match (self.nan, found) {
            (Nan::Allowed, Some((word, bits))) => {
                self.at += word.len();
                Ok(f64::from_bits(*bits))
            }
            _ => Err(Declined),
        }
    }

    /// Takes the result of `Names::find_or_add`.
    #[inline]
    pub fn is_new(&mut self, earlier: Option<usize>) -> Result<(), Declined> {
        self.repeats |= earlier.is_some();
        if earlier.is_none() {
            Ok(())
        } else {
            Err(Declined)
        }
    }

    /// Reads a value that is neither a container nor a string.
    #[inline]
    pub fn word_or_number(&mut self) -> Result<(), Declined> {
        let start = self.at;
        match self.peek() {
            b't' => self.literal(b"true"),
            b'f' => self.literal(b"false"),
            b'n' => self.literal(b"null"),
            _ if self.number().is_ok() => Ok(()),
            _ => {
                self.at = start;
                self.constant().map(|_| ())
            }
        }
    }

    /// Goes past the value here, whose strings and numbers are not checked.
    #[cfg_attr(not(feature = "table"), allow(dead_code))] // tables alone use it
    pub fn skip_value(&mut self) -> Result<(), Declined> {
        let outside = self.depth;
        loop {
            match self.next() {
                b'"' => {
                    self.string()?;
                }
                b'{' | b'[' => self.enter()?,
                b'}' | b']' => {
                    self.depth = self.depth.checked_sub(1).ok_or(Declined)?;
                    self.at += 1;
                }
                b',' | b':' => self.at += 1,
                0 => return Err(Declined),
                _ => {
                    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
                    let start = self.at;
                    while is_part(self.peek()) {
                        self.at += 1;
                    }
                    if self.at == start {
                        return Err(Declined);
                    }
                }
            }
            if self.depth <= outside {
                return Ok(());
            }
        }
    }

    /// Appends the compact form of the value here.
    pub fn compact(&mut self, out: &mut Vec<u8>) -> Result<(), Declined> {
        match self.next() {
            b'"' => {
                let text = self.string()?;
                put_normal(text, out)
            }
            b'{' => {
                self.enter()?;
                out.push(b'{');
                let mut more = self.any(b'}');
                let mut names = Names::default();
                while more {
                    self.skip_space();
                    let start = out.len();
                    put_normal(self.string()?, out)?;
                    self.is_new(names.find_or_add(out, start))?;
                    self.expect(b':')?;
                    out.push(b':');
                    self.compact(out)?;
                    more = self.more(b'}')?;
                    if more {
                        out.push(b',');
                    }
                }
                out.push(b'}');
                Ok(())
            }
            b'[' => {
                self.enter()?;
                out.push(b'[');
                let mut more = self.any(b']');
                while more {
                    self.compact(out)?;
                    more = self.more(b']')?;
                    if more {
                        out.push(b',');
                    }
                }
                out.push(b']');
                Ok(())
            }
            _ => {
                let start = self.at;
                self.word_or_number()?;
                out.extend_from_slice(&self.data[start..self.at]);
                Ok(())
            }
        }
    }
}

/// Appends a double as the reference spells it.
pub fn put_double(value: f64, out: &mut Vec<u8>) {
    if value.is_finite() {
        out.extend_from_slice(zmij::Buffer::new().format_finite(value).as_bytes());
    } else {
        put_constant(value, out);
    }
}

/// Appends an integer.
pub fn put_integer(value: i64, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Appends a number that is not finite as JavaScript names it.
#[cold]
pub fn put_constant(value: f64, out: &mut Vec<u8>) {
    let is_same =
        |bits: u64| value.to_bits() == bits || value.is_nan() && f64::from_bits(bits).is_nan();
    if let Some((word, _)) = CONSTANTS.iter().find(|(_, bits)| is_same(*bits)) {
        out.extend_from_slice(word.as_bytes());
    }
}

/// The numbers that are not finite, and their bits.
pub const CONSTANTS: [(&str, u64); 3] = [
    ("NaN", 0x7ff8 << 48),
    ("Infinity", 0x7ff0 << 48),
    ("-Infinity", 0xfff0 << 48),
];

/// The member names of an object, in the order in which they were added.
#[derive(Default)]
pub struct Names {
    first: Option<(usize, usize)>,
    /// Where each is; empty as long as there is only the first one.
    places: Vec<(usize, usize)>,
    /// The index of many, so that they are not compared one by one.
    index: Option<Box<Index>>,
}

#[cfg(not(fuzzing))]
type Keys = std::hash::RandomState;
/// The same in each run, so that the same inputs run the same code.
#[cfg(fuzzing)]
type Keys = std::hash::BuildHasherDefault<std::hash::DefaultHasher>;

/// Names by their hash, whose key is secret: nobody can choose names with the same hash.
#[derive(Default)]
struct Index {
    keys: Keys,
    /// The hash and the place in the order.
    table: HashTable<(u64, usize)>,
}

impl Names {
    /// Adds the name at the end of `out`, in its normal form. If it was added before, gives its
    /// place in the order.
    #[inline]
    pub fn find_or_add(&mut self, out: &[u8], start: usize) -> Option<usize> {
        let Some(first) = self.first else {
            self.first = Some((start, out.len()));
            return None;
        };
        self.find_or_add_to(first, out, start)
    }

    #[inline(never)]
    fn find_or_add_to(&mut self, first: (usize, usize), out: &[u8], start: usize) -> Option<usize> {
        if self.places.is_empty() {
            self.places.push(first);
        }
        let name = &out[start..];
        let place = self.places.len();
        if place < FEW_NAMES {
            let mut places = self.places.iter();
            let earlier = places.position(|&(from, to)| &out[from..to] == name);
            if earlier.is_none() {
                self.places.push((start, out.len()));
            }
            return earlier;
        }
        self.find_among_many(out, start)
    }

    #[inline(never)]
    fn find_among_many(&mut self, out: &[u8], start: usize) -> Option<usize> {
        let places = &mut self.places;
        let index = self.index.get_or_insert_with(|| {
            let mut index = Box::<Index>::default();
            for (place, &(from, to)) in places.iter().enumerate() {
                let hash = index.keys.hash_one(&out[from..to]);
                index
                    .table
                    .insert_unique(hash, (hash, place), |entry| entry.0);
            }
            index
        });
        let name = &out[start..];
        let hash = index.keys.hash_one(name);
        let is_same = |entry: &(u64, usize)| {
            let (from, to) = places[entry.1];
            entry.0 == hash && &out[from..to] == name
        };
        match index.table.entry(hash, is_same, |entry| entry.0) {
            Entry::Occupied(earlier) => Some(earlier.get().1),
            Entry::Vacant(new) => {
                new.insert((hash, places.len()));
                places.push((start, out.len()));
                None
            }
        }
    }
}

/// Checks the escapes of a string, which `Cursor::string` does not.
pub fn check(text: Text<'_>) -> Result<(), Declined> {
    if text.has_escapes {
        decode(text, |_| {})?;
    }
    Ok(())
}

/// The place of the first byte from `at` on that ends a plain run of string characters: a quote,
/// a backslash or a control character. The length of the text if there is none.
#[inline]
pub fn special(data: &[u8], mut at: usize) -> usize {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const TOPS: u64 = ONES << 7;
    while let Some(chunk) = data.get(at..).and_then(|rest| rest.first_chunk()) {
        let word = u64::from_le_bytes(*chunk);
        let zero = |x: u64| x.wrapping_sub(ONES) & !x;
        let quote = zero(word ^ (ONES * b'"' as u64));
        let backslash = zero(word ^ (ONES * b'\\' as u64));
        let control = word.wrapping_sub(ONES * 0x20) & !word;
        // Borrows make wrong marks only above a right one.
        let marks = (quote | backslash | control) & TOPS;
        if marks != 0 {
            return at + (marks.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    while let Some(&byte) = data.get(at) {
        if byte == b'"' || byte == b'\\' || byte < 0x20 {
            break;
        }
        at += 1;
    }
    at
}

/// One character of a string with escapes.
pub enum Piece<'a> {
    Plain(&'a [u8]),
    Char(char),
    LoneSurrogate(u16),
}

/// Calls `each` with the pieces of a string.
pub fn decode<'a>(text: Text<'a>, mut each: impl FnMut(Piece<'a>)) -> Result<(), Declined> {
    let raw = text.raw;
    let mut at = 0;
    while at < raw.len() {
        let end = special(raw, at);
        if end > at {
            each(Piece::Plain(&raw[at..end]));
            at = end;
            continue;
        }
        let escape = *raw.get(at + 1).ok_or(Declined)?;
        at += 2;
        each(Piece::Char(match escape {
            b'"' | b'\\' | b'/' => char::from(escape),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let unit = hex4(raw, at)?;
                at += 4;
                match unit {
                    0xd800..=0xdbff => {
                        if raw.get(at) == Some(&b'\\')
                            && raw.get(at + 1) == Some(&b'u')
                            && let low @ 0xdc00..=0xdfff = hex4(raw, at + 2)?
                        {
                            at += 6;
                            let code = 0x10000
                                + ((u32::from(unit) - 0xd800) << 10)
                                + (u32::from(low) - 0xdc00);
                            char::from_u32(code).ok_or(Declined)?
                        } else {
                            each(Piece::LoneSurrogate(unit));
                            continue;
                        }
                    }
                    0xdc00..=0xdfff => {
                        each(Piece::LoneSurrogate(unit));
                        continue;
                    }
                    _ => char::from_u32(u32::from(unit)).ok_or(Declined)?,
                }
            }
            _ => return Err(Declined),
        }));
    }
    Ok(())
}

fn hex4(raw: &[u8], at: usize) -> Result<u16, Declined> {
    let digits = raw.get(at..at + 4).ok_or(Declined)?;
    let mut unit = 0;
    for &digit in digits {
        let value = char::from(digit).to_digit(16).ok_or(Declined)?;
        unit = unit << 4 | value as u16;
    }
    Ok(unit)
}

/// Appends the UTF-8 of a string. False if it has a lone surrogate: then what is appended is junk.
#[inline]
pub fn put_utf8(text: Text<'_>, out: &mut Vec<u8>) -> Result<bool, Declined> {
    if !text.has_escapes {
        out.extend_from_slice(text.raw);
        return Ok(true);
    }
    let mut is_utf8 = true;
    decode(text, |piece| match piece {
        Piece::Plain(bytes) => out.extend_from_slice(bytes),
        Piece::Char(char) => out.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes()),
        Piece::LoneSurrogate(_) => is_utf8 = false,
    })?;
    Ok(is_utf8)
}

/// The UTF-8 of a string, made in `scratch` if need be. None if it has a lone surrogate.
#[inline]
pub fn utf8<'a>(text: Text<'a>, scratch: &'a mut Vec<u8>) -> Result<Option<&'a [u8]>, Declined> {
    if !text.has_escapes {
        return Ok(Some(text.raw));
    }
    scratch.clear();
    let is_utf8 = put_utf8(text, scratch)?;
    Ok(is_utf8.then_some(&scratch[..]))
}

/// Appends a string in quotes, in its normal form.
#[inline]
pub fn put_normal(text: Text<'_>, out: &mut Vec<u8>) -> Result<(), Declined> {
    out.push(b'"');
    if text.has_escapes {
        decode(text, |piece| match piece {
            Piece::Plain(bytes) => out.extend_from_slice(bytes),
            Piece::Char(char) => put_char(char, out),
            Piece::LoneSurrogate(unit) => {
                out.extend_from_slice(format!("\\u{unit:04x}").as_bytes());
            }
        })?;
    } else {
        out.extend_from_slice(text.raw);
    }
    out.push(b'"');
    Ok(())
}

fn put_char(char: char, out: &mut Vec<u8>) {
    match char {
        '\0'..='\u{1f}' | '"' | '\\' => put_escape(char as u8, out),
        _ => out.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes()),
    }
}

/// Appends UTF-8 as a string in quotes.
#[inline]
pub fn put_quoted(utf8: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    let mut start = 0;
    loop {
        let end = special(utf8, start);
        out.extend_from_slice(&utf8[start..end]);
        let Some(&byte) = utf8.get(end) else { break };
        put_escape(byte, out);
        start = end + 1;
    }
    out.push(b'"');
}

fn put_escape(byte: u8, out: &mut Vec<u8>) {
    let short = match byte {
        b'"' => b'"',
        b'\\' => b'\\',
        0x8 => b'b',
        0xc => b'f',
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        _ => {
            out.extend_from_slice(format!("\\u{byte:04x}").as_bytes());
            return;
        }
    };
    out.extend_from_slice(&[b'\\', short]);
}

/// Appends a string as WTF-8: lone surrogates are encoded as if they were characters.
pub fn put_wtf8(text: Text<'_>, out: &mut Vec<u8>) -> Result<(), Declined> {
    decode(text, |piece| match piece {
        Piece::Plain(bytes) => out.extend_from_slice(bytes),
        Piece::Char(char) => out.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes()),
        Piece::LoneSurrogate(unit) => {
            let [high, low] = [unit >> 6 & 0x3f, unit & 0x3f].map(|bits| bits as u8 | 0x80);
            out.extend_from_slice(&[0xed, high, low]);
        }
    })
}

/// Appends WTF-8 with its surrogates as escapes.
pub fn put_escaped_surrogates(mut text: &[u8], out: &mut Vec<u8>) {
    while let Some(at) = memchr::memchr(0xed, text) {
        let end = at + 3;
        if let Some(&[_, high @ 0xa0..=0xbf, low]) = text.get(at..end) {
            let unit = 0xd000 | u16::from(high & 0x3f) << 6 | u16::from(low & 0x3f);
            out.extend_from_slice(&text[..at]);
            out.extend_from_slice(format!("\\u{unit:04x}").as_bytes());
        } else {
            out.extend_from_slice(&text[..end.min(text.len())]);
        }
        text = text.get(end..).unwrap_or_default();
    }
    out.extend_from_slice(text);
}

/// Appends WTF-8 as a string in quotes.
pub fn put_wtf8_quoted(text: &[u8], out: &mut Vec<u8>) {
    if memchr::memchr(0xed, text).is_none() {
        return put_quoted(text, out);
    }
    let mut quoted = Vec::with_capacity(text.len() + 2);
    put_quoted(text, &mut quoted);
    put_escaped_surrogates(&quoted, out);
}
