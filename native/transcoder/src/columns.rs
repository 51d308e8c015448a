//! Columns in Arrow's layout (https://arrow.apache.org/docs/format/Columnar.html).

use std::hash::BuildHasher;

use foldhash::fast::FixedState;
use hashbrown::{HashMap, HashTable};

use crate::Declined;

/// The buffers of columns, in the order of the schema. A bitmap is None where nothing is null.
#[derive(Default)]
pub struct Buffers(pub Vec<Option<Vec<u8>>>);

impl Buffers {
    pub fn push(&mut self, buffer: Vec<u8>) {
        self.0.push(Some(buffer));
    }

    pub fn push_numbers<const N: usize>(&mut self, numbers: impl Iterator<Item = [u8; N]>) {
        self.push(numbers.flatten().collect());
    }
}

/// Which values are there: a bit each.
#[derive(Default)]
pub struct Validity {
    bits: Vec<u8>,
    pub length: usize,
    nulls: usize,
}

impl Validity {
    #[inline]
    pub fn push(&mut self, valid: bool) {
        if self.length.is_multiple_of(8) {
            self.bits.push(0);
        }
        if valid {
            if let Some(last) = self.bits.last_mut() {
                *last |= 1 << (self.length % 8);
            }
        } else {
            self.nulls += 1;
        }
        self.length += 1;
    }

    pub fn is_valid(&self, index: usize) -> bool {
        self.bits[index / 8] >> (index % 8) & 1 == 1
    }

    /// Takes back what was pushed last.
    pub fn truncate(&mut self, length: usize) {
        while self.length > length {
            self.length -= 1;
            let bit = 1 << (self.length % 8);
            if let Some(last) = self.bits.last_mut() {
                if *last & bit == 0 {
                    self.nulls -= 1;
                }
                *last &= !bit;
            }
            if self.length.is_multiple_of(8) {
                self.bits.pop();
            }
        }
    }

    pub fn finish(self, out: &mut Buffers) {
        out.0.push((self.nulls > 0).then_some(self.bits));
    }

    /// The bits alone, for booleans.
    pub fn finish_bits(self, out: &mut Buffers) {
        out.push(self.bits);
    }
}

/// Texts or bytes, one after the other.
pub struct Strings {
    offsets: Vec<i32>,
    data: Vec<u8>,
}

impl Default for Strings {
    fn default() -> Self {
        Self {
            offsets: vec![0],
            data: Vec::new(),
        }
    }
}

impl Strings {
    #[inline]
    pub fn push(&mut self, text: &[u8]) -> Result<(), Declined> {
        self.data.extend_from_slice(text);
        self.end()
    }

    /// Ends a text that was appended to `data`.
    #[inline]
    pub fn end(&mut self) -> Result<(), Declined> {
        let end = i32::try_from(self.data.len()).map_err(|_| Declined)?;
        self.offsets.push(end);
        Ok(())
    }

    pub fn data(&mut self) -> &mut Vec<u8> {
        &mut self.data
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.offsets.len() - 1
    }

    pub fn get(&self, index: usize) -> &[u8] {
        &self.data[self.offsets[index] as usize..self.offsets[index + 1] as usize]
    }

    pub fn truncate(&mut self, length: usize) {
        self.offsets.truncate(length + 1);
        if let Some(end) = self.offsets.last() {
            self.data.truncate(*end as usize);
        }
    }

    pub fn finish(self, out: &mut Buffers) {
        out.push_numbers(self.offsets.iter().map(|offset| offset.to_le_bytes()));
        out.push(self.data);
    }
}

/// Texts of which many recur, each kept once.
#[derive(Default)]
pub struct Dictionary {
    table: HashTable<u32>,
    hasher: FixedState,
    values: Strings,
    indices: Vec<i32>,
}

impl Dictionary {
    #[inline]
    pub fn push(&mut self, text: &[u8]) -> Result<(), Declined> {
        let hash = self.hasher.hash_one(text);
        let values = &self.values;
        if let Some(index) = self
            .table
            .find(hash, |&index| values.get(index as usize) == text)
        {
            self.indices.push(*index as i32);
            return Ok(());
        }
        simdutf8::basic::from_utf8(text).map_err(|_| Declined)?;
        let index = u32::try_from(self.values.count()).map_err(|_| Declined)?;
        self.values.push(text)?;
        let (values, hasher) = (&self.values, &self.hasher);
        self.table.insert_unique(hash, index, |&index| {
            hasher.hash_one(values.get(index as usize))
        });
        self.indices
            .push(i32::try_from(index).map_err(|_| Declined)?);
        Ok(())
    }

    pub fn get(&self, index: usize) -> &[u8] {
        self.values.get(self.indices[index] as usize)
    }

    /// The texts that recur most get the least numbers: those are packed into few bits, and compress.
    pub fn finish(self, out: &mut Buffers) {
        let mut counts = vec![0u32; self.values.count()];
        for &index in &self.indices {
            counts[index as usize] += 1;
        }
        let mut order: Vec<u32> = (0..counts.len() as u32).collect();
        order.sort_by_key(|&index| std::cmp::Reverse(counts[index as usize]));
        let mut places = vec![0i32; order.len()];
        let mut values = Strings::default();
        for (place, &index) in order.iter().enumerate() {
            places[index as usize] = place as i32;
            values
                .data
                .extend_from_slice(self.values.get(index as usize));
            values.offsets.push(values.data.len() as i32);
        }
        out.0.push(None);
        let indices = self.indices.iter().map(|&index| places[index as usize]);
        out.push_numbers(indices.map(i32::to_le_bytes));
        values.finish(out);
    }
}

/// Lists: where each begins and ends, and which are null.
pub struct Lists {
    offsets: Vec<i32>,
    validity: Validity,
}

impl Default for Lists {
    fn default() -> Self {
        Self {
            offsets: vec![0],
            validity: Validity::default(),
        }
    }
}

impl Lists {
    /// Ends a list at a place among the elements.
    #[inline]
    pub fn push(&mut self, end: usize, valid: bool) -> Result<(), Declined> {
        self.offsets.push(i32::try_from(end).map_err(|_| Declined)?);
        self.validity.push(valid);
        Ok(())
    }

    /// Where the list begins that has not ended.
    pub fn start(&self) -> usize {
        self.offsets.last().map_or(0, |&offset| offset as usize)
    }

    /// Where the elements of a list are.
    pub fn range(&self, index: usize) -> std::ops::Range<usize> {
        self.offsets[index] as usize..self.offsets[index + 1] as usize
    }

    pub fn truncate(&mut self, length: usize) {
        self.offsets.truncate(length + 1);
        self.validity.truncate(length);
    }

    pub fn finish(self, out: &mut Buffers) {
        self.validity.finish(out);
        out.push_numbers(self.offsets.iter().map(|offset| offset.to_le_bytes()));
    }
}

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
            offsets: self.required()?,
        })
    }

    pub fn texts(&mut self) -> Result<Texts<'a>, Declined> {
        Ok(Texts {
            ranges: self.lists()?,
            data: self.required()?,
        })
    }
}

/// A bitmap; where there is none, all are valid.
#[derive(Clone, Copy, Default)]
pub struct Bits<'a>(Option<&'a [u8]>);

impl Bits<'_> {
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

    /// The bit of a boolean, which has a bitmap if there are any.
    pub fn bit(&self, index: usize) -> Result<bool, Declined> {
        if self.0.is_none() {
            return Err(Declined);
        }
        self.is_valid(index)
    }
}

/// A number in a buffer.
#[inline]
pub fn number<const N: usize>(buffer: &[u8], index: usize) -> Result<[u8; N], Declined> {
    let start = index.checked_mul(N).ok_or(Declined)?;
    let bytes = buffer.get(start..start + N).ok_or(Declined)?;
    bytes.try_into().map_err(|_| Declined)
}

#[inline]
pub fn offset(buffer: &[u8], index: usize) -> Result<usize, Declined> {
    usize::try_from(i32::from_le_bytes(number(buffer, index)?)).map_err(|_| Declined)
}

#[derive(Clone, Copy)]
pub struct Ranges<'a> {
    validity: Bits<'a>,
    offsets: &'a [u8],
}

impl Ranges<'_> {
    /// Where the elements of a list are; None if it is null.
    #[inline]
    pub fn get(&self, index: usize) -> Result<Option<std::ops::Range<usize>>, Declined> {
        if !self.validity.is_valid(index)? {
            return Ok(None);
        }
        let range = offset(self.offsets, index)?..offset(self.offsets, index + 1)?;
        Ok(Some(range))
    }
}

#[derive(Clone, Copy)]
pub struct Texts<'a> {
    ranges: Ranges<'a>,
    data: &'a [u8],
}

impl<'a> Texts<'a> {
    #[inline]
    pub fn get(&self, index: usize) -> Result<Option<&'a [u8]>, Declined> {
        match self.ranges.get(index)? {
            None => Ok(None),
            Some(range) => self.data.get(range).map(Some).ok_or(Declined),
        }
    }
}
