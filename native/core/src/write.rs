//! The binary form of a message to JSON text.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::decimal::DECIMALS;
use crate::json::{BOM, Cursor, Names, put_constant, put_normal, put_quoted, put_utf8};
use crate::repeats::without_repeats;
use crate::schema::{Field, Integer, Key, Kind, MessageType, NO_FIELD, Schema, Shape, Unset, Wire};
use crate::wire::{Fields, LENGTH_DELIMITED, Value};
use crate::{Declined, MAX_DEPTH, Nan};

pub fn binary_to_json(
    schema: &Schema,
    data: &[u8],
    index: usize,
    nan: Nan,
    out: &mut Vec<u8>,
) -> Result<(), Declined> {
    let mapped = schema.messages.get(index).ok_or(Declined)?;
    out.reserve(data.len().saturating_mul(4));
    let mut writer = Writer::new(schema, nan, std::mem::take(out), ());
    let written = writer.object(mapped, data, 0);
    *out = writer.out;
    written
}

/// The place of a field's value; of a list, from the start of its first field to the end of its last.
#[derive(Clone, Copy, Default)]
pub struct Slot {
    pub start: u32,
    pub end: u32,
    pub bits: u64,
}

/// The content of a residue.
#[derive(Default)]
struct Residue<'a> {
    nulls: u64,
    absent: u64,
    empties: u64,
    extra: &'a [u8],
}

pub struct Writer<'a, R> {
    pub schema: &'a Schema,
    nan: Nan,
    pub out: Vec<u8>,
    /// The places of the fields of the messages that are being written.
    pub slots: Vec<Slot>,
    scratch: Vec<u8>,
    /// What has values besides the messages.
    #[cfg_attr(not(feature = "table"), allow(dead_code))] // tables alone use it
    pub rows: R,
}

/// Where the values of a message are.
pub trait Values<'a, R>: Copy {
    /// Writes the value of a field that has one; false if it counts as unset.
    fn put(
        self,
        writer: &mut Writer<'a, R>,
        field: &'a Field,
        data: &[u8],
        slot: Slot,
        depth: usize,
    ) -> Result<bool, Declined>;

    /// The text of a string field that has one.
    fn text<'d>(self, writer: &Writer<'a, R>, data: &'d [u8], slot: Slot) -> &'d [u8]
    where
        'a: 'd;
}

/// All values are in the binary form of the message.
#[derive(Clone, Copy)]
struct Whole;

impl<'a, R> Values<'a, R> for Whole {
    #[inline(always)]
    fn put(
        self,
        writer: &mut Writer<'a, R>,
        field: &'a Field,
        data: &[u8],
        slot: Slot,
        depth: usize,
    ) -> Result<bool, Declined> {
        // The usual kinds here, so that they cost no call.
        let bytes = data.get(slot.start as usize..slot.end as usize);
        match (field.shape, &field.kind, bytes) {
            (Shape::Explicit, Kind::Object(index), Some(bytes)) => {
                let mapped = &writer.schema.messages[*index];
                writer.object(mapped, bytes, depth)?;
                Ok(true)
            }
            (Shape::Explicit, Kind::String, Some(bytes)) => writer.string(bytes),
            (Shape::Implicit, Kind::String, Some(bytes)) if !bytes.is_empty() => {
                writer.string(bytes)
            }
            (Shape::Repeated, _, Some(bytes)) => writer.list(field, bytes, depth),
            (shape, Kind::Integer(integer), _) if shape != Shape::Map => {
                Ok(writer.integer(*integer, slot.bits, shape == Shape::Implicit))
            }
            _ => writer.field(field, data, slot, depth),
        }
    }

    #[inline(always)]
    fn text<'d>(self, _: &Writer<'a, R>, data: &'d [u8], slot: Slot) -> &'d [u8]
    where
        'a: 'd,
    {
        &data[slot.start as usize..slot.end as usize]
    }
}

impl<'a, R> Writer<'a, R> {
    pub fn new(schema: &'a Schema, nan: Nan, out: Vec<u8>, rows: R) -> Self {
        Self {
            schema,
            nan,
            out,
            slots: Vec::with_capacity(64),
            scratch: Vec::new(),
            rows,
        }
    }

    pub fn object(
        &mut self,
        mapped: &'a MessageType,
        data: &[u8],
        depth: usize,
    ) -> Result<(), Declined> {
        if depth >= MAX_DEPTH {
            return Err(Declined);
        }
        if data.is_empty() && mapped.derived == 0 {
            let start = self.out.len();
            mapped.put_unset(0, mapped.fields.len(), &mut self.out);
            self.close(start);
            return Ok(());
        }
        if mapped.is_flat && self.flat(mapped, data, depth + 1)? {
            return Ok(());
        }
        let first_slot = self.slots.len();
        let (seen, residue) = scan(mapped, data, &mut self.slots)?;
        self.members(mapped, data, depth, (first_slot, seen, residue), Whole)
    }

    /// Writes an object, of whose fields it is known where they are: the place of the first slot,
    /// a bit for each field that has a value, and the residue.
    #[inline]
    pub fn members(
        &mut self,
        mapped: &'a MessageType,
        data: &[u8],
        depth: usize,
        (first_slot, seen, residue): (usize, u64, Option<&[u8]>),
        values: impl Values<'a, R>,
    ) -> Result<(), Declined> {
        let mut silenced = 0;
        let mut extra = Vec::new();
        let residue = match residue {
            None => None,
            Some(residue) => {
                let residue = read_residue(mapped, residue)?;
                if !residue.extra.is_empty() {
                    silenced = self.extra(mapped, residue.extra, depth, &mut extra)?;
                }
                Some(residue)
            }
        };
        let start = self.out.len();
        let (nulls, absent, empties) = match &residue {
            Some(residue) => (residue.nulls, residue.absent, residue.empties),
            None => (0, 0, 0),
        };
        // The fields of which more is known than that they are unset, of the many of a message.
        let mut left = if seen & mapped.alternatives == 0 {
            seen | nulls | absent | empties | silenced | mapped.derived
        } else {
            mapped.members
        };
        let mut place = 0;
        while left != 0 {
            let index = left.trailing_zeros() as usize;
            mapped.put_unset(place, index, &mut self.out);
            place = index + 1;
            let field = &mapped.fields[index];
            let bit = 1u64 << index;
            left ^= bit;
            let given = seen & field.bits;
            if given & given.wrapping_sub(1) != 0 {
                return Err(Declined); // as below; and the one that is not written is not checked here
            }
            if silenced & bit != 0 {
                if given != 0 {
                    return Err(Declined); // reading never sets both: the reference decides
                }
                continue;
            }
            if given != 0 {
                let before = self.out.len();
                field.member.put(&mut self.out);
                let given = given.trailing_zeros() as usize;
                let slot = self.slots[first_slot + given];
                if values.put(self, &mapped.fields[given], data, slot, depth + 1)? {
                    continue;
                }
                self.out.truncate(before);
            }
            if empties & bit != 0 {
                field.member.put(&mut self.out);
                let is_map = field.shape == Shape::Map;
                self.out
                    .extend_from_slice(if is_map { b"{}" } else { b"[]" });
            } else if nulls & bit != 0 {
                field.member.put(&mut self.out);
                self.out.extend_from_slice(b"null");
            } else if absent & bit == 0 {
                let text = match field.unset {
                    Unset::Utf8(text) if seen & 1 << text != 0 => {
                        values.text(self, data, self.slots[first_slot + text])
                    }
                    _ => &[],
                };
                self.unset(field, text);
            }
        }
        mapped.put_unset(place, mapped.fields.len(), &mut self.out);
        if !extra.is_empty() {
            self.out.push(b',');
            self.out.extend_from_slice(&extra);
        }
        self.close(start);
        self.slots.truncate(first_slot);
        Ok(())
    }

    /// Ends an object, whose members begin at `start` and follow a comma each.
    #[inline]
    pub fn close(&mut self, start: usize) {
        match self.out.get_mut(start) {
            Some(comma) => *comma = b'{',
            None => self.out.push(b'{'),
        }
        self.out.push(b'}');
    }

    /// Writes a message of scalars in one pass. False, and nothing is written, if it has a residue or
    /// its fields are not in order.
    fn flat(
        &mut self,
        mapped: &'a MessageType,
        data: &[u8],
        depth: usize,
    ) -> Result<bool, Declined> {
        let start = self.out.len();
        let mut fields = Fields::new(data);
        let mut place = 0;
        let mut text: &[u8] = &[];
        while let Some((number, value)) = fields.next()? {
            let index = mapped.by_number(number);
            if index == NO_FIELD || usize::from(index) < place {
                self.out.truncate(start);
                return Ok(false);
            }
            let index = usize::from(index);
            self.unset_run(mapped, place, index, text);
            let field = &mapped.fields[index];
            let (bytes, bits) = match (value, field.wire) {
                (Value::Bytes(bytes), Wire::Bytes) => (bytes, 0),
                (value, wire) => (&[][..], bits_of(value, wire)?),
            };
            let before = self.out.len();
            field.member.put(&mut self.out);
            let implicit = field.shape == Shape::Implicit;
            if !self.value(&field.kind, bytes, bits, implicit, depth)? {
                self.out.truncate(before);
                self.unset(field, text);
            }
            if mapped.text == Some(index) {
                text = bytes;
            }
            place = index + 1;
        }
        self.unset_run(mapped, place, mapped.fields.len(), text);
        self.close(start);
        Ok(true)
    }

    /// Writes the members of unset fields from one place to another, as `unset` does.
    #[inline]
    fn unset_run(&mut self, mapped: &MessageType, from: usize, to: usize, text: &[u8]) {
        if mapped.derived == 0 {
            return mapped.put_unset(from, to, &mut self.out);
        }
        for field in &mapped.fields[from..to] {
            self.unset(field, text);
        }
    }

    /// Writes the member of an unset field, if that stands for a value. `text` is the string that its
    /// bytes are taken from.
    #[inline]
    pub fn unset(&mut self, field: &Field, text: &[u8]) {
        if let Some(member) = &field.unset_member {
            member.put(&mut self.out);
        } else if let Unset::Utf8(_) = field.unset {
            field.member.put(&mut self.out);
            put_byte_array(text, &mut self.out);
        }
    }

    /// Writes the value of a field that is on the wire; false if it counts as unset.
    pub fn field(
        &mut self,
        field: &'a Field,
        data: &[u8],
        slot: Slot,
        depth: usize,
    ) -> Result<bool, Declined> {
        let bytes = data
            .get(slot.start as usize..slot.end as usize)
            .ok_or(Declined)?;
        match field.shape {
            Shape::Repeated => self.list(field, bytes, depth),
            Shape::Map => self.map(field, bytes, depth),
            shape => self.value(
                &field.kind,
                bytes,
                slot.bits,
                shape == Shape::Implicit,
                depth,
            ),
        }
    }

    /// Writes a value; false if it counts as unset.
    pub fn value(
        &mut self,
        kind: &'a Kind,
        bytes: &[u8],
        bits: u64,
        implicit: bool,
        depth: usize,
    ) -> Result<bool, Declined> {
        match kind {
            Kind::String => {
                if implicit && bytes.is_empty() {
                    return Ok(false);
                }
                return self.string(bytes);
            }
            // In one place, so that the formatting is inlined.
            Kind::Double | Kind::Float => {
                let value = match kind {
                    Kind::Float => f64::from(f32::from_bits(bits as u32)),
                    _ => f64::from_bits(bits),
                };
                if implicit && bits == 0 {
                    return Ok(false);
                }
                if value.is_finite() {
                    let mut buffer = zmij::Buffer::new();
                    self.out
                        .extend_from_slice(buffer.format_finite(value).as_bytes());
                } else {
                    self.constant(value)?;
                }
            }
            Kind::Integer(integer) => return Ok(self.integer(*integer, bits, implicit)),
            Kind::Bool => {
                if implicit && bits == 0 {
                    return Ok(false);
                }
                let word: &[u8] = if bits != 0 { b"true" } else { b"false" };
                self.out.extend_from_slice(word);
            }
            Kind::Enum(words) => {
                let number = bits as i32;
                if number == 0 {
                    return Ok(false);
                }
                let mut words = words.iter();
                let word = words.find(|word| word.number == number).ok_or(Declined)?;
                word.text.put_text(&mut self.out);
            }
            Kind::Raw => {
                if implicit && bytes.is_empty() {
                    return Ok(false);
                }
                self.raw(bytes, depth)?;
            }
            Kind::ByteArray => {
                if implicit && bytes.is_empty() {
                    return Ok(false);
                }
                if depth >= MAX_DEPTH {
                    return Err(Declined);
                }
                put_byte_array(bytes, &mut self.out);
            }
            Kind::Base64 => {
                if implicit && bytes.is_empty() {
                    return Ok(false);
                }
                self.out.push(b'"');
                self.out
                    .extend_from_slice(STANDARD.encode(bytes).as_bytes());
                self.out.push(b'"');
            }
            Kind::Object(index) => self.object(&self.schema.messages[*index], bytes, depth)?,
            Kind::Union(index) => return self.union(&self.schema.messages[*index], bytes, depth),
        }
        Ok(true)
    }

    /// Writes a string; true.
    #[inline(always)]
    fn string(&mut self, text: &[u8]) -> Result<bool, Declined> {
        if !is_plain(text) {
            simdutf8::basic::from_utf8(text).map_err(|_| Declined)?;
            put_quoted(text, &mut self.out);
            return Ok(true);
        }
        self.out.push(b'"');
        self.out.extend_from_slice(text);
        self.out.push(b'"');
        Ok(true)
    }

    /// Writes a number that is not finite.
    #[cold]
    #[inline(never)]
    fn constant(&mut self, value: f64) -> Result<(), Declined> {
        if self.nan == Nan::Refused {
            return Err(Declined);
        }
        put_constant(value, &mut self.out);
        Ok(())
    }

    #[inline(never)]
    fn integer(&mut self, integer: Integer, bits: u64, implicit: bool) -> bool {
        if let Some(value) = integer.short_natural(bits) {
            if value != 0 || !implicit {
                let mut buffer = itoa::Buffer::new();
                self.out.extend_from_slice(buffer.format(value).as_bytes());
            }
            return value != 0 || !implicit;
        }
        let value = integer.value(bits);
        if implicit && value == 0 {
            return false;
        }
        put_integer(value, &mut self.out);
        true
    }

    #[inline(never)]
    fn raw(&mut self, text: &[u8], depth: usize) -> Result<(), Declined> {
        let start = self.out.len();
        free_text(text, depth, self.nan, |cursor| {
            self.out.truncate(start);
            cursor.compact(&mut self.out)
        })
    }

    /// Writes the one value of a union; false if it has none.
    pub fn union(
        &mut self,
        mapped: &'a MessageType,
        data: &[u8],
        depth: usize,
    ) -> Result<bool, Declined> {
        let first_slot = self.slots.len();
        let (seen, _) = scan(mapped, data, &mut self.slots)?;
        if seen.count_ones() > 1 {
            return Err(Declined);
        }
        if seen != 0 {
            let index = seen.trailing_zeros() as usize;
            let slot = self.slots[first_slot + index];
            if self.field(&mapped.fields[index], data, slot, depth)? {
                self.slots.truncate(first_slot);
                return Ok(true);
            }
        }
        self.slots.truncate(first_slot);
        if mapped.has_repeated() {
            self.out.extend_from_slice(b"[]");
            return Ok(true);
        }
        Ok(false)
    }

    pub fn list(&mut self, field: &'a Field, run: &[u8], depth: usize) -> Result<bool, Declined> {
        if depth >= MAX_DEPTH {
            return Err(Declined);
        }
        let start = self.out.len();
        let mut fields = Fields::new(run);
        while let Some((number, value)) = fields.next()? {
            if number != field.number {
                continue;
            }
            match (&field.kind, value, field.wire) {
                (Kind::Object(index), Value::Bytes(bytes), _) => {
                    let first = self.out.len() == start;
                    self.out.push(if first { b'[' } else { b',' });
                    self.object(&self.schema.messages[*index], bytes, depth + 1)?;
                }
                (_, Value::Bytes(bytes), Wire::Bytes) => {
                    self.element(field, bytes, 0, start, depth)?;
                }
                (_, Value::Bytes(packed), wire) => {
                    let mut numbers = Fields::new(packed);
                    while let Some(bits) = numbers.number(wire)? {
                        self.element(field, &[], bits, start, depth)?;
                    }
                }
                (_, value, wire) => {
                    let bits = bits_of(value, wire)?;
                    self.element(field, &[], bits, start, depth)?;
                }
            }
        }
        if self.out.len() == start {
            return Ok(false);
        }
        self.out.push(b']');
        Ok(true)
    }

    pub fn element(
        &mut self,
        field: &'a Field,
        bytes: &[u8],
        bits: u64,
        start: usize,
        depth: usize,
    ) -> Result<(), Declined> {
        let first = self.out.len() == start;
        self.out.push(if first { b'[' } else { b',' });
        if self.value(&field.kind, bytes, bits, false, depth + 1)? {
            Ok(())
        } else {
            Err(Declined)
        }
    }

    fn map(&mut self, field: &'a Field, run: &[u8], depth: usize) -> Result<bool, Declined> {
        if depth >= MAX_DEPTH {
            return Err(Declined);
        }
        let mut entries: Vec<Entry> = Vec::new();
        let mut fields = Fields::new(run);
        while let Some((number, value)) = fields.next()? {
            if number != field.number {
                continue;
            }
            let Value::Bytes(entry) = value else {
                return Err(Declined);
            };
            entries.push(Entry::new(field, entry)?);
        }
        self.entries(field, entries, depth)
    }

    /// Writes the entries of a map; false if there are none.
    pub fn entries(
        &mut self,
        field: &'a Field,
        mut entries: Vec<Entry>,
        depth: usize,
    ) -> Result<bool, Declined> {
        if entries.is_empty() {
            return Ok(false);
        }
        entries.sort_unstable_by_key(|entry| (entry.name, entry.number));
        let mut pairs = entries.windows(2);
        if pairs.any(|pair| pair[0].name == pair[1].name && pair[0].number == pair[1].number) {
            return Err(Declined);
        }
        for (index, entry) in entries.iter().enumerate() {
            self.out.push(if index == 0 { b'{' } else { b',' });
            match field.key {
                Key::String => put_quoted(entry.name, &mut self.out),
                Key::Bool => {
                    let word: &[u8] = if entry.number != 0 { b"true" } else { b"false" };
                    put_quoted(word, &mut self.out);
                }
                Key::Integer(_) => {
                    self.out.push(b'"');
                    put_integer(entry.number, &mut self.out);
                    self.out.push(b'"');
                }
            }
            self.out.push(b':');
            if !self.value(&field.kind, entry.bytes, entry.bits, false, depth + 1)? {
                return Err(Declined);
            }
        }
        self.out.push(b'}');
        Ok(true)
    }

    /// Appends the members outside the schema. Returns which fields they replace, a bit for each.
    fn extra(
        &mut self,
        mapped: &MessageType,
        text: &[u8],
        depth: usize,
        out: &mut Vec<u8>,
    ) -> Result<u64, Declined> {
        let mut silenced = 0;
        free_text(text, depth, self.nan, |cursor| {
            if cursor.peek() != b'{' {
                return Err(Declined);
            }
            cursor.enter()?;
            out.clear();
            let mut names = Names::default();
            let mut more = cursor.any(b'}');
            while more {
                cursor.skip_space();
                let name = cursor.string()?;
                self.scratch.clear();
                if put_utf8(name, &mut self.scratch)?
                    && let Some(index) = mapped.by_name(&self.scratch)
                {
                    silenced |= 1 << index;
                }
                if !out.is_empty() {
                    out.push(b',');
                }
                let start = out.len();
                put_normal(name, out)?;
                cursor.is_new(names.find_or_add(out, start))?;
                cursor.expect(b':')?;
                out.push(b':');
                cursor.compact(out)?;
                more = cursor.more(b'}')?;
            }
            Ok(())
        })?;
        Ok(silenced)
    }
}

/// Reads a text that is free JSON; once more, without the repeated members, if it has some.
pub fn free_text(
    text: &[u8],
    depth: usize,
    nan: Nan,
    mut read: impl FnMut(&mut Cursor<'_>) -> Result<(), Declined>,
) -> Result<(), Declined> {
    simdutf8::basic::from_utf8(text).map_err(|_| Declined)?;
    let text = text.strip_prefix(BOM).unwrap_or(text);
    let mut whole = |text: &[u8]| {
        let mut cursor = Cursor::new(text, depth, nan);
        cursor.skip_space();
        let read = read(&mut cursor);
        cursor.skip_space();
        let is_read = read.is_ok() && cursor.at == text.len();
        (is_read.then_some(()).ok_or(Declined), cursor.repeats)
    };
    match whole(text) {
        (_, true) => whole(&without_repeats(text, depth, nan)?).0,
        (read, false) => read,
    }
}

/// An entry of a map.
#[derive(Default)]
pub struct Entry<'a> {
    /// The key, if it is a string.
    name: &'a [u8],
    /// The key, if it is a number or a bool.
    number: i128,
    /// The value, as `value` takes it.
    bytes: &'a [u8],
    bits: u64,
}

impl<'a> Entry<'a> {
    /// An entry of two strings.
    #[cfg_attr(not(feature = "table"), allow(dead_code))] // tables alone use it
    pub fn of_texts(name: &'a [u8], bytes: &'a [u8]) -> Result<Self, Declined> {
        simdutf8::basic::from_utf8(name).map_err(|_| Declined)?;
        Ok(Self {
            name,
            bytes,
            ..Self::default()
        })
    }

    fn new(field: &Field, data: &'a [u8]) -> Result<Self, Declined> {
        let mut entry = Self::default();
        let mut parts = Fields::new(data);
        let mut given = 0;
        while let Some((place, value)) = parts.next()? {
            if given & 1 << place.min(3) != 0 {
                return Err(Declined); // two keys, or two values, which may be merged
            }
            given |= 1 << place.min(3);
            match (place, value, field.key, field.wire) {
                (1, Value::Bytes(name), Key::String, _) => entry.name = name,
                (1, value, Key::Bool, _) => {
                    entry.number = i128::from(bits_of(value, Wire::Varint)? != 0);
                }
                (1, value, Key::Integer(integer), _) => {
                    entry.number = integer.value(bits_of(value, integer.wire())?);
                }
                (2, Value::Bytes(bytes), _, Wire::Bytes) => entry.bytes = bytes,
                (2, value, _, wire) => entry.bits = bits_of(value, wire)?,
                _ => return Err(Declined),
            }
        }
        simdutf8::basic::from_utf8(entry.name).map_err(|_| Declined)?;
        Ok(entry)
    }
}

/// The bits of a number; declined if it has another wire type.
#[inline]
fn bits_of(value: Value, wire: Wire) -> Result<u64, Declined> {
    match (value, wire) {
        (Value::Varint(bits), Wire::Varint) | (Value::Fixed64(bits), Wire::Fixed64) => Ok(bits),
        (Value::Fixed32(bits), Wire::Fixed32) => Ok(u64::from(bits)),
        _ => Err(Declined),
    }
}

fn put_integer(value: i128, out: &mut Vec<u8>) {
    let mut buffer = itoa::Buffer::new();
    let text = match i64::try_from(value) {
        Ok(value) => buffer.format(value),
        Err(_) => buffer.format(value),
    };
    out.extend_from_slice(text.as_bytes());
}

/// Appends the places of a message's fields. Returns a bit for each that is there, and the residue.
pub fn scan<'d>(
    mapped: &MessageType,
    data: &'d [u8],
    slots: &mut Vec<Slot>,
) -> Result<(u64, Option<&'d [u8]>), Declined> {
    // Slots hold 32-bit places: protobuf messages are smaller than 2 GiB.
    if u32::try_from(data.len()).is_err() {
        return Err(Declined);
    }
    let first_slot = slots.len();
    slots.resize(first_slot + mapped.fields.len(), Slot::default());
    let slots = &mut slots[first_slot..];
    let mut seen = 0u64;
    let mut residue = None;
    let mut fields = Fields::new(data);
    while let Some(&tag) = data.get(fields.at) {
        let start = fields.at;
        let mut index = mapped.by_tag(tag);
        let mut wire_type = u32::from(tag) & 7;
        if index == NO_FIELD {
            let tag = fields.tag()?;
            (index, wire_type) = (mapped.by_number(tag >> 3), tag & 7);
            if index == NO_FIELD {
                let is_residue = tag == mapped.residue << 3 | LENGTH_DELIMITED;
                if !is_residue || residue.is_some() {
                    return Err(Declined);
                }
                residue = Some(fields.bytes()?);
                continue;
            }
            let field = &mapped.fields[usize::from(index)];
            if !field.is_list() && field.wire.number() != wire_type {
                return Err(Declined);
            }
        } else {
            fields.at += 1;
        }
        let bit = 1u64 << index;
        let slot = &mut slots[usize::from(index)];
        let size = match wire_type {
            LENGTH_DELIMITED => fields.bytes()?.len(),
            wire_type => {
                slot.bits = fields.scalar(wire_type)?;
                0
            }
        };
        if mapped.lists & bit != 0 {
            if seen & bit == 0 {
                slot.start = start as u32;
            }
            slot.end = fields.at as u32;
        } else if wire_type == LENGTH_DELIMITED {
            // Messages given twice are merged: for the reference.
            if seen & bit != 0 {
                return Err(Declined);
            }
            slot.end = fields.at as u32;
            slot.start = slot.end - size as u32;
        }
        seen |= bit;
    }
    Ok((seen, residue))
}

fn read_residue<'d>(mapped: &MessageType, data: &'d [u8]) -> Result<Residue<'d>, Declined> {
    let mut residue = Residue::default();
    let mut fields = Fields::new(data);
    while let Some((number, value)) = fields.next()? {
        let bits = match number {
            1 => &mut residue.nulls,
            2 => &mut residue.absent,
            3 => &mut residue.empties,
            4 => {
                let Value::Bytes(text) = value else {
                    return Err(Declined);
                };
                if !residue.extra.is_empty() {
                    return Err(Declined);
                }
                residue.extra = text;
                continue;
            }
            _ => return Err(Declined),
        };
        let Value::Bytes(packed) = value else {
            return Err(Declined);
        };
        let mut numbers = Fields::new(packed);
        while numbers.at < packed.len() {
            let named = u32::try_from(numbers.varint()?).map_err(|_| Declined)?;
            let index = mapped.by_number(named);
            if index == NO_FIELD {
                return Err(Declined);
            }
            let field = &mapped.fields[index as usize];
            if field.is_alternative || number == 3 && !field.is_list() {
                return Err(Declined);
            }
            *bits |= 1 << index;
        }
    }
    Ok(residue)
}

/// Whether text is ASCII without anything to escape.
#[inline]
fn is_plain(text: &[u8]) -> bool {
    let is_plain = |text: &[u8]| {
        text.iter().fold(true, |plain, &byte| {
            plain & (0x20..0x80).contains(&byte) & (byte != b'"') & (byte != b'\\')
        })
    };
    // Most tokens are shorter than a vector. Blocks that overlap need no loop.
    if let (Some(head), Some(tail)) = (text.first_chunk::<8>(), text.last_chunk::<8>())
        && text.len() <= 16
    {
        return is_plain_word(u64::from_le_bytes(*head)) & is_plain_word(u64::from_le_bytes(*tail));
    }
    if let (Some(head), Some(tail)) = (text.first_chunk::<4>(), text.last_chunk::<4>())
        && text.len() <= 8
    {
        let (head, tail) = (u32::from_le_bytes(*head), u32::from_le_bytes(*tail));
        return is_plain_word(u64::from(head) | u64::from(tail) << 32);
    }
    is_plain(text)
}

/// Whether eight bytes are plain.
#[inline]
fn is_plain_word(word: u64) -> bool {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const TOPS: u64 = ONES << 7;
    let zero = |x: u64| x.wrapping_sub(ONES) & !x;
    let special = zero(word ^ (ONES * b'"' as u64)) | zero(word ^ (ONES * b'\\' as u64));
    let control = word.wrapping_sub(ONES * 0x20) & !word;
    (special | control | word) & TOPS == 0
}

fn put_byte_array(bytes: &[u8], out: &mut Vec<u8>) {
    out.push(b'[');
    for &byte in bytes {
        let decimal = &DECIMALS[byte as usize];
        let end = out.len() + decimal.digits + 1;
        out.extend_from_slice(&decimal.text);
        out.truncate(end);
    }
    if !bytes.is_empty() {
        out.pop();
    }
    out.push(b']');
}
