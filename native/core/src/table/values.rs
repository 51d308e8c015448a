//! The columns that records are moved to, except those of tokens.

use crate::Declined;
use crate::table::columns::{Buffers, Lists, Numbers, Strings, Validity};
use crate::table::plan::{ColumnPlan, Kind};
use crate::wire::{Fields, Value};

/// The most entries of a map whose keys are in no order.
const MOST_UNSORTED: usize = 64;

/// A column so far. Nulls are not appended before a value comes after them.
pub struct Column {
    validity: Validity,
    data: Data,
}

enum Data {
    Bits(Validity),
    Four(Numbers<4>),
    Eight(Numbers<8>),
    Strings(Strings),
    Int32Lists(Lists, Numbers<4>),
    Int64Lists(Lists, Numbers<8>),
    StringLists(Lists, Strings),
    /// The last is the place of the greatest key of the map that has not ended.
    Pairs(Lists, Strings, Strings, usize),
    /// Of structs, and how many of them have ended.
    Structs(Lists, usize),
}

impl Column {
    pub fn new(plan: &ColumnPlan) -> Self {
        Self {
            validity: Validity::default(),
            data: match plan.kind {
                Kind::Bool => Data::Bits(Validity::default()),
                Kind::Int32 | Kind::Word => Data::Four(Vec::new()),
                Kind::Int64 | Kind::Double => Data::Eight(Vec::new()),
                Kind::String => Data::Strings(Strings::default()),
                Kind::Int32List => Data::Int32Lists(Lists::default(), Vec::new()),
                Kind::Int64List => Data::Int64Lists(Lists::default(), Vec::new()),
                Kind::StringList => Data::StringLists(Lists::default(), Strings::default()),
                Kind::Pairs => {
                    Data::Pairs(Lists::default(), Strings::default(), Strings::default(), 0)
                }
                Kind::List => Data::Structs(Lists::default(), 0),
            },
        }
    }

    /// How many structs have ended; 0 in a column of anything else.
    #[inline]
    pub fn structs(&self) -> usize {
        match self.data {
            Data::Structs(_, count) => count,
            _ => 0,
        }
    }

    /// Begins a struct in the list of this element.
    #[inline]
    pub fn begin(&mut self, element: usize) -> Result<(), Declined> {
        match &mut self.data {
            Data::Structs(lists, count) => lists.open(element, *count),
            _ => Err(Declined),
        }
    }

    /// Ends a struct.
    #[inline]
    pub fn end(&mut self) {
        if let Data::Structs(_, count) = &mut self.data {
            *count += 1;
        }
    }

    /// Adds the value of a field for this element; false if it stays in the message: it cannot be in
    /// a column, or is what the column has while the field is unset.
    #[inline]
    pub fn add(
        &mut self,
        plan: &ColumnPlan,
        unset: Option<i32>,
        element: usize,
        value: &Value,
    ) -> Result<bool, Declined> {
        match (&mut self.data, value) {
            (Data::Strings(values), Value::Bytes(text)) => {
                simdutf8::basic::from_utf8(text).map_err(|_| Declined)?;
                values.pad(element);
                values.push(text)?;
            }
            (Data::Bits(bits), Value::Varint(value)) => {
                bits.pad(element);
                bits.push(*value != 0);
            }
            (Data::Four(values), Value::Varint(value)) => {
                let mut value = *value as i32;
                if plan.kind == Kind::Word {
                    let word = plan.words.iter().position(|&word| word == value);
                    let Some(word) = word else { return Ok(false) };
                    value = word as i32;
                }
                pad(values, element);
                values.push(value.to_le_bytes());
                if unset == Some(value) {
                    self.fill(element)?;
                    return Ok(false);
                }
            }
            (Data::Eight(values), Value::Varint(value)) if plan.kind == Kind::Int64 => {
                pad(values, element);
                values.push(value.to_le_bytes());
            }
            (Data::Eight(values), Value::Fixed64(bits)) if plan.kind == Kind::Double => {
                if f64::from_bits(*bits).is_nan() {
                    return Ok(false);
                }
                pad(values, element);
                values.push(bits.to_le_bytes());
            }
            _ => {
                self.add_to_list(element, value)?;
                return Ok(true);
            }
        }
        self.fill(element)?;
        Ok(true)
    }

    /// Adds the zero of the type, or the word of an unset field.
    pub fn add_unset(&mut self, unset: Option<i32>, element: usize) -> Result<(), Declined> {
        match &mut self.data {
            Data::Strings(values) => {
                values.pad(element);
                values.end()?;
            }
            Data::Bits(bits) => {
                bits.pad(element);
                bits.push(false);
            }
            Data::Four(values) => {
                pad(values, element);
                values.push(unset.unwrap_or(0).to_le_bytes());
            }
            Data::Eight(values) => pad(values, element + 1),
            _ => return Err(Declined),
        }
        self.fill(element)
    }

    /// Marks the value of this element, which was appended, as one that is there.
    #[inline]
    fn fill(&mut self, element: usize) -> Result<(), Declined> {
        if self.validity.length > element {
            return Err(Declined);
        }
        self.validity.pad(element);
        self.validity.push(true);
        Ok(())
    }

    fn add_to_list(&mut self, element: usize, value: &Value) -> Result<(), Declined> {
        match (&mut self.data, value) {
            (Data::Int32Lists(lists, values), value) => {
                lists.open(element, values.len())?;
                each_number(value, |number| values.push((number as i32).to_le_bytes()))
            }
            (Data::Int64Lists(lists, values), value) => {
                lists.open(element, values.len())?;
                each_number(value, |number| values.push(number.to_le_bytes()))
            }
            (Data::StringLists(lists, values), Value::Bytes(text)) => {
                lists.open(element, values.count())?;
                simdutf8::basic::from_utf8(text).map_err(|_| Declined)?;
                values.push(text)
            }
            (Data::Pairs(lists, keys, values, greatest), Value::Bytes(entry)) => {
                lists.open(element, keys.count())?;
                let mut parts: [Option<&[u8]>; 2] = [None, None];
                let mut fields = Fields::new(entry);
                while let Some((number, value)) = fields.next()? {
                    let part = parts.get_mut(number as usize - 1).ok_or(Declined)?;
                    let Value::Bytes(text) = value else {
                        return Err(Declined);
                    };
                    if part.replace(text).is_some() {
                        return Err(Declined);
                    }
                    simdutf8::basic::from_utf8(text).map_err(|_| Declined)?;
                }
                let key = parts[0].unwrap_or_default();
                // If a key is repeated, the last value wins, which is for the reference. Most keys come
                // in order; of a few others all are compared.
                let mut earlier = lists.start()..keys.count();
                if earlier.is_empty() || keys.get(*greatest) < key {
                    *greatest = keys.count();
                } else if earlier.len() > MOST_UNSORTED
                    || earlier.any(|index| keys.get(index) == key)
                {
                    return Err(Declined);
                }
                keys.push(key)?;
                values.push(parts[1].unwrap_or_default())
            }
            _ => Err(Declined),
        }
    }

    /// Appends the buffers of a column with values for that many elements.
    pub fn finish(self, length: usize, out: &mut Buffers) -> Result<(), Declined> {
        let mut validity = self.validity;
        match self.data {
            Data::Structs(lists, count) => return lists.finish(length, count, out),
            Data::Int32Lists(lists, values) => {
                let is_empty = values.is_empty();
                lists.finish(length, values.len(), out)?;
                out.0.push(None);
                out.0.push((!is_empty).then(|| values.into_flattened()));
                return Ok(());
            }
            Data::Int64Lists(lists, values) => {
                let is_empty = values.is_empty();
                lists.finish(length, values.len(), out)?;
                out.0.push(None);
                out.0.push((!is_empty).then(|| values.into_flattened()));
                return Ok(());
            }
            Data::StringLists(lists, values) => {
                lists.finish(length, values.count(), out)?;
                finish_texts(values, out);
                return Ok(());
            }
            Data::Pairs(lists, keys, values, _) => {
                lists.finish(length, keys.count(), out)?;
                finish_texts(keys, out);
                finish_texts(values, out);
                return Ok(());
            }
            _ if validity.length == 0 => {
                let texts = matches!(self.data, Data::Strings(_));
                out.push_none(2 + usize::from(texts));
                return Ok(());
            }
            _ => {}
        }
        validity.pad(length);
        validity.finish(out);
        match self.data {
            Data::Bits(mut bits) => {
                bits.pad(length);
                bits.finish_bits(out);
            }
            Data::Four(mut values) => {
                pad(&mut values, length);
                out.push_numbers(values);
            }
            Data::Eight(mut values) => {
                pad(&mut values, length);
                out.push_numbers(values);
            }
            Data::Strings(mut values) => {
                values.pad(length);
                values.finish(out);
            }
            _ => {}
        }
        Ok(())
    }
}

/// Appends the buffers of texts inside lists, of which none is null.
fn finish_texts(texts: Strings, out: &mut Buffers) {
    if texts.count() == 0 {
        out.push_none(3);
    } else {
        out.push_none(1);
        texts.finish(out);
    }
}

#[inline]
fn pad<const N: usize>(values: &mut Numbers<N>, length: usize) {
    if length > values.len() {
        values.resize(length, [0; N]);
    }
}

/// Calls `each` with the numbers of a repeated field, packed or not.
fn each_number(value: &Value, mut each: impl FnMut(u64)) -> Result<(), Declined> {
    match value {
        Value::Varint(number) => each(*number),
        Value::Bytes(packed) => {
            let mut numbers = Fields::new(packed);
            while numbers.at < packed.len() {
                each(numbers.varint()?);
            }
        }
        _ => return Err(Declined),
    }
    Ok(())
}
