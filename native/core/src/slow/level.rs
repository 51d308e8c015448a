//! The fields of one message, whose bytes are valid. What is in the messages in it is not read.

use super::wire::{Fields, MAX_LEVELS, Value};
use crate::schema::{Field, Key, MessageType, NO_FIELD, Shape, Wire};

/// The fields of a message.
pub struct Level<'a> {
    /// The values, each with the place of its field: by places, and those of one field in their
    /// order. Of a number in a list, bytes are packed ones; of a map, an entry.
    values: Vec<(u8, Value<'a>)>,
    /// The residue, in pieces.
    pub residue: Vec<&'a [u8]>,
    /// The number of the first field that the schema does not know.
    pub unknown: Option<u32>,
}

impl<'a> Level<'a> {
    /// Reads a message, which may be in several pieces: then they are merged.
    pub fn new(mapped: &MessageType, pieces: &[&'a [u8]]) -> Self {
        let mut level = Self {
            values: Vec::new(),
            residue: Vec::new(),
            unknown: None,
        };
        let mut choices = Choices::default();
        for piece in pieces {
            let mut fields = Fields::new(piece, MAX_LEVELS);
            while let Ok(Some((number, value))) = fields.next() {
                level.take(mapped, number, value, &mut choices);
            }
        }
        let mut at = 0;
        level.values.retain(|&(place, _)| {
            at += 1;
            choices.has(&mapped.fields[usize::from(place)], place, at - 1)
        });
        level.values.sort_by_key(|value| value.0);
        level
    }

    fn take(&mut self, mapped: &MessageType, number: u32, value: Value<'a>, choices: &mut Choices) {
        if number == mapped.residue
            && let Value::Bytes(bytes) = value
        {
            self.residue.push(bytes);
            return;
        }
        let place = mapped.by_number(number);
        let is_known = place != NO_FIELD && {
            let field = &mapped.fields[usize::from(place)];
            is_of(field, value) && {
                choices.choose(field, place, self.values.len());
                true
            }
        };
        if is_known {
            self.values.push((place, value));
        } else {
            self.unknown = self.unknown.or(Some(number));
        }
    }

    /// The values of a field. Of a field that is not repeated, the last one wins; messages are merged.
    pub fn values(&self, place: usize) -> &[(u8, Value<'a>)] {
        let start = self
            .values
            .partition_point(|value| usize::from(value.0) < place);
        let end = self
            .values
            .partition_point(|value| usize::from(value.0) <= place);
        &self.values[start..end]
    }
}

/// Whether a value has the wire type of a field; of a map, whether the schema knows all of the entry.
fn is_of(field: &Field, value: Value<'_>) -> bool {
    match (field.shape, value) {
        (_, Value::Group) => false,
        (Shape::Map, Value::Bytes(entry)) => Entry::new(field, entry).is_known,
        (Shape::Map, _) => false,
        (Shape::Repeated, Value::Bytes(_)) => true, // packed, if it is numbers
        (_, Value::Bytes(_)) => field.wire == Wire::Bytes,
        (_, Value::Number(wire, _)) => wire == field.wire,
    }
}

/// Which field of each oneof is set, and since which value: what was set before is gone.
#[derive(Default)]
struct Choices(Vec<(u8, u8, usize)>);

impl Choices {
    fn choose(&mut self, field: &Field, place: u8, at: usize) {
        let Some(oneof) = field.oneof else { return };
        match self.0.iter_mut().find(|choice| choice.0 == oneof) {
            Some(choice) if choice.1 == place => {}
            Some(choice) => *choice = (oneof, place, at),
            None => self.0.push((oneof, place, at)),
        }
    }

    fn has(&self, field: &Field, place: u8, at: usize) -> bool {
        let mut choices = self.0.iter();
        choices.all(|choice| Some(choice.0) != field.oneof || choice.1 == place && choice.2 <= at)
    }
}

/// The key of an entry, as keys are ordered.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum EntryKey<'a> {
    Text(&'a [u8]),
    Number(i128),
}

/// An entry of a map.
pub struct Entry<'a> {
    pub key: EntryKey<'a>,
    /// What was given as its value, as `Level::values` gives it.
    pub values: Vec<(u8, Value<'a>)>,
    /// Whether the schema knows all of its fields. An entry with others counts as unknown itself.
    pub is_known: bool,
}

impl<'a> Entry<'a> {
    pub fn new(field: &Field, data: &'a [u8]) -> Self {
        let mut entry = Self {
            key: match field.key {
                Key::String => EntryKey::Text(&[]),
                _ => EntryKey::Number(0),
            },
            values: Vec::new(),
            is_known: true,
        };
        let mut parts = Fields::new(data, MAX_LEVELS);
        while let Ok(Some((number, value))) = parts.next() {
            let key = match field.key {
                Key::String => value.bytes().map(EntryKey::Text),
                Key::Bool => value
                    .bits(Wire::Varint)
                    .map(|bits| EntryKey::Number(i128::from(bits != 0))),
                Key::Integer(integer) => value
                    .bits(integer.wire())
                    .map(|bits| EntryKey::Number(integer.value(bits))),
            };
            let is_value = match value {
                Value::Bytes(_) => field.wire == Wire::Bytes,
                Value::Number(wire, _) => field.wire == wire,
                Value::Group => false,
            };
            match (number, key) {
                (1, Some(key)) => entry.key = key,
                (2, _) if is_value => entry.values.push((0, value)),
                _ => entry.is_known = false,
            }
        }
        entry
    }
}

/// The content of a residue, in the order of the bytes.
#[derive(Default)]
pub struct Residue<'a> {
    pub nulls: Vec<u32>,
    pub absent: Vec<u32>,
    pub empties: Vec<u32>,
    pub extra: &'a [u8],
    /// The number of the first field that the schema does not know.
    pub unknown: Option<u32>,
}

impl<'a> Residue<'a> {
    pub fn new(pieces: &[&'a [u8]]) -> Self {
        let mut residue = Self::default();
        for piece in pieces {
            let mut fields = Fields::new(piece, MAX_LEVELS);
            while let Ok(Some((number, value))) = fields.next() {
                residue.take(number, value);
            }
        }
        residue
    }

    fn take(&mut self, number: u32, value: Value<'a>) {
        let numbers = match (number, value) {
            (4, Value::Bytes(text)) => {
                self.extra = text;
                return;
            }
            (1, _) => &mut self.nulls,
            (2, _) => &mut self.absent,
            (3, _) => &mut self.empties,
            _ => {
                self.unknown = self.unknown.or(Some(number));
                return;
            }
        };
        match value {
            Value::Number(Wire::Varint, bits) => numbers.push(bits as u32),
            Value::Bytes(packed) => {
                let mut packed = Fields::new(packed, 0);
                while !packed.is_at_end()
                    && let Ok(bits) = packed.number(Wire::Varint)
                {
                    numbers.push(bits as u32);
                }
            }
            _ => self.unknown = self.unknown.or(Some(number)),
        }
    }
}
