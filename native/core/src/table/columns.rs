//! Columns in Arrow's layout (https://arrow.apache.org/docs/format/Columnar.html), to be made.

use std::hash::BuildHasher;

use foldhash::fast::FixedState;
use hashbrown::HashTable;

use crate::Declined;

/// The buffers of columns, in the order of the schema.
///
/// A bitmap is None where nothing is null. A column without a value has only None.
#[derive(Default)]
pub struct Buffers(pub Vec<Option<Vec<u8>>>);

impl Buffers {
    pub fn push(&mut self, buffer: Vec<u8>) {
        self.0.push(Some(buffer));
    }

    pub fn push_none(&mut self, count: usize) {
        self.0.extend((0..count).map(|_| None));
    }

    pub fn push_numbers<const N: usize>(&mut self, numbers: Numbers<N>) {
        self.push(numbers.into_flattened());
    }
}

/// Numbers, as they lie in a buffer.
pub type Numbers<const N: usize> = Vec<[u8; N]>;

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

    /// Appends nulls up to a length.
    #[inline]
    pub fn pad(&mut self, length: usize) {
        if length > self.length {
            self.nulls += length - self.length;
            self.length = length;
            self.bits.resize(length.div_ceil(8), 0);
        }
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
    offsets: Numbers<4>,
    data: Vec<u8>,
}

impl Default for Strings {
    fn default() -> Self {
        Self {
            offsets: vec![[0; 4]],
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
        self.offsets.push(offset_of(self.data.len())?);
        Ok(())
    }

    /// Appends empty texts up to a count.
    #[inline]
    pub fn pad(&mut self, count: usize) {
        if count > self.count() {
            let end = self.offsets[self.count()];
            self.offsets.resize(count + 1, end);
        }
    }

    pub fn data(&mut self) -> &mut Vec<u8> {
        &mut self.data
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.offsets.len() - 1
    }

    pub fn get(&self, index: usize) -> &[u8] {
        &self.data[place(self.offsets[index])..place(self.offsets[index + 1])]
    }

    pub fn truncate(&mut self, length: usize) {
        self.offsets.truncate(length + 1);
        if let Some(end) = self.offsets.last() {
            self.data.truncate(place(*end));
        }
    }

    pub fn finish(self, out: &mut Buffers) {
        out.push_numbers(self.offsets);
        out.push(self.data);
    }
}

fn offset_of(end: usize) -> Result<[u8; 4], Declined> {
    i32::try_from(end)
        .map(i32::to_le_bytes)
        .map_err(|_| Declined)
}

fn place(offset: [u8; 4]) -> usize {
    u32::from_le_bytes(offset) as usize
}

/// Texts of which many recur, each kept once.
#[derive(Default)]
pub struct Dictionary {
    table: HashTable<u32>,
    hasher: FixedState,
    values: Strings,
    indices: Vec<u32>,
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
            self.indices.push(*index);
            return Ok(());
        }
        simdutf8::basic::from_utf8(text).map_err(|_| Declined)?;
        let index = self.values.count();
        i32::try_from(index).map_err(|_| Declined)?;
        self.values.push(text)?;
        let (values, hasher) = (&self.values, &self.hasher);
        self.table.insert_unique(hash, index as u32, |&index| {
            hasher.hash_one(values.get(index as usize))
        });
        self.indices.push(index as u32);
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
        let mut places = vec![0u32; order.len()];
        let mut values = Strings::default();
        for (place, &index) in order.iter().enumerate() {
            places[index as usize] = place as u32;
            values
                .data
                .extend_from_slice(self.values.get(index as usize));
            values
                .offsets
                .push((values.data.len() as u32).to_le_bytes());
        }
        out.0.push(None);
        let indices = self.indices.iter().map(|&index| places[index as usize]);
        out.push_numbers(indices.map(u32::to_le_bytes).collect());
        values.finish(out);
    }
}

/// Lists: where each begins. A list without elements is null.
pub struct Lists {
    offsets: Numbers<4>,
}

impl Default for Lists {
    fn default() -> Self {
        Self {
            offsets: vec![[0; 4]],
        }
    }
}

impl Lists {
    /// Ends all lists before this one; its elements, and no more of theirs, come after those that
    /// there are.
    #[inline]
    pub fn open(&mut self, index: usize, elements: usize) -> Result<(), Declined> {
        if self.offsets.len() <= index {
            self.offsets.resize(index + 1, offset_of(elements)?);
        }
        Ok(())
    }

    /// Ends the next list behind the elements that there are.
    #[inline]
    pub fn push(&mut self, elements: usize) -> Result<(), Declined> {
        self.offsets.push(offset_of(elements)?);
        Ok(())
    }

    /// Where the list begins that has not ended.
    pub fn start(&self) -> usize {
        self.offsets.last().map_or(0, |&offset| place(offset))
    }

    /// Where the elements of a list are that has ended.
    pub fn range(&self, index: usize) -> std::ops::Range<usize> {
        place(self.offsets[index])..place(self.offsets[index + 1])
    }

    /// Ends all of that many lists, which have that many elements.
    pub fn finish(
        mut self,
        count: usize,
        elements: usize,
        out: &mut Buffers,
    ) -> Result<(), Declined> {
        if elements == 0 {
            out.push_none(2);
            return Ok(());
        }
        self.open(count, elements)?;
        let mut validity = Validity::default();
        for pair in self.offsets.windows(2) {
            validity.push(pair[0] != pair[1]);
        }
        validity.finish(out);
        out.push_numbers(self.offsets);
        Ok(())
    }
}
