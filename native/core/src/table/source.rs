//! Columns in Arrow's layout, to be read.

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use crate::Declined;

/// The last id of the tokens of a record that have the same text and bytes.
pub type KnownIds<'a> = HashMap<(&'a [u8], Option<&'a [u8]>), i32, FixedState>;

/// Buffers that are read, in the order of the schema.
pub struct Source<'a> {
    buffers: std::slice::Iter<'a, Option<&'a [u8]>>,
}

impl<'a> Source<'a> {
    pub fn new(buffers: &'a [Option<&'a [u8]>]) -> Self {
        Self {
            buffers: buffers.iter(),
        }
    }

    pub fn optional(&mut self) -> Result<Option<&'a [u8]>, Declined> {
        self.buffers.next().copied().ok_or(Declined)
    }

    pub fn required(&mut self) -> Result<&'a [u8], Declined> {
        Ok(self.optional()?.unwrap_or_default())
    }

    pub fn bits(&mut self) -> Result<Bits<'a>, Declined> {
        self.optional().map(Bits)
    }

    pub fn lists(&mut self) -> Result<Ranges<'a>, Declined> {
        Ok(Ranges {
            validity: self.bits()?,
            offsets: self.optional()?,
        })
    }

    pub fn texts(&mut self) -> Result<Texts<'a>, Declined> {
        Ok(Texts::new(self.lists()?, self.required()?))
    }

    pub fn numbers(&mut self) -> Result<Numbers<'a>, Declined> {
        Ok(Numbers {
            validity: self.bits()?,
            values: self.optional()?,
        })
    }

    /// Numbers of which none is null.
    pub fn values(&mut self) -> Result<&'a [u8], Declined> {
        match self.optional()? {
            None => self.required(),
            Some(_) => Err(Declined),
        }
    }
}

/// A bitmap; where there is none, all are valid.
#[derive(Clone, Copy, Default)]
pub struct Bits<'a>(Option<&'a [u8]>);

impl<'a> Bits<'a> {
    pub fn new(bits: &'a [u8]) -> Self {
        Self(Some(bits))
    }

    #[inline]
    pub fn is_valid(&self, index: usize) -> Result<bool, Declined> {
        match self.0 {
            None => Ok(true),
            Some(bits) => {
                let byte = bits.get(index / 8).ok_or(Declined)?;
                Ok(byte >> (index % 8) & 1 == 1)
            }
        }
    }
}

/// A number in a buffer.
#[inline]
pub fn number<const N: usize>(buffer: &[u8], index: usize) -> Result<[u8; N], Declined> {
    let start = index.checked_mul(N).ok_or(Declined)?;
    let bytes = buffer.get(start..start + N).ok_or(Declined)?;
    bytes.try_into().map_err(|_| Declined)
}

#[derive(Clone, Copy)]
pub struct Numbers<'a> {
    validity: Bits<'a>,
    /// None if all are null.
    values: Option<&'a [u8]>,
}

impl Numbers<'_> {
    /// A number; None if it is null.
    #[inline]
    pub fn get<const N: usize>(&self, index: usize) -> Result<Option<[u8; N]>, Declined> {
        match self.values {
            Some(values) if self.validity.is_valid(index)? => number(values, index).map(Some),
            _ => Ok(None),
        }
    }

    /// Whether a number is not null.
    #[inline]
    pub fn is_valid(&self, index: usize) -> Result<bool, Declined> {
        Ok(self.values.is_some() && self.validity.is_valid(index)?)
    }
}

#[inline]
fn offset(buffer: &[u8], index: usize) -> Result<usize, Declined> {
    usize::try_from(i32::from_le_bytes(number(buffer, index)?)).map_err(|_| Declined)
}

#[derive(Clone, Copy)]
pub struct Ranges<'a> {
    validity: Bits<'a>,
    /// None if all are null.
    offsets: Option<&'a [u8]>,
}

impl<'a> Ranges<'a> {
    pub fn new(validity: Bits<'a>, offsets: &'a [u8]) -> Self {
        Self {
            validity,
            offsets: Some(offsets),
        }
    }

    /// Where the elements of a list are; None if it is null.
    #[inline]
    pub fn get(&self, index: usize) -> Result<Option<std::ops::Range<usize>>, Declined> {
        match self.offsets {
            Some(offsets) if self.validity.is_valid(index)? => {
                Ok(Some(offset(offsets, index)?..offset(offsets, index + 1)?))
            }
            _ => Ok(None),
        }
    }
}

#[derive(Clone, Copy)]
pub struct Texts<'a> {
    ranges: Ranges<'a>,
    data: &'a [u8],
}

impl<'a> Texts<'a> {
    pub fn new(ranges: Ranges<'a>, data: &'a [u8]) -> Self {
        Self { ranges, data }
    }

    #[inline]
    pub fn get(&self, index: usize) -> Result<Option<&'a [u8]>, Declined> {
        match self.ranges.get(index)? {
            None => Ok(None),
            Some(range) => self.data.get(range).map(Some).ok_or(Declined),
        }
    }
}
