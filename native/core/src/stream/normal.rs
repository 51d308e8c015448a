//! Messages in binary form, taken apart and written as a serializer writes them.

use std::collections::BTreeMap;

use crate::Declined;
use crate::schema::Wire;
use crate::stream::plan::{Coding, Field, Number, Type, types};
use crate::wire::{Fields, Value, put_bytes, put_number};

/// The most messages that may surround one, as in the runtimes of protobuf.
const MOST_DEEP: usize = 100;

/// The number of the field with the key of an entry of a map.
const KEY: u32 = 1;

/// A message.
#[derive(Clone, Debug, Default)]
pub struct Parsed<'a> {
    pub fields: BTreeMap<u32, Held<'a>>,
    /// The fields that the schema does not know.
    unknown: Vec<u8>,
}

/// What a field holds.
#[derive(Clone, Debug)]
pub enum Held<'a> {
    Number(u64),
    Numbers(Vec<u64>),
    Bytes(&'a [u8]),
    List(Vec<&'a [u8]>),
    Message(Parsed<'a>),
    Messages(Vec<Parsed<'a>>),
}

impl<'a> Parsed<'a> {
    /// Reads a message.
    pub fn read(data: &'a [u8], mapped: &'static Type) -> Result<Self, Declined> {
        let mut parsed = Self::default();
        parsed.merge(data, mapped, 0)?;
        Ok(parsed)
    }

    /// Reads the fields of a message into this one.
    fn merge(
        &mut self,
        data: &'a [u8],
        mapped: &'static Type,
        depth: usize,
    ) -> Result<(), Declined> {
        if depth > MOST_DEEP {
            return Err(Declined);
        }
        let mut fields = Fields::new(data);
        let mut start = 0;
        while let Some((number, value)) = fields.next()? {
            let is_known = match mapped.fields.get(&number) {
                Some(field) => self.take(field, value, depth)?,
                None => false,
            };
            if !is_known {
                self.unknown.extend_from_slice(&data[start..fields.at]);
            }
            start = fields.at;
        }
        Ok(())
    }

    /// Takes a value of a field; false if it is of another type.
    fn take(
        &mut self,
        field: &'static Field,
        value: Value<'a>,
        depth: usize,
    ) -> Result<bool, Declined> {
        let new = match (&field.coding, value) {
            (Coding::Number(number), Value::Bytes(packed)) if field.is_list => {
                let mut packed = Fields::new(packed);
                let mut numbers = Vec::new();
                while let Some(bits) = packed.number(number.wire())? {
                    numbers.push(number.normal(bits));
                }
                Held::Numbers(numbers)
            }
            (Coding::Number(number), value) => match bits_of(*number, value) {
                Some(bits) if field.is_list => Held::Numbers(vec![bits]),
                Some(bits) => Held::Number(bits),
                None => return Ok(false),
            },
            (Coding::Bytes { is_utf8 }, Value::Bytes(bytes)) => {
                if *is_utf8 && simdutf8::basic::from_utf8(bytes).is_err() {
                    return Err(Declined);
                }
                match field.is_list {
                    true => Held::List(vec![bytes]),
                    false => Held::Bytes(bytes),
                }
            }
            (Coding::Message(place), Value::Bytes(bytes)) => {
                let mapped = types().of(*place);
                if let (false, Some(Held::Message(old))) =
                    (field.is_list, self.fields.get_mut(&field.number))
                {
                    old.merge(bytes, mapped, depth + 1)?;
                    return Ok(true);
                }
                let mut message = Self::default();
                message.merge(bytes, mapped, depth + 1)?;
                match field.is_list {
                    true => Held::Messages(vec![message]),
                    false => Held::Message(message),
                }
            }
            _ => return Ok(false),
        };
        for rival in &field.rivals {
            self.fields.remove(rival);
        }
        self.add(field, new);
        Ok(true)
    }

    fn add(&mut self, field: &Field, new: Held<'a>) {
        let old = self.fields.get_mut(&field.number);
        match (old, new) {
            (Some(Held::Numbers(old)), Held::Numbers(new)) => old.extend(new),
            (Some(Held::List(old)), Held::List(new)) => old.extend(new),
            (Some(Held::Messages(old)), Held::Messages(new)) => old.extend(new),
            (_, Held::Number(0) | Held::Bytes(b"")) if !field.has_presence => {
                self.fields.remove(&field.number);
            }
            (_, new) => {
                self.fields.insert(field.number, new);
            }
        }
    }

    /// The binary form: fields by their numbers, then the unknown ones.
    pub fn write(&self, mapped: &'static Type, out: &mut Vec<u8>) {
        for (number, held) in &self.fields {
            put(out, &mapped.fields[number], held);
        }
        out.extend_from_slice(&self.unknown);
    }

    pub fn to_bytes(&self, mapped: &'static Type) -> Vec<u8> {
        let mut out = Vec::new();
        self.write(mapped, &mut out);
        out
    }

    /// Whether the binary form has no bytes.
    pub fn is_empty(&self) -> bool {
        let is_blank = |held: &Held<'_>| match held {
            Held::Numbers(all) => all.is_empty(),
            Held::List(all) => all.is_empty(),
            Held::Messages(all) => all.is_empty(),
            _ => false,
        };
        self.unknown.is_empty() && self.fields.values().all(is_blank)
    }
}

/// Appends a field.
fn put(out: &mut Vec<u8>, field: &Field, held: &Held<'_>) {
    let number = field.number;
    match (held, &field.coding) {
        (Held::Number(bits), Coding::Number(kind)) => put_number(out, number, kind.wire(), *bits),
        (Held::Numbers(all), Coding::Number(kind)) => put_numbers(out, field, *kind, all),
        (Held::Bytes(bytes), _) => put_bytes(out, number, bytes),
        (Held::List(all), _) => all.iter().for_each(|bytes| put_bytes(out, number, bytes)),
        (Held::Message(message), Coding::Message(place)) => {
            put_bytes(out, number, &message.to_bytes(types().of(*place)));
        }
        (Held::Messages(all), Coding::Message(place)) if field.is_map => {
            put_entries(out, number, all, types().of(*place));
        }
        (Held::Messages(all), Coding::Message(place)) => {
            for message in all {
                put_bytes(out, number, &message.to_bytes(types().of(*place)));
            }
        }
        _ => {}
    }
}

/// What an entry of a map is sorted by.
fn order<'a>(entry: &Parsed<'a>) -> (u64, &'a [u8]) {
    match entry.fields.get(&KEY) {
        Some(Held::Bytes(key)) => (0, key),
        Some(Held::Number(key)) => (*key, &[]),
        _ => (0, &[]),
    }
}

/// Appends the entries of a map in the order of their keys. If a key is repeated, the last one wins.
fn put_entries(out: &mut Vec<u8>, number: u32, entries: &[Parsed<'_>], mapped: &'static Type) {
    let sorted: BTreeMap<_, _> = entries.iter().map(|entry| (order(entry), entry)).collect();
    for entry in sorted.into_values() {
        // Unlike other fields, those of an entry are written even if they are zero.
        let mut data = Vec::new();
        for (number, field) in &mapped.fields {
            match (entry.fields.get(number), &field.coding) {
                (None, Coding::Number(kind)) => put_number(&mut data, *number, kind.wire(), 0),
                (None, _) => put_bytes(&mut data, *number, b""),
                (Some(held), _) => put(&mut data, field, held),
            }
        }
        put_bytes(out, number, &data);
    }
}

/// The bits of a number; None if the value has another type on the wire.
fn bits_of(number: Number, value: Value<'_>) -> Option<u64> {
    Some(match (number.wire(), value) {
        (Wire::Varint, Value::Varint(bits)) => number.normal(bits),
        (Wire::Fixed64, Value::Fixed64(bits)) => bits,
        (Wire::Fixed32, Value::Fixed32(bits)) => u64::from(bits),
        _ => return None,
    })
}

fn put_numbers(out: &mut Vec<u8>, field: &Field, kind: Number, numbers: &[u64]) {
    if !field.is_packed {
        for &bits in numbers {
            put_number(out, field.number, kind.wire(), bits);
        }
    } else if !numbers.is_empty() {
        let mut packed = Vec::new();
        for &bits in numbers {
            put_number(&mut packed, 0, kind.wire(), bits);
        }
        put_bytes(out, field.number, &packed);
    }
}
