//! Records in binary form to columns.

use crate::columns::{Buffers, Dictionary, KnownIds, Lists, Strings, Validity};
use crate::plan::{Action, Kind, Leaf, Node, Plan, TokenFields, decimal, is_spelled};
use crate::schema::Schema;
use crate::wire::{
    Fields, LENGTH_DELIMITED, VARINT, Value, close, open, put_bytes, put_tag, put_varint,
};
use crate::{Declined, Nan};

/// Shreds records, each with the completion that its chunks make.
///
/// Fails with the place of a record that is declined: it is not a record, or in a form that no
/// serializer of one message writes.
pub fn shred(plan: &Plan, records: &[(&[u8], Option<&[u8]>)]) -> Result<Buffers, usize> {
    let mut shredder = Shredder::new(plan);
    for (index, (record, folded)) in records.iter().enumerate() {
        shredder.record(record, *folded).map_err(|_| index)?;
    }
    Ok(shredder.finish())
}

/// Shreds records that hold nothing but a message, in this field, whose JSON is given.
///
/// Fails with the place of a text that is declined.
pub fn shred_json(
    plan: &Plan,
    schema: &Schema,
    message_type: usize,
    field: u32,
    texts: &[&[u8]],
) -> Result<Buffers, usize> {
    let mut shredder = Shredder::new(plan);
    let (mut record, mut message) = (Vec::new(), Vec::new());
    for (index, text) in texts.iter().enumerate() {
        message.clear();
        let read = schema.json_to_binary(text, message_type, Nan::Refused, &mut message);
        record.clear();
        put_bytes(&mut record, field, &message);
        read.and_then(|()| shredder.record(&record, None))
            .map_err(|_| index)?;
    }
    Ok(shredder.finish())
}

enum Data {
    Bits(Validity),
    Int32(Vec<i32>),
    Int64(Vec<i64>),
    Double(Vec<f64>),
    Strings(Strings),
    /// Of int32 or of int64.
    Integers(Lists, Vec<i64>),
    Map(Lists, Strings, Strings),
}

struct Column {
    kind: Kind,
    is_list: bool,
    is_filled: bool,
    /// The values of the row that are not null.
    filled: usize,
    lists: Lists,
    validity: Validity,
    data: Data,
}

impl Column {
    fn new(kind: Kind, is_list: bool) -> Self {
        Self {
            kind,
            is_list,
            is_filled: false,
            filled: 0,
            lists: Lists::default(),
            validity: Validity::default(),
            data: match kind {
                Kind::Bool => Data::Bits(Validity::default()),
                Kind::Int32 | Kind::Word => Data::Int32(Vec::new()),
                Kind::Int64 => Data::Int64(Vec::new()),
                Kind::Double => Data::Double(Vec::new()),
                Kind::String => Data::Strings(Strings::default()),
                Kind::Int32List | Kind::Int64List => Data::Integers(Lists::default(), Vec::new()),
                Kind::Map => Data::Map(Lists::default(), Strings::default(), Strings::default()),
            },
        }
    }

    /// Says that a value was pushed.
    #[inline]
    fn fill(&mut self) -> Result<(), Declined> {
        if self.is_filled {
            return Err(Declined);
        }
        self.is_filled = true;
        self.filled += 1;
        self.validity.push(true);
        Ok(())
    }

    /// Ends an element of the list around: a null where there was no value.
    #[inline]
    fn end_element(&mut self) -> Result<(), Declined> {
        if !self.is_filled {
            self.validity.push(false);
            match &mut self.data {
                Data::Bits(bits) => bits.push(false),
                Data::Int32(values) => values.push(0),
                Data::Int64(values) => values.push(0),
                Data::Double(values) => values.push(0.0),
                Data::Strings(values) => values.end()?,
                Data::Integers(lists, values) => lists.push(values.len(), false)?,
                Data::Map(lists, ..) => lists.push(lists.start(), false)?,
            }
        }
        self.is_filled = false;
        Ok(())
    }

    fn end_row(&mut self) -> Result<(), Declined> {
        if self.is_list {
            let is_null = self.filled == 0;
            if is_null {
                let start = self.lists.start();
                self.validity.truncate(start);
                match &mut self.data {
                    Data::Bits(bits) => bits.truncate(start),
                    Data::Int32(values) => values.truncate(start),
                    Data::Int64(values) => values.truncate(start),
                    Data::Double(values) => values.truncate(start),
                    Data::Strings(values) => values.truncate(start),
                    Data::Integers(lists, _) => lists.truncate(start), // they have no elements
                    Data::Map(..) => return Err(Declined),
                }
            }
            self.lists.push(self.validity.length, !is_null)?;
        }
        self.filled = 0;
        Ok(())
    }

    fn finish(self, out: &mut Buffers) {
        if self.is_list {
            self.lists.finish(out);
        }
        match self.data {
            Data::Integers(lists, values) => {
                lists.finish(out);
                out.0.push(None);
                if self.kind == Kind::Int32List {
                    out.push_numbers(values.iter().map(|&value| (value as i32).to_le_bytes()));
                } else {
                    out.push_numbers(values.iter().map(|value| value.to_le_bytes()));
                }
                return;
            }
            Data::Map(lists, keys, values) => {
                lists.finish(out);
                for strings in [keys, values] {
                    out.0.push(None);
                    strings.finish(out);
                }
                return;
            }
            _ => self.validity.finish(out),
        }
        match self.data {
            Data::Bits(bits) => bits.finish_bits(out),
            Data::Int32(values) => out.push_numbers(values.iter().map(|value| value.to_le_bytes())),
            Data::Int64(values) => out.push_numbers(values.iter().map(|value| value.to_le_bytes())),
            Data::Double(values) => {
                out.push_numbers(values.iter().map(|value| value.to_le_bytes()));
            }
            Data::Strings(values) => values.finish(out),
            Data::Integers(..) | Data::Map(..) => {}
        }
    }
}

/// The columns of tokens.
#[derive(Default)]
struct Tokens {
    token: Dictionary,
    logprob_validity: Validity,
    logprob: Vec<f32>,
    data_validity: Validity,
    data: Strings,
    id_validity: Validity,
    id: Vec<i32>,
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
        self.logprob.push(if is_spelled {
            token.logprob as f32
        } else {
            0.0
        });
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
            self.id.push(id.unwrap_or_default());
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
        out.push_numbers(self.logprob.iter().map(|value| value.to_le_bytes()));
        self.data_validity.finish(out);
        self.data.finish(out);
        self.id_validity.finish(out);
        out.push_numbers(self.id.iter().map(|value| value.to_le_bytes()));
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

struct Shredder<'p> {
    plan: &'p Plan,
    columns: Vec<Column>,
    rows: Lists,
    positions: Tokens,
    rank_validity: Validity,
    ranks: Vec<i16>,
    lists: Lists,
    alternatives: Tokens,
    count_lists: Lists,
    counts: Vec<i32>,
    decimal_validity: Validity,
    decimal: Validity,
    correction_lists: Lists,
    corrections: Vec<i32>,
    record: Strings,
    /// The log probabilities of the row: of its tokens, and of their alternatives.
    numbers: (Vec<f64>, Vec<f64>),
    keeps_tokens: bool,
}

impl<'p> Shredder<'p> {
    fn new(plan: &'p Plan) -> Self {
        let columns = plan.columns.iter();
        Self {
            plan,
            columns: columns
                .map(|column| Column::new(column.kind, column.is_list))
                .collect(),
            rows: Lists::default(),
            positions: Tokens::default(),
            rank_validity: Validity::default(),
            ranks: Vec::new(),
            lists: Lists::default(),
            alternatives: Tokens::default(),
            count_lists: Lists::default(),
            counts: Vec::new(),
            decimal_validity: Validity::default(),
            decimal: Validity::default(),
            correction_lists: Lists::default(),
            corrections: Vec::new(),
            record: Strings::default(),
            numbers: (Vec::new(), Vec::new()),
            keeps_tokens: true,
        }
    }

    fn record(&mut self, data: &[u8], folded: Option<&[u8]>) -> Result<(), Declined> {
        let plan = self.plan;
        let root = &plan.nodes[0];
        let (first_token, first_count) = (self.positions.len(), self.counts.len());
        self.keeps_tokens = true;
        let mut out = std::mem::take(self.record.data());
        let walked = self.walk(root, data, &[], &mut out);
        *self.record.data() = out;
        walked?;
        if let Some(folded) = folded {
            let part = root.parts.iter().find(|part| part.number == plan.folded);
            let node = &plan.nodes[part.ok_or(Declined)?.node];
            self.keeps_tokens = false;
            self.walk(node, folded, &[], &mut Vec::new())?;
        }
        self.end_element(root)?;
        for column in &mut self.columns {
            column.end_row()?;
        }
        self.record.end()?;
        let has_tokens = self.positions.len() > first_token;
        self.rows.push(self.positions.len(), has_tokens)?;
        let has_counts = self.counts.len() > first_count;
        self.count_lists.push(self.counts.len(), has_counts)?;
        self.end_ids()?;
        self.spell(has_tokens)
    }

    /// Ends the ids of the row: those that follow are left out. If an id is missing where one would
    /// follow, all of them stay in the rest.
    fn end_ids(&mut self) -> Result<(), Declined> {
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
                self.positions.keep_ids(self.plan.token.id)?;
                self.alternatives.keep_ids(self.plan.alternative.id)
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
                self.corrections
                    .push(i32::try_from(correction).map_err(|_| Declined)?);
            }
        }
        positions.clear();
        alternatives.clear();
        self.correction_lists
            .push(self.corrections.len(), is_corrected)
    }

    #[inline]
    fn end_element(&mut self, node: &Node) -> Result<(), Declined> {
        for &column in &node.scope {
            self.columns[column].end_element()?;
        }
        Ok(())
    }

    /// Moves what is in a message to the columns, and appends the rest of it to `out`.
    ///
    /// `made` has the numbers of its texts that tokens make.
    fn walk(
        &mut self,
        node: &'p Node,
        data: &[u8],
        made: &[u32],
        out: &mut Vec<u8>,
    ) -> Result<(), Declined> {
        let plan = self.plan;
        let texts = made_texts(plan, node, data)?;
        let mut seen = 0u64;
        let mut last = 0;
        let mut counts = [0usize; 32];
        let mut fields = Fields::new(data);
        let mut start = 0;
        while let Some((number, value)) = fields.next()? {
            let end = fields.at;
            let whole = &data[start..end];
            start = end;
            match node.action(number) {
                Action::Keep => out.extend_from_slice(whole),
                Action::Leaf(index) => {
                    let leaf = &node.leaves[index as usize];
                    if made.contains(&number) {
                        // It stays, which means that it is made of tokens.
                        put_varint(out, u64::from(number << 3 | LENGTH_DELIMITED));
                        out.push(0);
                        continue;
                    }
                    let column = &plan.columns[leaf.column];
                    if seen & 1 << index != 0 && !column.kind.is_many() {
                        return Err(Declined);
                    }
                    seen |= 1 << index;
                    if !self.leaf(leaf, value)? {
                        out.extend_from_slice(whole);
                    }
                }
                Action::Part(index) => {
                    let part = &node.parts[index as usize];
                    let Value::Bytes(bytes) = value else {
                        return Err(Declined);
                    };
                    let bit = 1 << (32 + index);
                    if number < last || !part.is_list && seen & bit != 0 {
                        return Err(Declined);
                    }
                    last = number;
                    seen |= bit;
                    let below = &plan.nodes[part.node];
                    let place = open(out, number);
                    if part.is_list {
                        self.walk(below, bytes, &[], out)?;
                        self.end_element(below)?;
                    } else {
                        let names: Vec<u32> = texts
                            .iter()
                            .filter(|(holder, _)| *holder == number)
                            .map(|(_, text)| *text)
                            .collect();
                        self.walk(below, bytes, &names, out)?;
                    }
                    close(out, place);
                }
                Action::Tokens(index) => {
                    let Value::Bytes(bytes) = value else {
                        return Err(Declined);
                    };
                    if number < last {
                        return Err(Declined);
                    }
                    last = number;
                    counts[index as usize] += 1;
                    if self.keeps_tokens {
                        self.token(bytes)?;
                    }
                }
            }
        }
        for (index, leaf) in node.leaves.iter().enumerate() {
            let column = &plan.columns[leaf.column];
            if column.kind.is_many() && seen & 1 << index != 0 {
                self.end_many(leaf)?;
            } else if leaf.implicit && seen & 1 << index == 0 {
                self.zero(leaf)?;
            }
        }
        if self.keeps_tokens {
            for count in counts.iter().take(node.tokens.len()) {
                self.counts
                    .push(i32::try_from(*count).map_err(|_| Declined)?);
            }
        }
        Ok(())
    }

    /// Moves a value to its column; false if it stays in the message.
    fn leaf(&mut self, leaf: &Leaf, value: Value) -> Result<bool, Declined> {
        let plan = &self.plan.columns[leaf.column];
        let column = &mut self.columns[leaf.column];
        match (&mut column.data, plan.kind, value) {
            (Data::Bits(bits), _, Value::Varint(value)) => bits.push(value != 0),
            (Data::Int32(values), Kind::Int32, Value::Varint(value)) => values.push(value as i32),
            (Data::Int32(values), Kind::Word, Value::Varint(value)) => {
                let word = plan.words.iter().position(|&word| word == value as i32);
                let Some(word) = word else { return Ok(false) };
                values.push(word as i32);
            }
            (Data::Int64(values), _, Value::Varint(value)) => values.push(value as i64),
            (Data::Double(values), _, Value::Fixed64(bits)) => {
                let value = f64::from_bits(bits);
                if value.is_nan() {
                    return Ok(false);
                }
                values.push(value);
            }
            (Data::Strings(values), _, Value::Bytes(text)) => {
                simdutf8::basic::from_utf8(text).map_err(|_| Declined)?;
                values.push(text)?;
            }
            (Data::Integers(_, values), _, Value::Bytes(packed)) => {
                let mut numbers = Fields::new(packed);
                while numbers.at < packed.len() {
                    values.push(numbers.varint()? as i64);
                }
                return Ok(true); // filled at the end of the message
            }
            (Data::Integers(_, values), _, Value::Varint(value)) => {
                values.push(value as i64);
                return Ok(true);
            }
            (Data::Map(_, keys, values), _, Value::Bytes(entry)) => {
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
                keys.push(parts[0].unwrap_or_default())?;
                values.push(parts[1].unwrap_or_default())?;
                return Ok(true);
            }
            _ => return Err(Declined),
        }
        column.fill()?;
        Ok(true)
    }

    /// Ends a list of numbers or a map.
    fn end_many(&mut self, leaf: &Leaf) -> Result<(), Declined> {
        let column = &mut self.columns[leaf.column];
        match &mut column.data {
            Data::Integers(lists, values) if values.len() == lists.start() => return Ok(()),
            Data::Integers(lists, values) => lists.push(values.len(), true)?,
            Data::Map(lists, keys, _) => lists.push(keys.count(), true)?,
            _ => return Err(Declined),
        }
        column.fill()
    }

    /// Gives an unset field without presence its zero.
    fn zero(&mut self, leaf: &Leaf) -> Result<(), Declined> {
        let column = &mut self.columns[leaf.column];
        match &mut column.data {
            Data::Bits(bits) => bits.push(false),
            Data::Int32(values) => values.push(0),
            Data::Int64(values) => values.push(0),
            Data::Double(values) => values.push(0.0),
            Data::Strings(values) => values.end()?,
            Data::Integers(..) | Data::Map(..) => return Err(Declined),
        }
        column.fill()
    }

    fn token(&mut self, data: &[u8]) -> Result<(), Declined> {
        let plan = self.plan;
        let mut alternatives = Vec::with_capacity(24);
        let token = read_token(&plan.token, data, |bytes| {
            alternatives.push(read_token(&plan.alternative, bytes, |_| Err(Declined))?);
            Ok(())
        })?;
        let rank = alternatives.iter().position(|other| token.is_same(other));
        let rank = rank.filter(|_| plan.repeats);
        let rank = rank.and_then(|rank| i16::try_from(rank).ok());
        self.positions.push(&token, &mut self.numbers.0)?;
        self.rank_validity.push(rank.is_some());
        self.ranks.push(rank.unwrap_or_default());
        for (index, alternative) in alternatives.iter().enumerate() {
            if rank.is_none_or(|rank| rank as usize != index) {
                self.alternatives.push(alternative, &mut self.numbers.1)?;
            }
        }
        let end = self.alternatives.len();
        self.lists.push(end, end > self.lists.start())
    }

    fn finish(self) -> Buffers {
        let mut out = Buffers::default();
        for column in self.columns {
            column.finish(&mut out);
        }
        self.rows.finish(&mut out);
        self.positions.finish(&mut out);
        self.rank_validity.finish(&mut out);
        out.push_numbers(self.ranks.iter().map(|rank| rank.to_le_bytes()));
        self.lists.finish(&mut out);
        self.alternatives.finish(&mut out);
        self.count_lists.finish(&mut out);
        out.0.push(None);
        out.push_numbers(self.counts.iter().map(|count| count.to_le_bytes()));
        self.decimal_validity.finish(&mut out);
        self.decimal.finish_bits(&mut out);
        self.correction_lists.finish(&mut out);
        out.0.push(None);
        out.push_numbers(self.corrections.iter().map(|value| value.to_le_bytes()));
        out.0.push(None);
        self.record.finish(&mut out);
        out
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

/// The texts of a message that are what its tokens say one after the other: the fields of their
/// holders, and their own.
fn made_texts(plan: &Plan, node: &Node, data: &[u8]) -> Result<Vec<(u32, u32)>, Declined> {
    let mut made = Vec::new();
    if node.texts.is_empty() {
        return Ok(made);
    }
    for rule in &node.texts {
        let (mut holder, mut tokens_holder): (Option<&[u8]>, Option<&[u8]>) = (None, None);
        let mut fields = Fields::new(data);
        while let Some((number, value)) = fields.next()? {
            let Value::Bytes(bytes) = value else { continue };
            if number == rule.holder {
                holder = Some(bytes);
            } else if number == rule.tokens_holder {
                tokens_holder = Some(bytes);
            }
        }
        let (Some(holder), Some(tokens_holder)) = (holder, tokens_holder) else {
            continue;
        };
        let mut text: &[u8] = &[];
        let mut fields = Fields::new(holder);
        while let Some((number, value)) = fields.next()? {
            if let (true, Value::Bytes(bytes)) = (number == rule.text, value) {
                text = bytes;
            }
        }
        if !text.is_empty() && is_made_of(plan, text, tokens_holder, rule.tokens)? {
            made.push((rule.holder, rule.text));
        }
    }
    Ok(made)
}

fn is_made_of(plan: &Plan, text: &[u8], holder: &[u8], list: u32) -> Result<bool, Declined> {
    let mut rest = text;
    let mut fields = Fields::new(holder);
    while let Some((number, value)) = fields.next()? {
        let Value::Bytes(token) = value else { continue };
        if number != list {
            continue;
        }
        let (mut said, mut data): (&[u8], Option<&[u8]>) = (&[], None);
        let mut inner = Fields::new(token);
        while let Some((number, value)) = inner.next()? {
            match value {
                Value::Bytes(bytes) if number == plan.token.token => said = bytes,
                Value::Bytes(bytes) if number == plan.token.data => data = Some(bytes),
                _ => {}
            }
        }
        match rest.strip_prefix(data.unwrap_or(said)) {
            Some(more) => rest = more,
            None => return Ok(false),
        }
    }
    Ok(rest.is_empty())
}
