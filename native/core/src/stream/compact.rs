//! Chunks that leave out what the chunk before them already contains.

use std::collections::BTreeMap;

use crate::Declined;
use crate::stream::plan::{Carried, Type, types};
use crate::wire::{FIXED32, FIXED64, LENGTH_DELIMITED, VARINT, put_bytes};

/// The most bytes of a chunk that the next builds on, so that a few bytes do not become many.
const MAX_BYTES: usize = 16 * 1024;

/// How to send a chunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Compacted {
    /// As it is.
    Whole,
    /// In this form, which is shorter.
    Compact(Vec<u8>),
}

/// Makes the chunks of one stream compact, where that makes them shorter.
///
/// In a response, `chunks` come before `compact_chunks`: a whole chunk after a compact one begins
/// the next response. The law: a [`Restorer`](crate::Restorer) gives the same chunks, in their
/// normal form. See there for an example.
#[derive(Clone, Debug, Default)]
pub struct Compactor {
    before: Option<Shape>,
}

impl Compactor {
    /// Begins a stream.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next chunk, in binary form. It is compared with the chunk before it, not checked:
    /// what is not a chunk is sent whole, or in a form that the reader refuses.
    pub fn add(&mut self, chunk: &[u8]) -> Compacted {
        match self.compact(chunk) {
            Some(compact) if compact.len() < chunk.len() => Compacted::Compact(compact),
            _ => Compacted::Whole,
        }
    }

    /// The compact form of the next chunk, or None if it must come whole.
    fn compact(&mut self, chunk: &[u8]) -> Option<Vec<u8>> {
        let mapped = types().chunk();
        if let Some(before) = &self.before
            && let Some(compact) = same(chunk, before, mapped)
        {
            return Some(compact);
        }
        let before = self.before.take();
        if chunk.len() > MAX_BYTES {
            return None;
        }
        let shape = self.before.insert(shape(chunk, mapped, 0).ok()?);
        differing(chunk, shape, &before?, mapped).ok()?
    }
}

/// What a message carries to the next.
#[derive(Clone, Debug, Default)]
struct Shape {
    /// By their numbers, the bytes of the carried fields, tags included.
    carried: BTreeMap<u32, Vec<u8>>,
    /// The same fields, with adjacent ones joined.
    runs: Vec<Vec<u8>>,
    /// By its number, what the messages in each field carry.
    inner: BTreeMap<u32, Vec<Shape>>,
}

/// The most messages that may surround one.
const MOST_DEEP: usize = 100;

/// A field of a message: its number, and the offsets of its value and of its end.
fn field_at(data: &[u8], start: usize) -> Result<(u32, usize, usize), Declined> {
    let (tag, at) = varint(data, start)?;
    let (value, end) = match (tag & 7) as u32 {
        LENGTH_DELIMITED => {
            let (length, at) = varint(data, at)?;
            let length = usize::try_from(length).map_err(|_| Declined)?;
            (at, at.checked_add(length).ok_or(Declined)?)
        }
        VARINT => (at, varint(data, at)?.1),
        FIXED64 => (at, at + 8),
        FIXED32 => (at, at + 4),
        _ => return Err(Declined),
    };
    if end > data.len() || tag < 8 {
        return Err(Declined);
    }
    // A number that is too large is that of no field.
    Ok((u32::try_from(tag >> 3).unwrap_or(u32::MAX), value, end))
}

fn varint(data: &[u8], mut at: usize) -> Result<(u128, usize), Declined> {
    let mut value = 0;
    for shift in 0..10 {
        let byte = *data.get(at).ok_or(Declined)?;
        at += 1;
        value |= u128::from(byte & 0x7f) << (7 * shift);
        if byte < 0x80 {
            return Ok((value, at));
        }
    }
    Err(Declined)
}

/// Looks at a message. It is refused if it is none, or not as a serializer writes it.
fn shape(data: &[u8], mapped: &'static Type, depth: usize) -> Result<Shape, Declined> {
    if depth > MOST_DEEP {
        return Err(Declined);
    }
    let mut shape = Shape::default();
    let (mut at, mut run_end) = (0, usize::MAX);
    while at < data.len() {
        let start = at;
        let (number, value, end) = field_at(data, at)?;
        at = end;
        let bytes = &data[start..end];
        let Some(field) = mapped.fields.get(&number) else {
            continue;
        };
        if let Some(inner) = field.inner() {
            let shapes = shape.inner.entry(number).or_default();
            if !shapes.is_empty() && !field.is_list {
                return Err(Declined); // a message that appears twice
            }
            shapes.push(self::shape(&data[value..end], inner, depth + 1)?);
        } else if let Some(carried) = field.carried
            && field.unset.as_deref() != Some(bytes)
        {
            let is_again = carried != Carried::List && shape.carried.contains_key(&number);
            if is_again || field.never.iter().any(|never| never == bytes) {
                return Err(Declined); // a field that appears twice, or is zero
            }
            shape
                .carried
                .entry(number)
                .or_default()
                .extend_from_slice(bytes);
            match shape.runs.last_mut() {
                Some(run) if run_end == start => run.extend_from_slice(bytes),
                _ => shape.runs.push(bytes.to_vec()),
            }
            run_end = end;
        }
    }
    Ok(shape)
}

/// What is left of a message that carries the same as the one before; None if it does not.
fn same(data: &[u8], before: &Shape, mapped: &'static Type) -> Option<Vec<u8>> {
    let mut at = 0;
    let mut seen = BTreeMap::new();
    let mut left = Vec::new();
    for run in before.runs.iter().map(Some).chain([None]) {
        while match run {
            Some(run) => !data[at..].starts_with(run),
            None => at < data.len(),
        } {
            let start = at;
            let (number, value, end) = field_at(data, at).ok()?;
            at = end;
            let field = mapped.fields.get(&number);
            if field.is_some_and(|field| field.carried.is_some()) {
                return None;
            }
            if let Some(inner) = field.and_then(|field| field.inner()) {
                let place = seen.entry(number).or_insert(0);
                let old = before.inner.get(&number)?.get(*place)?;
                *place += 1;
                put_bytes(&mut left, number, &same(&data[value..end], old, inner)?);
            } else {
                left.extend_from_slice(&data[start..end]);
            }
        }
        at += run.map_or(0, Vec::len);
    }
    let is_all = seen.len() == before.inner.len()
        && before
            .inner
            .iter()
            .all(|(number, old)| seen.get(number) == Some(&old.len()));
    is_all.then_some(left)
}

/// What is left of a message without what it carries from the one before; None if it could not be
/// restored, because a field became unset that cannot say so.
fn differing(
    data: &[u8],
    shape: &Shape,
    before: &Shape,
    mapped: &'static Type,
) -> Result<Option<Vec<u8>>, Declined> {
    let mut left = Vec::new();
    let mut seen = BTreeMap::new();
    let mut at = 0;
    while at < data.len() {
        let start = at;
        let (number, value, end) = field_at(data, at)?;
        at = end;
        if let Some(inner) = mapped.fields.get(&number).and_then(|field| field.inner()) {
            let place = seen.entry(number).or_insert(0);
            let new = shape.inner.get(&number).and_then(|all| all.get(*place));
            let old = before.inner.get(&number).and_then(|all| all.get(*place));
            *place += 1;
            if let (Some(new), Some(old)) = (new, old) {
                let Some(part) = differing(&data[value..end], new, old, inner)? else {
                    return Ok(None);
                };
                put_bytes(&mut left, number, &part);
                continue;
            }
        } else if let Some(carried) = shape.carried.get(&number)
            && before.carried.get(&number) == Some(carried)
        {
            continue;
        }
        left.extend_from_slice(&data[start..end]);
    }
    for number in before.carried.keys() {
        if shape.carried.contains_key(number) {
            continue;
        }
        let Some(unset) = &mapped.fields[number].unset else {
            return Ok(None);
        };
        left.extend_from_slice(unset);
    }
    Ok(Some(left))
}
