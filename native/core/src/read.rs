//! JSON text to the binary form of a message.

use std::cell::Cell;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::decimal::skip_array_of;
use crate::json::{BOM, Cursor, Names, Text, put_normal, put_utf8, utf8};
use crate::repeats::without_repeats;
use crate::schema::{Field, Integer, Key, Kind, MessageType, Schema, Shape, Unset, Wire, Word};
use crate::wire::{LENGTH_DELIMITED, close, open, put_bytes, put_number, put_tag, put_varint};
use crate::{Declined, MAX_DEPTH, Nan};

pub fn json_to_binary(
    schema: &Schema,
    data: &[u8],
    index: usize,
    nan: Nan,
    out: &mut Vec<u8>,
) -> Result<(), Declined> {
    simdutf8::basic::from_utf8(data).map_err(|_| Declined)?;
    let text = data.strip_prefix(BOM).unwrap_or(data);
    let start = out.len();
    let (read, repeats) = read_text(schema, text, index, nan, out);
    if !repeats {
        return read;
    }
    out.truncate(start);
    let text = without_repeats(text, 0, nan)?;
    read_text(schema, &text, index, nan, out).0
}

/// Reads a text; it is declined if a member is repeated, and that is reported too.
fn read_text(
    schema: &Schema,
    text: &[u8],
    index: usize,
    nan: Nan,
    out: &mut Vec<u8>,
) -> (Result<(), Declined>, bool) {
    out.reserve(text.len() / 2);
    let Memory {
        mut segments,
        mut extra,
        mut scratch,
    } = MEMORY.take();
    segments.clear();
    extra.clear();
    scratch.clear();
    let mut reader = Reader {
        schema,
        json: Cursor::new(text, 0, nan),
        out: std::mem::take(out),
        segments,
        extra,
        scratch,
    };
    let read = reader.document(index);
    *out = reader.out;
    let memory = Memory {
        segments: reader.segments,
        extra: reader.extra,
        scratch: reader.scratch,
    };
    if memory.is_small() {
        MEMORY.set(memory);
    }
    (read, reader.json.repeats)
}

/// What a reader needs besides its output.
#[derive(Default)]
struct Memory {
    segments: Vec<(u32, usize)>,
    extra: Vec<u8>,
    scratch: Vec<u8>,
}

impl Memory {
    fn is_small(&self) -> bool {
        let bytes = self.extra.capacity().max(self.scratch.capacity());
        bytes.max(self.segments.capacity()) <= MOST_KEPT
    }
}

thread_local! {
    /// That of the last text: to allocate it would take as long as to read a few members.
    static MEMORY: Cell<Memory> = const {
        Cell::new(Memory {
            segments: Vec::new(),
            extra: Vec::new(),
            scratch: Vec::new(),
        })
    };
}
const MOST_KEPT: usize = 4 << 10;

/// What becomes of a member whose value the field does not take, and of one that it does.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fit {
    /// The field is written.
    Set,
    /// The value is what an unset field stands for.
    Unset,
    /// The value is [] or {}.
    Empty,
    /// The value goes to the residue as it is.
    Misfit,
}

/// The key of an entry, as keys are ordered.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub enum EntryKey {
    Text(Vec<u8>),
    Number(i128),
}

struct Reader<'a> {
    schema: &'a Schema,
    json: Cursor<'a>,
    out: Vec<u8>,
    /// The fields of the messages that are being read: their numbers and where they begin in `out`.
    segments: Vec<(u32, usize)>,
    /// The members outside the schema of the messages that are being read, each after a comma.
    extra: Vec<u8>,
    scratch: Vec<u8>,
}

/// What the JSON had of the members of one object, a bit for each field.
#[derive(Default)]
struct Said {
    seen: u64,
    nulls: u64,
    empties: u64,
}

impl<'a> Reader<'a> {
    fn document(&mut self, index: usize) -> Result<(), Declined> {
        if self.json.next() != b'{' {
            return Err(Declined);
        }
        let schema = self.schema;
        self.object(schema.messages.get(index).ok_or(Declined)?)?;
        self.json.skip_space();
        if self.json.at != self.json.data.len() {
            return Err(Declined);
        }
        Ok(())
    }

    /// Reads the object here and appends the fields of its message.
    fn object(&mut self, mapped: &'a MessageType) -> Result<(), Declined> {
        self.json.enter()?;
        let start = self.out.len();
        let first_segment = self.segments.len();
        let extra_start = self.extra.len();
        let mut said = Said::default();
        let mut unknown = Names::default();
        let mut later = Vec::new();
        let mut last = None;
        let mut follower = &mapped.first;
        let mut more = self.json.any(b'}');
        while more {
            self.json.skip_space();
            let here = self.json.data.get(self.json.at..).unwrap_or_default();
            let (name, place) = match mapped.by_text(follower, here) {
                Some(place) => {
                    self.json.at += mapped.fields[place].member.text().len();
                    (Text::default(), Some(place))
                }
                None => self.name(mapped)?,
            };
            self.json.skip_space();
            match place {
                None => {
                    self.extra.push(b',');
                    let name_start = self.extra.len();
                    put_normal(name, &mut self.extra)?;
                    self.json
                        .is_new(unknown.find_or_add(&self.extra, name_start))?;
                    self.extra.push(b':');
                    self.json.compact(&mut self.extra)?;
                }
                Some(index) => {
                    if said.seen & 1 << index != 0 {
                        self.json.repeats = true;
                        return Err(Declined);
                    }
                    said.seen |= 1 << index;
                    let field = &mapped.fields[index];
                    follower = &field.follower;
                    if let Unset::Utf8(text) = field.unset
                        && said.seen & 1 << text == 0
                    {
                        later.push((index, self.json.at, self.extra.len()));
                        self.scratch.clear();
                        self.json.compact(&mut self.scratch)?;
                    } else if field.is_last_integer
                        && let Kind::Integer(integer) = field.kind
                        && let Some(bits) = self.natural(integer)
                    {
                        last = Some((field, bits)); // so that it need not be moved there
                    } else {
                        self.member(mapped, index, first_segment, &mut said)?;
                    }
                }
            }
            more = self.json.more(b'}')?;
        }
        // The string that it is compared with comes after it, or is missing.
        for (index, at, place) in later.into_iter().rev() {
            let end = std::mem::replace(&mut self.json.at, at);
            self.json.depth += 1;
            let extra_end = self.extra.len();
            self.member(mapped, index, first_segment, &mut said)?;
            // If it goes there, then to its place.
            let added = self.extra.len() - extra_end;
            self.extra[place..].rotate_right(added);
            self.json.depth -= 1;
            self.json.at = end;
        }
        self.residue(mapped, &said, extra_start);
        if let Some((field, bits)) = last {
            self.segments.push((field.number, self.out.len()));
            put_number(&mut self.out, field.number, field.wire, bits);
        }
        self.sort_fields(start, first_segment);
        Ok(())
    }

    /// Reads a name that is unknown, or is written in an unusual way, and the colon. Gives the place
    /// of its field too.
    #[inline(never)]
    fn name(&mut self, mapped: &MessageType) -> Result<(Text<'a>, Option<usize>), Declined> {
        let name = self.json.string()?;
        let place = utf8(name, &mut self.scratch)?.and_then(|name| mapped.by_name(name));
        self.json.expect(b':')?;
        Ok((name, place))
    }

    /// Reads the value of a known member.
    fn member(
        &mut self,
        mapped: &'a MessageType,
        index: usize,
        first_segment: usize,
        said: &mut Said,
    ) -> Result<(), Declined> {
        let field = &mapped.fields[index];
        if self.json.peek() == b'n' {
            self.json.literal(b"null")?;
            if !matches!(field.unset, Unset::Null) {
                said.nulls |= 1 << index;
            }
            return Ok(());
        }
        let (at, depth) = (self.json.at, self.json.depth);
        let (out_start, extra_start) = (self.out.len(), self.extra.len());
        let segments = self.segments.len();
        let fit = if self.is_unset(field)? {
            Fit::Unset
        } else {
            match field.shape {
                Shape::Repeated => self.list(field)?,
                Shape::Map => self.map(field)?,
                _ => self.single(mapped, field, first_segment)?,
            }
        };
        match fit {
            Fit::Set => {
                if self.out.len() > out_start {
                    self.segments.push((field.number, out_start));
                }
            }
            Fit::Unset => {}
            Fit::Empty => said.empties |= 1 << index,
            Fit::Misfit => {
                self.out.truncate(out_start);
                self.extra.truncate(extra_start);
                self.segments.truncate(segments);
                (self.json.at, self.json.depth) = (at, depth);
                if let Some(place) = field.alternative
                    && matches!(self.json.peek(), b'[' | b'{')
                {
                    let other = &mapped.fields[place];
                    self.value(other.number, &other.kind, false)?;
                    self.segments.push((other.number, out_start));
                    return Ok(());
                }
                field.member.put(&mut self.extra);
                self.json.compact(&mut self.extra)?;
            }
        }
        Ok(())
    }

    /// Reads the value here if it is the one that an unset field stands for.
    fn is_unset(&mut self, field: &Field) -> Result<bool, Declined> {
        let (at, depth) = (self.json.at, self.json.depth);
        let is_unset = match (&field.unset, self.json.peek()) {
            (Unset::Text(word), b'"') => {
                utf8(self.json.string()?, &mut self.scratch)? == Some(word.as_bytes())
            }
            (Unset::True, b't') => self.json.literal(b"true").map(|()| true)?,
            (Unset::False, b'f') => self.json.literal(b"false").map(|()| true)?,
            (Unset::EmptyArray, b'[') => {
                self.json.enter()?;
                !self.json.any(b']')
            }
            (Unset::EmptyObject, b'{') => {
                self.json.enter()?;
                !self.json.any(b'}')
            }
            _ => return Ok(false),
        };
        if !is_unset {
            (self.json.at, self.json.depth) = (at, depth);
        }
        Ok(is_unset)
    }

    /// A value of a field that is neither a list nor a map.
    fn single(
        &mut self,
        mapped: &'a MessageType,
        field: &'a Field,
        first_segment: usize,
    ) -> Result<Fit, Declined> {
        if let Unset::Utf8(text) = field.unset {
            return self.bytes_of_text(mapped, field, text, first_segment);
        }
        if field.shape != Shape::Implicit {
            return self.value(field.number, &field.kind, false);
        }
        let start = self.out.len();
        let fit = self.value(field.number, &field.kind, true)?;
        // Without presence a zero value cannot be told from an unset field.
        let is_zero = fit == Fit::Set && self.out.len() == start;
        if is_zero && !matches!(field.unset, Unset::Zero(_)) {
            return Ok(Fit::Misfit);
        }
        Ok(fit)
    }

    /// Writes the value here as a field; `implicit` leaves out a zero. The field of a number in a
    /// packed list is 0.
    fn value(&mut self, number: u32, kind: &'a Kind, implicit: bool) -> Result<Fit, Declined> {
        let first = self.json.peek();
        match kind {
            Kind::String => {
                if first != b'"' {
                    return Ok(Fit::Misfit);
                }
                let text = self.json.string()?;
                if implicit && text.raw.is_empty() {
                    return Ok(Fit::Set);
                }
                if !text.has_escapes {
                    put_bytes(&mut self.out, number, text.raw);
                    return Ok(Fit::Set);
                }
                let Some(text) = utf8(text, &mut self.scratch)? else {
                    return Ok(Fit::Misfit);
                };
                put_bytes(&mut self.out, number, text);
                Ok(Fit::Set)
            }
            Kind::Double => self.double(number, implicit),
            Kind::Float => self.float(number, implicit),
            Kind::Integer(integer) => self.integer(number, implicit, *integer),
            Kind::Bool => {
                let value = match first {
                    b't' => self.json.literal(b"true").map(|()| true)?,
                    b'f' => self.json.literal(b"false").map(|()| false)?,
                    _ => return Ok(Fit::Misfit),
                };
                if value || !implicit {
                    put_number(&mut self.out, number, Wire::Varint, u64::from(value));
                }
                Ok(Fit::Set)
            }
            Kind::Enum(words) => {
                let Some(value) = self.word(words)? else {
                    return Ok(Fit::Misfit);
                };
                put_number(&mut self.out, number, Wire::Varint, value as i64 as u64);
                Ok(Fit::Set)
            }
            Kind::Raw => {
                if first == b'n' {
                    return Ok(Fit::Misfit); // an element that is null
                }
                let start = open(&mut self.out, number);
                self.json.compact(&mut self.out)?;
                close(&mut self.out, start);
                Ok(Fit::Set)
            }
            Kind::ByteArray => {
                if !self.byte_array()? {
                    return Ok(Fit::Misfit);
                }
                if !implicit || !self.scratch.is_empty() {
                    put_bytes(&mut self.out, number, &self.scratch);
                }
                Ok(Fit::Set)
            }
            Kind::Base64 => {
                if first != b'"' {
                    return Ok(Fit::Misfit);
                }
                let Some(text) = utf8(self.json.string()?, &mut self.scratch)? else {
                    return Ok(Fit::Misfit);
                };
                let Ok(data) = STANDARD.decode(text) else {
                    return Ok(Fit::Misfit);
                };
                if !implicit || !data.is_empty() {
                    put_bytes(&mut self.out, number, &data);
                }
                Ok(Fit::Set)
            }
            Kind::Object(index) => {
                if first != b'{' {
                    return Ok(Fit::Misfit);
                }
                let start = open(&mut self.out, number);
                self.object(&self.schema.messages[*index])?;
                close(&mut self.out, start);
                Ok(Fit::Set)
            }
            Kind::Union(index) => {
                let start = open(&mut self.out, number);
                let fit = self.union(&self.schema.messages[*index])?;
                close(&mut self.out, start);
                Ok(fit)
            }
        }
    }

    /// The value here as the one member of a union that it fits.
    fn union(&mut self, mapped: &'a MessageType) -> Result<Fit, Declined> {
        let (at, depth) = (self.json.at, self.json.depth);
        let out_start = self.out.len();
        let (extra_start, segments) = (self.extra.len(), self.segments.len());
        if mapped.has_repeated() && self.json.peek() == b'[' {
            self.json.enter()?;
            if !self.json.any(b']') {
                return Ok(Fit::Set); // with no member set
            }
            (self.json.at, self.json.depth) = (at, depth);
        }
        for field in &mapped.fields {
            let fit = match field.shape {
                Shape::Repeated => self.list(field)?,
                Shape::Map => self.map(field)?,
                _ => self.value(field.number, &field.kind, false)?,
            };
            if fit == Fit::Set {
                return Ok(fit);
            }
            self.out.truncate(out_start);
            self.extra.truncate(extra_start);
            self.segments.truncate(segments);
            (self.json.at, self.json.depth) = (at, depth);
        }
        Ok(Fit::Misfit)
    }

    fn list(&mut self, field: &'a Field) -> Result<Fit, Declined> {
        if self.json.peek() != b'[' {
            return Ok(Fit::Misfit);
        }
        self.json.enter()?;
        if !self.json.any(b']') {
            return Ok(Fit::Empty);
        }
        let packed = field.is_packed.then(|| open(&mut self.out, field.number));
        let number = if field.is_packed { 0 } else { field.number };
        loop {
            self.json.skip_space();
            if self.value(number, &field.kind, false)? != Fit::Set {
                return Ok(Fit::Misfit);
            }
            if !self.json.more(b']')? {
                break;
            }
        }
        if let Some(start) = packed {
            close(&mut self.out, start);
        }
        Ok(Fit::Set)
    }

    fn map(&mut self, field: &'a Field) -> Result<Fit, Declined> {
        if self.json.peek() != b'{' {
            return Ok(Fit::Misfit);
        }
        self.json.enter()?;
        if !self.json.any(b'}') {
            return Ok(Fit::Empty);
        }
        let start = self.out.len();
        let mut entries: Vec<(EntryKey, std::ops::Range<usize>)> = Vec::new();
        loop {
            self.json.skip_space();
            let mut name = Vec::new();
            if !put_utf8(self.json.string()?, &mut name)? {
                return Ok(Fit::Misfit);
            }
            self.json.expect(b':')?;
            self.json.skip_space();
            let from = self.out.len();
            let entry = open(&mut self.out, field.number);
            let Some(key) = self.key(field.key, name) else {
                return Ok(Fit::Misfit);
            };
            if self.value(2, &field.kind, false)? != Fit::Set {
                return Ok(Fit::Misfit);
            }
            close(&mut self.out, entry);
            entries.push((key, from..self.out.len()));
            if !self.json.more(b'}')? {
                break;
            }
        }
        entries.sort_by(|one, other| one.0.cmp(&other.0));
        if entries.windows(2).any(|pair| pair[0].0 == pair[1].0) {
            self.json.repeats = true;
            return Err(Declined);
        }
        let sorted: Vec<u8> = entries
            .iter()
            .flat_map(|(_, range)| &self.out[range.clone()])
            .copied()
            .collect();
        self.out.truncate(start);
        self.out.extend_from_slice(&sorted);
        Ok(Fit::Set)
    }

    /// Writes the key of an entry; None if the name is not a key of the type.
    fn key(&mut self, key: Key, name: Vec<u8>) -> Option<EntryKey> {
        let (bits, value) = match (key, &name[..]) {
            (Key::String, _) => {
                put_bytes(&mut self.out, 1, &name);
                return Some(EntryKey::Text(name));
            }
            (Key::Bool, b"false") => (0, 0),
            (Key::Bool, b"true") => (1, 1),
            (Key::Bool, _) => return None,
            (Key::Integer(integer), text) => {
                let bits = integer.parse(text)?;
                let value = integer.value(bits);
                let is_canonical = itoa::Buffer::new().format(value).as_bytes() == text;
                is_canonical.then_some((bits, value))?
            }
        };
        put_number(&mut self.out, 1, key.wire(), bits);
        Some(EntryKey::Number(value))
    }

    /// Bytes that an unset field takes from a string of the same object.
    fn bytes_of_text(
        &mut self,
        mapped: &'a MessageType,
        field: &'a Field,
        text: usize,
        first_segment: usize,
    ) -> Result<Fit, Declined> {
        let number = mapped.fields[text].number;
        if self.json.peek() == b'[' && self.json.depth < MAX_DEPTH {
            let text = self.written_string(number, first_segment)?;
            if let Some(end) = skip_array_of(text, self.json.data, self.json.at) {
                self.json.at = end;
                return Ok(Fit::Unset);
            }
        }
        if !self.byte_array()? {
            return Ok(Fit::Misfit);
        }
        let text = self.written_string(number, first_segment)?;
        if self.scratch == text {
            return Ok(Fit::Unset);
        }
        put_bytes(&mut self.out, field.number, &self.scratch);
        Ok(Fit::Set)
    }

    /// The string that was written for a field of the message; empty if there is none.
    fn written_string(&self, number: u32, first_segment: usize) -> Result<&[u8], Declined> {
        let segments = &self.segments[first_segment..];
        let Some(place) = segments.iter().position(|segment| segment.0 == number) else {
            return Ok(&[]);
        };
        let end = segments
            .get(place + 1)
            .map_or(self.out.len(), |next| next.1);
        let field = &self.out[segments[place].1..end];
        match crate::wire::Fields::new(field).next()? {
            Some((_, crate::wire::Value::Bytes(bytes))) => Ok(bytes),
            _ => Err(Declined),
        }
    }

    /// Reads an array of bytes into `scratch`; false if it is something else.
    fn byte_array(&mut self) -> Result<bool, Declined> {
        if self.json.peek() != b'[' {
            return Ok(false);
        }
        self.scratch.clear();
        self.json.enter()?;
        if !self.json.any(b']') {
            return Ok(true);
        }
        loop {
            self.json.skip_space();
            let start = self.json.at;
            let mut value = 0u32;
            while let digit @ b'0'..=b'9' = self.json.peek() {
                value = value * 10 + u32::from(digit - b'0');
                self.json.at += 1;
                if value > 255 {
                    return Ok(false);
                }
            }
            let digits = self.json.at - start;
            if digits == 0 || digits > 1 && self.json.data[start] == b'0' {
                return Ok(false);
            }
            self.scratch.push(value as u8);
            match self.json.next() {
                b',' => self.json.at += 1,
                b']' => break,
                _ => return Ok(false),
            }
        }
        self.json.at += 1;
        self.json.depth -= 1;
        Ok(true)
    }

    fn word(&mut self, words: &[Word]) -> Result<Option<i32>, Declined> {
        if self.json.peek() != b'"' {
            return Ok(None);
        }
        let here = self.json.data.get(self.json.at..).unwrap_or_default();
        if let Some(known) = words.iter().find(|known| known.text.begins(here)) {
            self.json.at += known.text.text().len();
            return Ok(Some(known.number));
        }
        let text = self.json.string()?;
        if !text.has_escapes {
            return Ok(None);
        }
        let word = utf8(text, &mut self.scratch)?;
        let known = words.iter().find(|known| Some(known.name()) == word);
        Ok(known.map(|known| known.number))
    }

    fn integer(&mut self, number: u32, implicit: bool, integer: Integer) -> Result<Fit, Declined> {
        let bits = match self.natural(integer) {
            Some(bits) => bits,
            None => {
                if !matches!(self.json.peek(), b'-' | b'0'..=b'9') {
                    return Ok(Fit::Misfit);
                }
                let Ok((text, true)) = self.json.number() else {
                    return Ok(Fit::Misfit); // also what is not a number, which is refused there
                };
                let Some(bits) = integer.parse(text) else {
                    return Ok(Fit::Misfit);
                };
                bits
            }
        };
        if bits != 0 || !implicit {
            put_number(&mut self.out, number, integer.wire(), bits);
        }
        Ok(Fit::Set)
    }

    /// Reads a number of the type here, if it is short and not negative.
    #[inline]
    fn natural(&mut self, integer: Integer) -> Option<u64> {
        let at = self.json.at;
        let bits = self
            .json
            .short_natural()
            .and_then(|value| integer.bits_of(value));
        if bits.is_none() {
            self.json.at = at;
        }
        bits
    }

    fn double(&mut self, number: u32, implicit: bool) -> Result<Fit, Declined> {
        let Some(value) = self.number()? else {
            return Ok(Fit::Misfit);
        };
        if value.to_bits() != 0 || !implicit {
            put_number(&mut self.out, number, Wire::Fixed64, value.to_bits());
        }
        Ok(Fit::Set)
    }

    /// A number that a float holds exactly.
    fn float(&mut self, number: u32, implicit: bool) -> Result<Fit, Declined> {
        let Some(value) = self.number()? else {
            return Ok(Fit::Misfit);
        };
        let float = if value.is_nan() {
            f32::from_bits(0x7fc0_0000)
        } else {
            value as f32
        };
        if f64::from(float).to_bits() != value.to_bits() {
            return Ok(Fit::Misfit);
        }
        if float.to_bits() != 0 || !implicit {
            put_number(
                &mut self.out,
                number,
                Wire::Fixed32,
                u64::from(float.to_bits()),
            );
        }
        Ok(Fit::Set)
    }

    /// The number here as a double; None if it does not fit one.
    #[inline(always)]
    fn number(&mut self) -> Result<Option<f64>, Declined> {
        if !matches!(self.json.peek(), b'-' | b'0'..=b'9') {
            return Ok(self.json.constant().ok());
        }
        let rest = &self.json.data[self.json.at..];
        let (value, size) = fast_float2::parse_partial::<f64, _>(rest).map_err(|_| Declined)?;
        let text = &rest[..size];
        let Ok(is_integer) = is_integer(text) else {
            return self.json.constant().map(Some); // else it is not a number
        };
        if is_integer && size > 15 && !is_exactly(value, text) {
            return Ok(None);
        }
        self.json.at += size;
        Ok((!value.is_infinite()).then_some(value))
    }

    /// Appends what the typed fields cannot say, and takes it off `extra`.
    fn residue(&mut self, mapped: &'a MessageType, said: &Said, extra_start: usize) {
        let absent = mapped.expected & !said.seen;
        let has_extra = self.extra.len() > extra_start;
        if said.nulls | absent | said.empties == 0 && !has_extra {
            return;
        }
        self.segments.push((mapped.residue, self.out.len()));
        let start = open(&mut self.out, mapped.residue);
        for (number, bits) in [(1, said.nulls), (2, absent), (3, said.empties)] {
            if bits != 0 {
                let list = open(&mut self.out, number);
                for &(bit, named) in &mapped.numbers {
                    if bits & bit != 0 {
                        put_varint(&mut self.out, u64::from(named));
                    }
                }
                close(&mut self.out, list);
            }
        }
        if has_extra {
            let members = &self.extra[extra_start + 1..]; // behind the first comma
            put_tag(&mut self.out, 4, LENGTH_DELIMITED);
            put_varint(&mut self.out, members.len() as u64 + 2);
            self.out.push(b'{');
            self.out.extend_from_slice(members);
            self.out.push(b'}');
            self.extra.truncate(extra_start);
        }
        close(&mut self.out, start);
    }

    /// Puts the fields of a message in the order of their numbers.
    #[inline]
    fn sort_fields(&mut self, start: usize, first_segment: usize) {
        let segments = &self.segments[first_segment..];
        let descent = segments.windows(2).position(|pair| pair[0].0 > pair[1].0);
        if let Some(descent) = descent {
            self.sort_unsorted(start, first_segment, descent + 1);
        }
        self.segments.truncate(first_segment);
    }

    /// Puts fields in order. The field at `late`, counted from `first_segment`, is the first one
    /// that comes too late.
    fn sort_unsorted(&mut self, start: usize, first_segment: usize, late: usize) {
        let segments = &self.segments[first_segment..];
        let (early, others) = segments.split_at(late);
        let place = early.partition_point(|segment| segment.0 < others[0].0);
        let is_one_move =
            others.is_sorted() && others.last().is_some_and(|last| last.0 < early[place].0);
        if is_one_move {
            let (from, middle) = (early[place].1, others[0].1);
            self.out[from..].rotate_left(middle - from);
            return;
        }
        // The largest field is moved to its place; the others are written around it once more.
        let ends = segments[1..].iter().map(|segment| segment.1);
        let mut parts: Vec<(u32, usize, usize)> = segments
            .iter()
            .zip(ends.chain([self.out.len()]))
            .map(|(&(number, from), to)| (number, from, to))
            .collect();
        parts.sort_unstable();
        let sizes = parts.iter().map(|&(_, from, to)| to - from);
        let Some((largest, size)) = sizes.enumerate().max_by_key(|&(_, size)| size) else {
            return;
        };
        self.scratch.clear();
        let mut before = 0;
        for (place, &(_, from, to)) in parts.iter().enumerate() {
            if place == largest {
                before = self.scratch.len();
            } else {
                self.scratch.extend_from_slice(&self.out[from..to]);
            }
        }
        let (_, from, to) = parts[largest];
        let (moved, end) = (start + before, start + before + size);
        self.out.copy_within(from..to, moved);
        self.out[start..moved].copy_from_slice(&self.scratch[..before]);
        self.out[end..].copy_from_slice(&self.scratch[before..]);
    }
}

/// Whether a double is the value of an integer of more than 15 digits.
#[cold]
fn is_exactly(value: f64, integer: &[u8]) -> bool {
    // No double has more digits, and formatting gives all of them.
    value.is_finite() && format!("{value:.0}").as_bytes() == integer
}

/// Whether a number that the parser took has neither fraction nor exponent. The parser takes more
/// than JSON does: that is declined.
#[inline]
fn is_integer(text: &[u8]) -> Result<bool, Declined> {
    let text = text.strip_prefix(b"-").unwrap_or(text);
    let whole = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if whole == 0 || whole > 1 && text[0] == b'0' {
        return Err(Declined);
    }
    match text.get(whole) {
        None => Ok(true),
        Some(b'.') if text.get(whole + 1).is_some_and(u8::is_ascii_digit) => Ok(false),
        Some(b'e' | b'E') => Ok(false),
        _ => Err(Declined),
    }
}
