//! Whether bytes are a message: what protobuf's parsers check.

use super::wire::{Corrupt, Fields, Value};
use crate::Schema;
use crate::schema::{Field, Key, Kind, MessageType, NO_FIELD, Shape, Wire};

/// Checks the bytes of a message, in which that many more levels may begin.
pub fn message(
    schema: &Schema,
    mapped: &MessageType,
    data: &[u8],
    levels: usize,
) -> Result<(), Corrupt> {
    let mut fields = Fields::new(data, levels);
    while let Some((number, found)) = fields.next()? {
        let Value::Bytes(bytes) = found else {
            continue; // a number, or a field that the schema does not know
        };
        if number == mapped.residue {
            residue(bytes, below(levels)?)?;
            continue;
        }
        let index = mapped.by_number(number);
        if index == NO_FIELD {
            continue;
        }
        let field = &mapped.fields[usize::from(index)];
        match field.shape {
            Shape::Map => entry(schema, field, bytes, below(levels)?)?,
            Shape::Repeated if field.wire != Wire::Bytes => packed(bytes, field.wire)?,
            _ => value(schema, &field.kind, bytes, levels)?,
        }
    }
    Ok(())
}

fn below(levels: usize) -> Result<usize, Corrupt> {
    levels.checked_sub(1).ok_or(Corrupt)
}

fn value(schema: &Schema, kind: &Kind, bytes: &[u8], levels: usize) -> Result<(), Corrupt> {
    match kind {
        Kind::String | Kind::Raw => text(bytes),
        Kind::Object(index) | Kind::Union(index) => {
            message(schema, &schema.messages[*index], bytes, below(levels)?)
        }
        _ => Ok(()), // bytes, or a field of another wire type, which the schema does not know
    }
}

fn text(bytes: &[u8]) -> Result<(), Corrupt> {
    simdutf8::basic::from_utf8(bytes).map_err(|_| Corrupt)?;
    Ok(())
}

fn packed(bytes: &[u8], wire: Wire) -> Result<(), Corrupt> {
    let mut numbers = Fields::new(bytes, 0);
    while !numbers.is_at_end() {
        numbers.number(wire)?;
    }
    Ok(())
}

fn entry(schema: &Schema, field: &Field, data: &[u8], levels: usize) -> Result<(), Corrupt> {
    let mut parts = Fields::new(data, levels);
    while let Some((number, found)) = parts.next()? {
        match (number, found) {
            (1, Value::Bytes(bytes)) if field.key == Key::String => text(bytes)?,
            (2, Value::Bytes(bytes)) => value(schema, &field.kind, bytes, levels)?,
            _ => {}
        }
    }
    Ok(())
}

fn residue(data: &[u8], levels: usize) -> Result<(), Corrupt> {
    let mut fields = Fields::new(data, levels);
    while let Some((number, found)) = fields.next()? {
        match (number, found) {
            (1..=3, Value::Bytes(bytes)) => packed(bytes, Wire::Varint)?,
            (4, Value::Bytes(bytes)) => text(bytes)?,
            _ => {}
        }
    }
    Ok(())
}
