//! Tokens to columns.

use crate::Declined;
use crate::table::columns::{Buffers, Dictionary, Lists, Numbers, Strings, Validity};
use crate::table::plan::{Plan, TokenFields};
use crate::table::source::KnownIds;
use crate::table::spelling::{decimal, is_spelled};
use crate::wire::{Fields, VARINT, Value, put_tag, put_varint};

/// The tokens of all rows, or their alternatives.
#[derive(Default)]
struct Tokens {
    token: Dictionary,
    logprob_validity: Validity,
    logprob: Numbers<4>,
    data_validity: Validity,
    data: Strings,
    id_validity: Validity,
    id: Numbers<4>,
    /// The ids of the row that has not ended, each with its place in the rest.
    row_ids: Vec<Option<(i32, usize)>>,
    rest_validity: Validity,
    rest: Strings,
}

impl Tokens {
    fn len(&self) -> usize {
        self.rest_validity.length
    }

    fn push(&mut self, token: &Token, numbers: &mut Vec<f64>) -> Result<(), Declined> {
        self.token.push(token.text)?;
        let is_spelled = is_spelled(token.logprob);
        self.logprob_validity.push(is_spelled);
        let single = if is_spelled {
            token.logprob as f32
        } else {
            0.0
        };
        self.logprob.push(single.to_le_bytes());
        if is_spelled {
            numbers.push(token.logprob);
        }
        self.data_validity.push(token.data.is_some());
        self.data.push(token.data.unwrap_or_default())?;
        self.row_ids.push(token.id);
        self.rest_validity.push(!token.rest.is_empty());
        self.rest.push(&token.rest)
    }

    /// The id of a token of the row, or None in its place where it follows; None alone if there is
    /// no id where one would follow.
    fn said_id<'a>(&'a self, index: usize, known: &mut KnownIds<'a>) -> Option<Option<i32>> {
        let has_data = self.data_validity.is_valid(index);
        let data = has_data.then(|| self.data.get(index));
        let key = (self.token.get(index), data);
        match self.row_ids[index - self.id.len()] {
            Some((id, _)) => Some((known.insert(key, id) != Some(id)).then_some(id)),
            None if known.contains_key(&key) => None,
            None => Some(None),
        }
    }

    /// Ends the ids of a row.
    fn say_ids(&mut self, said: impl Iterator<Item = Option<i32>>) {
        for id in said {
            self.id_validity.push(id.is_some());
            self.id.push(id.unwrap_or_default().to_le_bytes());
        }
        self.row_ids.clear();
    }

    /// Ends the ids of a row: they stay in the rest.
    fn keep_ids(&mut self, field: u32) -> Result<(), Declined> {
        let first = self.id.len();
        let ids = std::mem::take(&mut self.row_ids);
        self.say_ids(ids.iter().map(|_| None));
        if ids.iter().all(Option::is_none) {
            return Ok(());
        }
        let rests: Vec<_> = (first..self.len())
            .map(|index| self.rest.get(index).to_vec())
            .collect();
        self.rest.truncate(first);
        self.rest_validity.truncate(first);
        for (id, mut rest) in ids.into_iter().zip(rests) {
            if let Some((id, place)) = id {
                let after = rest.split_off(place);
                put_tag(&mut rest, field, VARINT);
                put_varint(&mut rest, i64::from(id) as u64);
                rest.extend(after);
            }
            self.rest_validity.push(!rest.is_empty());
            self.rest.push(&rest)?;
        }
        Ok(())
    }

    fn finish(self, out: &mut Buffers) {
        self.token.finish(out);
        self.logprob_validity.finish(out);
        out.push_numbers(self.logprob);
        self.data_validity.finish(out);
        self.data.finish(out);
        self.id_validity.finish(out);
        out.push_numbers(self.id);
        self.rest_validity.finish(out);
        self.rest.finish(out);
    }
}

/// A token on the wire.
#[derive(Default)]
struct Token<'a> {
    text: &'a [u8],
    logprob: f64,
    data: Option<&'a [u8]>,
    /// Its number, and where it was among the other fields.
    id: Option<(i32, usize)>,
    rest: Vec<u8>,
}

impl Token<'_> {
    #[inline]
    fn is_same(&self, other: &Self) -> bool {
        self.logprob.to_bits() == other.logprob.to_bits()
            && self.text == other.text
            && self.data == other.data
            && self.id.map(|id| id.0) == other.id.map(|id| id.0)
            && self.rest == other.rest
    }
}

/// The columns of tokens, and those that go with them.
#[derive(Default)]
pub struct TokenColumns {
    rows: Lists,
    choices: Numbers<4>,
    sources: Numbers<4>,
    positions: Tokens,
    rank_validity: Validity,
    ranks: Numbers<2>,
    lists: Lists,
    alternatives: Tokens,
    count_lists: Lists,
    counts: Numbers<4>,
    decimal_validity: Validity,
    decimal: Validity,
    correction_lists: Lists,
    corrections: Numbers<4>,
    /// The log probabilities of the row: of its tokens, and of their alternatives.
    numbers: (Vec<f64>, Vec<f64>),
}

impl TokenColumns {
    /// Adds a token of this choice, from the list of this source.
    pub fn add(
        &mut self,
        plan: &Plan,
        data: &[u8],
        choice: i32,
        source: i32,
    ) -> Result<(), Declined> {
        let mut alternatives = Vec::with_capacity(24);
        let token = read_token(&plan.token, data, |bytes| {
            alternatives.push(read_token(&plan.alternative, bytes, |_| Err(Declined))?);
            Ok(())
        })?;
        let rank = alternatives.iter().position(|other| token.is_same(other));
        let rank = rank.filter(|_| plan.repeats);
        let rank = rank.and_then(|rank| i16::try_from(rank).ok());
        self.choices.push(choice.to_le_bytes());
        self.sources.push(source.to_le_bytes());
        self.positions.push(&token, &mut self.numbers.0)?;
        self.rank_validity.push(rank.is_some());
        self.ranks.push(rank.unwrap_or_default().to_le_bytes());
        for (index, alternative) in alternatives.iter().enumerate() {
            if rank.is_none_or(|rank| rank as usize != index) {
                self.alternatives.push(alternative, &mut self.numbers.1)?;
            }
        }
        self.lists.push(self.alternatives.len())
    }

    /// Adds the number of tokens in a list.
    pub fn add_count(&mut self, count: usize) -> Result<(), Declined> {
        let count = i32::try_from(count).map_err(|_| Declined)?;
        self.counts.push(count.to_le_bytes());
        Ok(())
    }

    pub fn end_row(&mut self, plan: &Plan) -> Result<(), Declined> {
        let has_tokens = self.positions.len() > self.rows.start();
        self.rows.push(self.positions.len())?;
        self.count_lists.push(self.counts.len())?;
        if has_tokens {
            self.end_ids(plan)?;
        }
        self.spell(has_tokens)
    }

    /// Ends the ids of the row: those that follow are left out. If an id is missing where one would
    /// follow, all of them stay in the rest.
    fn end_ids(&mut self, plan: &Plan) -> Result<(), Declined> {
        let mut row_ids = self.positions.row_ids.iter();
        let mut other_ids = self.alternatives.row_ids.iter();
        let has_ids = row_ids.any(Option::is_some) || other_ids.any(Option::is_some);
        match has_ids.then(|| self.said_ids()).flatten() {
            Some([own, others]) => {
                self.positions.say_ids(own.into_iter());
                self.alternatives.say_ids(others.into_iter());
                Ok(())
            }
            None => {
                self.positions.keep_ids(plan.token.id)?;
                self.alternatives.keep_ids(plan.alternative.id)
            }
        }
    }

    /// The ids of the row's tokens, and those of their alternatives: None in the place of each that
    /// follows. None alone if an id is missing where one would follow.
    fn said_ids(&self) -> Option<[Vec<Option<i32>>; 2]> {
        let (mut own, mut others) = (Vec::new(), Vec::new());
        let mut known = KnownIds::default();
        for position in self.positions.id.len()..self.positions.len() {
            own.push(self.positions.said_id(position, &mut known)?);
            for alternative in self.lists.range(position) {
                others.push(self.alternatives.said_id(alternative, &mut known)?);
            }
        }
        Some([own, others])
    }

    /// Says how the log probabilities of the row are spelled.
    fn spell(&mut self, has_tokens: bool) -> Result<(), Declined> {
        let (positions, alternatives) = &mut self.numbers;
        let all = || positions.iter().chain(alternatives.iter()).copied();
        let exact = all().filter(|&value| f64::from(value as f32) != value);
        let exact = exact.count();
        let mut decimals = 0;
        for value in all() {
            decimals += usize::from(decimal(value as f32) != value);
            if decimals > exact {
                break;
            }
        }
        let is_decimal = decimals <= exact;
        self.decimal_validity.push(has_tokens);
        self.decimal.push(has_tokens && is_decimal);
        let is_corrected = decimals.min(exact) > 0;
        if is_corrected {
            for value in all() {
                let single = value as f32;
                let said = if is_decimal {
                    decimal(single)
                } else {
                    f64::from(single)
                };
                let correction = (value.to_bits() as i64).wrapping_sub(said.to_bits() as i64);
                let correction = i32::try_from(correction).map_err(|_| Declined)?;
                self.corrections.push(correction.to_le_bytes());
            }
        }
        positions.clear();
        alternatives.clear();
        self.correction_lists.push(self.corrections.len())
    }

    /// Appends the buffers of that many rows.
    pub fn finish(self, rows: usize, out: &mut Buffers) -> Result<(), Declined> {
        let tokens = self.positions.len();
        self.rows.finish(rows, tokens, out)?;
        for copied in [self.choices, self.sources] {
            out.0.push(None);
            out.push_numbers(copied);
        }
        self.positions.finish(out);
        self.rank_validity.finish(out);
        out.push_numbers(self.ranks);
        self.lists.finish(tokens, self.alternatives.len(), out)?;
        self.alternatives.finish(out);
        self.count_lists.finish(rows, self.counts.len(), out)?;
        out.0.push(None);
        out.push_numbers(self.counts);
        if tokens == 0 {
            out.push_none(2);
        } else {
            self.decimal_validity.finish(out);
            self.decimal.finish_bits(out);
        }
        self.correction_lists
            .finish(rows, self.corrections.len(), out)?;
        out.0.push(None);
        out.push_numbers(self.corrections);
        Ok(())
    }
}

#[inline]
fn read_token<'d>(
    fields: &TokenFields,
    data: &'d [u8],
    mut each: impl FnMut(&'d [u8]) -> Result<(), Declined>,
) -> Result<Token<'d>, Declined> {
    let mut token = Token::default();
    let mut seen = 0u8;
    let mut once = |bit: u8| {
        let is_first = seen & bit == 0;
        seen |= bit;
        is_first.then_some(()).ok_or(Declined)
    };
    let mut wire = Fields::new(data);
    let mut start = 0;
    while let Some((number, value)) = wire.next()? {
        let whole = start..wire.at;
        start = wire.at;
        match value {
            Value::Bytes(text) if number == fields.token => {
                once(1)?;
                token.text = text;
            }
            Value::Fixed64(bits) if number == fields.logprob => {
                once(2)?;
                token.logprob = f64::from_bits(bits);
                if !is_spelled(token.logprob) {
                    token.rest.extend_from_slice(&data[whole]);
                }
            }
            Value::Bytes(bytes) if number == fields.data => {
                once(4)?;
                token.data = Some(bytes);
            }
            Value::Varint(id) if number == fields.id => {
                once(8)?;
                token.id = Some((id as i32, token.rest.len()));
            }
            Value::Bytes(bytes) if number == fields.list && number != 0 => each(bytes)?,
            _ if [fields.token, fields.logprob, fields.data, fields.id].contains(&number) => {
                return Err(Declined);
            }
            _ => token.rest.extend_from_slice(&data[whole]),
        }
    }
    Ok(token)
}
