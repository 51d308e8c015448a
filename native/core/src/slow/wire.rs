//! The protobuf wire format, as tolerant as protobuf's parsers are.

use crate::schema::Wire;
use crate::wire::{FIXED32, FIXED64, LENGTH_DELIMITED, VARINT};

const START_GROUP: u32 = 3;
const END_GROUP: u32 = 4;
/// How deep messages, entries of maps and groups may be in a message.
pub const MAX_LEVELS: usize = 100;

/// The bytes are not a message.
#[derive(Debug)]
pub struct Corrupt;

/// The value of a field.
#[derive(Clone, Copy)]
pub enum Value<'a> {
    Number(Wire, u64),
    Bytes(&'a [u8]),
    /// A group, which is never of a field that the schema knows.
    Group,
}

impl<'a> Value<'a> {
    /// The bytes of a number; None if the value has another wire type.
    pub fn bits(self, wire: Wire) -> Option<u64> {
        match self {
            Self::Number(given, bits) if given == wire => Some(bits),
            _ => None,
        }
    }

    /// None if the value has another wire type.
    pub fn bytes(self) -> Option<&'a [u8]> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }
}

/// The fields of a serialized message.
pub struct Fields<'a> {
    data: &'a [u8],
    at: usize,
    /// How many more levels may begin in it.
    levels: usize,
}

impl<'a> Fields<'a> {
    pub fn new(data: &'a [u8], levels: usize) -> Self {
        let at = 0;
        Self { data, at, levels }
    }

    pub fn is_at_end(&self) -> bool {
        self.at >= self.data.len()
    }

    /// The next field; None at the end.
    pub fn next(&mut self) -> Result<Option<(u32, Value<'a>)>, Corrupt> {
        if self.is_at_end() {
            return Ok(None);
        }
        match self.field()? {
            (number, Some(value)) if number != 0 => Ok(Some((number, value))),
            _ => Err(Corrupt),
        }
    }

    /// The number of a field and its value; None at the end of a group. In groups, which are skipped,
    /// protobuf's parsers take the number 0 too.
    fn field(&mut self) -> Result<(u32, Option<Value<'a>>), Corrupt> {
        let tag = self.short_varint()?;
        let number = tag >> 3;
        let value = match tag & 7 {
            VARINT => Value::Number(Wire::Varint, self.varint()?),
            FIXED64 => Value::Number(Wire::Fixed64, self.fixed64()?),
            FIXED32 => Value::Number(Wire::Fixed32, self.fixed32()?),
            LENGTH_DELIMITED => {
                let size = self.short_varint()? as usize;
                Value::Bytes(self.take(size)?)
            }
            START_GROUP => {
                self.skip_group(number)?;
                Value::Group
            }
            END_GROUP => return Ok((number, None)),
            _ => return Err(Corrupt),
        };
        Ok((number, Some(value)))
    }

    /// Goes past a group, which has begun. Those in it are skipped in the same way.
    fn skip_group(&mut self, number: u32) -> Result<(), Corrupt> {
        self.levels = self.levels.checked_sub(1).ok_or(Corrupt)?;
        loop {
            match self.field()? {
                (_, Some(_)) => {}
                (ended, None) if ended == number => break,
                _ => return Err(Corrupt),
            }
        }
        self.levels += 1;
        Ok(())
    }

    /// The next of packed numbers, of which there must be one.
    pub fn number(&mut self, wire: Wire) -> Result<u64, Corrupt> {
        match wire {
            Wire::Varint => self.varint(),
            Wire::Fixed64 => self.fixed64(),
            Wire::Fixed32 => self.fixed32(),
            Wire::Bytes => Err(Corrupt),
        }
    }

    fn take(&mut self, size: usize) -> Result<&'a [u8], Corrupt> {
        let end = self.at.checked_add(size).ok_or(Corrupt)?;
        let bytes = self.data.get(self.at..end).ok_or(Corrupt)?;
        self.at = end;
        Ok(bytes)
    }

    fn fixed64(&mut self) -> Result<u64, Corrupt> {
        let bytes = self.take(8)?.try_into().map_err(|_| Corrupt)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn fixed32(&mut self) -> Result<u64, Corrupt> {
        let bytes = self.take(4)?.try_into().map_err(|_| Corrupt)?;
        Ok(u64::from(u32::from_le_bytes(bytes)))
    }

    /// A tag or a length: at most five bytes, and 32 bits.
    fn short_varint(&mut self) -> Result<u32, Corrupt> {
        let start = self.at;
        let value = self.varint()?;
        if self.at - start > 5 {
            return Err(Corrupt);
        }
        u32::try_from(value).map_err(|_| Corrupt)
    }

    /// A number of at most ten bytes; what is beyond 64 bits is dropped.
    fn varint(&mut self) -> Result<u64, Corrupt> {
        let mut value = 0;
        for shift in (0..70).step_by(7) {
            let byte = *self.data.get(self.at).ok_or(Corrupt)?;
            self.at += 1;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Corrupt)
    }
}
