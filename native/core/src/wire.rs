//! The protobuf wire format (<https://protobuf.dev/programming-guides/encoding/>).

use crate::Declined;
use crate::schema::Wire;

pub const VARINT: u32 = 0;
pub const FIXED64: u32 = 1;
pub const LENGTH_DELIMITED: u32 = 2;
pub const FIXED32: u32 = 5;

#[inline]
pub fn put_varint(out: &mut Vec<u8>, value: u64) {
    if value < 0x80 {
        out.push(value as u8);
    } else {
        put_long_varint(out, value);
    }
}

#[inline(never)]
fn put_long_varint(out: &mut Vec<u8>, mut value: u64) {
    if value < 1 << 28 {
        // Without a branch for each byte, as the sizes of numbers are hard to predict.
        let value = value as u32;
        let spread = value & 0x7f
            | (value & 0x7f << 7) << 1
            | (value & 0x7f << 14) << 2
            | (value & 0x7f << 21) << 3;
        let more = u32::from(value >= 1 << 14) + u32::from(value >= 1 << 21) + 1;
        let marks = 0x0080_8080 & ((1 << (8 * more)) - 1);
        let end = out.len() + more as usize + 1;
        out.extend_from_slice(&(spread | marks).to_le_bytes());
        out.truncate(end);
        return;
    }
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[inline]
pub fn put_tag(out: &mut Vec<u8>, number: u32, wire_type: u32) {
    put_varint(out, u64::from(number << 3 | wire_type));
}

#[inline]
pub fn put_bytes(out: &mut Vec<u8>, number: u32, bytes: &[u8]) {
    put_tag(out, number, LENGTH_DELIMITED);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Appends a number; with 0 as the number of its field without a tag, as in a packed list.
#[inline]
pub fn put_number(out: &mut Vec<u8>, number: u32, wire: Wire, bits: u64) {
    if number != 0 {
        put_tag(out, number, wire.number());
    }
    match wire {
        Wire::Fixed64 => out.extend_from_slice(&bits.to_le_bytes()),
        Wire::Fixed32 => out.extend_from_slice(&(bits as u32).to_le_bytes()),
        Wire::Varint | Wire::Bytes => put_varint(out, bits),
    }
}

/// Opens a length-delimited field whose length is not known yet. Gives the place for `close`.
#[inline]
pub fn open(out: &mut Vec<u8>, number: u32) -> usize {
    put_tag(out, number, LENGTH_DELIMITED);
    out.push(0);
    out.len()
}

/// Closes a field that `open` opened.
#[inline]
pub fn close(out: &mut Vec<u8>, start: usize) {
    let size = out.len() - start;
    if size < 0x80 {
        out[start - 1] = size as u8;
        return;
    }
    let end = out.len();
    put_varint(out, size as u64);
    out[start - 1] = out.remove(end);
    let longer = out.len() - end;
    out[start..].rotate_right(longer);
}

/// A field on the wire.
pub enum Value<'a> {
    Varint(u64),
    Fixed64(u64),
    Fixed32(u32),
    Bytes(&'a [u8]),
}

/// The fields of a serialized message.
pub struct Fields<'a> {
    data: &'a [u8],
    pub at: usize,
}

impl<'a> Fields<'a> {
    pub fn new(data: &'a [u8]) -> Self {
        Self { data, at: 0 }
    }

    /// The next field, or None at the end.
    #[inline(always)]
    pub fn next(&mut self) -> Result<Option<(u32, Value<'a>)>, Declined> {
        if self.at >= self.data.len() {
            return Ok(None);
        }
        let tag = self.tag()?;
        let value = match tag & 7 {
            VARINT => Value::Varint(self.varint()?),
            FIXED64 => Value::Fixed64(self.fixed64()?),
            FIXED32 => Value::Fixed32(self.fixed32()?),
            LENGTH_DELIMITED => Value::Bytes(self.bytes()?),
            _ => return Err(Declined),
        };
        Ok(Some((tag >> 3, value)))
    }

    /// The tag here.
    #[inline(always)]
    pub fn tag(&mut self) -> Result<u32, Declined> {
        let tag = self.short_varint()?;
        if tag >> 3 == 0 {
            Err(Declined)
        } else {
            Ok(tag)
        }
    }

    /// The bytes of a length-delimited field, behind its tag.
    #[inline(always)]
    pub fn bytes(&mut self) -> Result<&'a [u8], Declined> {
        let size = self.short_varint()? as usize;
        self.take(size)
    }

    /// The bits of a number, behind its tag.
    #[inline(always)]
    pub fn scalar(&mut self, wire_type: u32) -> Result<u64, Declined> {
        match wire_type {
            VARINT => self.varint(),
            FIXED64 => self.fixed64(),
            FIXED32 => self.fixed32().map(u64::from),
            _ => Err(Declined),
        }
    }

    #[inline(always)]
    fn fixed64(&mut self) -> Result<u64, Declined> {
        let bytes = self.take(8)?.try_into().map_err(|_| Declined)?;
        Ok(u64::from_le_bytes(bytes))
    }

    /// Rare: it must not slow down the rest.
    #[cold]
    #[inline(never)]
    fn fixed32(&mut self) -> Result<u32, Declined> {
        let bytes = self.take(4)?.try_into().map_err(|_| Declined)?;
        Ok(u32::from_le_bytes(bytes))
    }

    /// The next of several packed numbers, or None at the end.
    pub fn number(&mut self, wire: Wire) -> Result<Option<u64>, Declined> {
        if self.at >= self.data.len() {
            return Ok(None);
        }
        let cut = |_| Declined;
        Ok(Some(match wire {
            Wire::Varint => self.varint()?,
            Wire::Fixed64 => self.fixed64()?,
            Wire::Fixed32 => u64::from(u32::from_le_bytes(self.take(4)?.try_into().map_err(cut)?)),
            Wire::Bytes => return Err(Declined),
        }))
    }

    #[inline(always)]
    fn take(&mut self, size: usize) -> Result<&'a [u8], Declined> {
        let end = self.at.checked_add(size).ok_or(Declined)?;
        let bytes = self.data.get(self.at..end).ok_or(Declined)?;
        self.at = end;
        Ok(bytes)
    }

    /// A tag or a length, which runtimes take in at most five bytes.
    #[inline(always)]
    fn short_varint(&mut self) -> Result<u32, Declined> {
        match self.data.get(self.at) {
            Some(&byte) if byte < 0x80 => {
                self.at += 1;
                Ok(u32::from(byte))
            }
            _ => {
                let start = self.at;
                let value = self.long_varint()?;
                if self.at - start > 5 {
                    return Err(Declined);
                }
                u32::try_from(value).map_err(|_| Declined)
            }
        }
    }

    #[inline(always)]
    pub fn varint(&mut self) -> Result<u64, Declined> {
        match self.data.get(self.at) {
            Some(&byte) if byte < 0x80 => {
                self.at += 1;
                Ok(u64::from(byte))
            }
            _ => self.long_varint(),
        }
    }

    fn long_varint(&mut self) -> Result<u64, Declined> {
        let mut value = 0;
        for shift in 0..10 {
            let byte = *self.data.get(self.at).ok_or(Declined)?;
            self.at += 1;
            value |= u64::from(byte & 0x7f) << (7 * shift);
            if byte < 0x80 {
                return if shift == 9 && byte > 1 {
                    Err(Declined)
                } else {
                    Ok(value)
                };
            }
        }
        Err(Declined)
    }
}
