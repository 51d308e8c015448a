//! Columns to records in binary form.

use std::ops::Range;

use crate::columns::{Bits, KnownIds, Ranges, Source, Texts, number};
use crate::plan::{Action, ColumnPlan, Insert, Kind, Leaf, Node, Plan, TokenFields, decimal};
use crate::schema::Schema;
use crate::wire::{FIXED64, Fields, VARINT, Value};
use crate::wire::{close, open, put_bytes, put_tag, put_varint};
use crate::{Declined, Nan};

/// Assembles records from the buffers of their columns, in the order of the schema.
///
/// `emit` gets each. Declined, the columns are not what shredding gives.
pub fn assemble(
    plan: &Plan,
    rows: usize,
    buffers: &[Option<&[u8]>],
    mut emit: impl FnMut(&[u8]),
) -> Result<(), Declined> {
    let mut source = Source::new(buffers);
    let columns: Vec<_> = plan
        .columns
        .iter()
        .map(|column| Column::new(column, &mut source))
        .collect::<Result<_, _>>()?;
    let tokens = TokenColumns::new(&mut source)?;
    let mut assembler = Assembler {
        plan,
        columns,
        tokens,
        row: 0,
        elements: vec![0; plan.nodes.len()],
        position: 0,
        position_end: 0,
        count: 0,
        count_end: 0,
        numbers: Numbers::default(),
        ids: KnownIds::default(),
        scratch: Vec::new(),
    };
    let mut out = Vec::new();
    for row in 0..rows {
        out.clear();
        assembler.record(row, &mut out)?;
        emit(&out);
    }
    Ok(())
}

/// Assembles records, and appends the JSON of the message in this field of each that has it, each
/// before a newline.
pub fn assemble_lines(
    plan: &Plan,
    schema: &Schema,
    message_type: usize,
    field: u32,
    rows: usize,
    buffers: &[Option<&[u8]>],
    out: &mut Vec<u8>,
) -> Result<(), Declined> {
    let mut written = Ok(());
    assemble(plan, rows, buffers, |record| {
        if written.is_err() {
            return;
        }
        written = message_of(record, field).and_then(|message| {
            if let Some(message) = message {
                schema.binary_to_json(message, message_type, Nan::Refused, out)?;
                out.push(b'\n');
            }
            Ok(())
        });
    })?;
    written
}

/// The message in a field of a record, if the field occurs once.
fn message_of(record: &[u8], field: u32) -> Result<Option<&[u8]>, Declined> {
    let mut found = None;
    let mut fields = Fields::new(record);
    while let Some((number, value)) = fields.next()? {
        if let (true, Value::Bytes(message)) = (number == field, value)
            && found.replace(message).is_some()
        {
            return Err(Declined);
        }
    }
    Ok(found)
}

struct Column<'a> {
    kind: Kind,
    /// Of a list: where the values of each row are.
    lists: Option<Ranges<'a>>,
    validity: Bits<'a>,
    data: Data<'a>,
}

enum Data<'a> {
    Bits(Bits<'a>),
    Numbers(&'a [u8]),
    Strings(Texts<'a>),
    Integers(Ranges<'a>, &'a [u8]),
    Map(Ranges<'a>, Texts<'a>, Texts<'a>),
}

impl<'a> Column<'a> {
    fn new(plan: &ColumnPlan, source: &mut Source<'a>) -> Result<Self, Declined> {
        let lists = plan.is_list.then(|| source.lists()).transpose()?;
        let mut validity = Bits::default();
        let data = match plan.kind {
            Kind::Bool => {
                validity = source.bits()?;
                Data::Bits(source.bits()?)
            }
            Kind::Int32 | Kind::Int64 | Kind::Double | Kind::Word => {
                validity = source.bits()?;
                Data::Numbers(source.required()?)
            }
            Kind::String => Data::Strings(source.texts()?),
            Kind::Int32List | Kind::Int64List => {
                let ranges = source.lists()?;
                source.optional()?;
                Data::Integers(ranges, source.required()?)
            }
            Kind::Map => Data::Map(source.lists()?, source.texts()?, source.texts()?),
        };
        Ok(Self {
            kind: plan.kind,
            lists,
            validity,
            data,
        })
    }
}

struct PlainTokens<'a> {
    token: Texts<'a>,
    logprob_validity: Bits<'a>,
    logprob: &'a [u8],
    data: Texts<'a>,
    id_validity: Bits<'a>,
    id: &'a [u8],
    rest: Texts<'a>,
}

impl<'a> PlainTokens<'a> {
    fn new(source: &mut Source<'a>) -> Result<Self, Declined> {
        Ok(Self {
            token: source.texts()?,
            logprob_validity: source.bits()?,
            logprob: source.required()?,
            data: source.texts()?,
            id_validity: source.bits()?,
            id: source.required()?,
            rest: source.texts()?,
        })
    }
}

struct TokenColumns<'a> {
    rows: Ranges<'a>,
    positions: PlainTokens<'a>,
    rank_validity: Bits<'a>,
    ranks: &'a [u8],
    lists: Ranges<'a>,
    alternatives: PlainTokens<'a>,
    count_lists: Ranges<'a>,
    counts: &'a [u8],
    decimal_validity: Bits<'a>,
    decimal: Bits<'a>,
    correction_lists: Ranges<'a>,
    corrections: &'a [u8],
    record: Texts<'a>,
}

impl<'a> TokenColumns<'a> {
    fn new(source: &mut Source<'a>) -> Result<Self, Declined> {
        let rows = source.lists()?;
        let positions = PlainTokens::new(source)?;
        let rank_validity = source.bits()?;
        let ranks = source.required()?;
        let lists = source.lists()?;
        let alternatives = PlainTokens::new(source)?;
        let count_lists = source.lists()?;
        source.optional()?;
        let counts = source.required()?;
        let decimal_validity = source.bits()?;
        let decimal = source.bits()?;
        let correction_lists = source.lists()?;
        source.optional()?;
        let corrections = source.required()?;
        Ok(Self {
            rows,
            positions,
            rank_validity,
            ranks,
            lists,
            alternatives,
            count_lists,
            counts,
            decimal_validity,
            decimal,
            correction_lists,
            corrections,
            record: source.texts()?,
        })
    }
}

/// How the log probabilities of a row are spelled.
#[derive(Default)]
struct Numbers {
    is_decimal: bool,
    /// Where the corrections are, if there are any: of the tokens, and of their alternatives.
    corrections: Option<(Range<usize>, Range<usize>)>,
}

struct Assembler<'a> {
    plan: &'a Plan,
    columns: Vec<Column<'a>>,
    tokens: TokenColumns<'a>,
    row: usize,
    /// How many elements of the list of each node there were in this row.
    elements: Vec<usize>,
    position: usize,
    position_end: usize,
    count: usize,
    count_end: usize,
    numbers: Numbers,
    ids: KnownIds<'a>,
    scratch: Vec<u8>,
}

impl<'a> Assembler<'a> {
    fn record(&mut self, row: usize, out: &mut Vec<u8>) -> Result<(), Declined> {
        self.row = row;
        self.elements.fill(0);
        self.ids.clear();
        let positions = self.tokens.rows.get(row)?.unwrap_or(0..0);
        let counts = self.tokens.count_lists.get(row)?.unwrap_or(0..0);
        (self.position, self.position_end) = (positions.start, positions.end);
        (self.count, self.count_end) = (counts.start, counts.end);
        self.numbers = self.numbers(positions)?;
        let rest = self.tokens.record.get(row)?.ok_or(Declined)?;
        let plan = self.plan;
        self.message(&plan.nodes[0], rest, None, &[], out)?;
        let is_all = self.position == self.position_end && self.count == self.count_end;
        is_all.then_some(()).ok_or(Declined)
    }

    fn numbers(&self, positions: Range<usize>) -> Result<Numbers, Declined> {
        let tokens = &self.tokens;
        let is_said = tokens.decimal_validity.is_valid(self.row)?;
        let corrections = match tokens.correction_lists.get(self.row)? {
            None => None,
            Some(all) => {
                let mut own = 0;
                for position in positions {
                    own += usize::from(tokens.positions.logprob_validity.is_valid(position)?);
                }
                let middle = all.start + own;
                Some((all.start..middle, middle..all.end))
            }
        };
        Ok(Numbers {
            is_decimal: is_said && tokens.decimal.bit(self.row)?,
            corrections,
        })
    }

    /// Appends a message: what was left of it, and what is in the columns.
    ///
    /// `at` is the number of the element that it is in; `made` are its texts that tokens make.
    fn message(
        &mut self,
        node: &'a Node,
        rest: &[u8],
        at: Option<usize>,
        made: &[(u32, Vec<u8>)],
        out: &mut Vec<u8>,
    ) -> Result<(), Declined> {
        let plan = self.plan;
        let mut inserts = node.inserts.iter().peekable();
        let texts = self.made_texts(node, rest)?;
        let mut fields = Fields::new(rest);
        let mut start = 0;
        while let Some((number, value)) = fields.next()? {
            let whole = &rest[start..fields.at];
            start = fields.at;
            while let Some(&(_, insert)) = inserts.next_if(|(place, _)| *place <= number) {
                self.insert(node, insert, at, out)?;
            }
            match (node.action(number), value) {
                (Action::Part(index), Value::Bytes(bytes)) => {
                    let part = &node.parts[index as usize];
                    let below = &plan.nodes[part.node];
                    let place = open(out, number);
                    if part.is_list {
                        let element = self.elements[part.node];
                        self.elements[part.node] += 1;
                        self.message(below, bytes, Some(element), &[], out)?;
                    } else {
                        let of_part = texts.iter().filter(|(holder, ..)| *holder == number);
                        let of_part = of_part.map(|(_, text, made)| (*text, made.clone()));
                        let of_part: Vec<_> = of_part.collect();
                        self.message(below, bytes, at, &of_part, out)?;
                    }
                    close(out, place);
                }
                (Action::Leaf(_), Value::Bytes([])) => {
                    match made.iter().find(|(text, _)| *text == number) {
                        Some((_, text)) => put_bytes(out, number, text),
                        None => out.extend_from_slice(whole),
                    }
                }
                (Action::Part(_) | Action::Tokens(_), _) => return Err(Declined),
                _ => out.extend_from_slice(whole),
            }
        }
        for &(_, insert) in inserts {
            self.insert(node, insert, at, out)?;
        }
        Ok(())
    }

    fn insert(
        &mut self,
        node: &'a Node,
        insert: Insert,
        at: Option<usize>,
        out: &mut Vec<u8>,
    ) -> Result<(), Declined> {
        match insert {
            Insert::Leaf(index) => self.leaf(&node.leaves[index], at, out),
            Insert::Tokens(field) => self.list(field, out),
        }
    }

    fn leaf(&self, leaf: &Leaf, at: Option<usize>, out: &mut Vec<u8>) -> Result<(), Declined> {
        let column = &self.columns[leaf.column];
        let index = match (&column.lists, at) {
            (None, _) => self.row,
            (Some(lists), Some(at)) => match lists.get(self.row)? {
                None => return Ok(()),
                Some(range) if at < range.len() => range.start + at,
                Some(_) => return Err(Declined),
            },
            (Some(_), None) => return Err(Declined),
        };
        let number_of = leaf.number;
        let mut put_number = |value: u64| {
            if !(leaf.implicit && value == 0) {
                put_tag(out, number_of, VARINT);
                put_varint(out, value);
            }
        };
        match &column.data {
            Data::Strings(texts) => match texts.get(index)? {
                Some([]) if leaf.implicit => {}
                Some(text) => put_bytes(out, number_of, text),
                None => {}
            },
            _ if !column.validity.is_valid(index)? => {}
            Data::Bits(bits) => put_number(u64::from(bits.bit(index)?)),
            Data::Numbers(numbers) => match column.kind {
                Kind::Int32 => {
                    put_number(i64::from(i32::from_le_bytes(number(numbers, index)?)) as u64);
                }
                Kind::Word => {
                    let place = i32::from_le_bytes(number(numbers, index)?);
                    let words = &self.plan.columns[leaf.column].words;
                    let word = usize::try_from(place)
                        .ok()
                        .and_then(|place| words.get(place));
                    put_number(i64::from(*word.ok_or(Declined)?) as u64);
                }
                Kind::Int64 => put_number(u64::from_le_bytes(number(numbers, index)?)),
                _ => {
                    let bits = u64::from_le_bytes(number(numbers, index)?);
                    if !(leaf.implicit && bits == 0) {
                        put_tag(out, number_of, FIXED64);
                        out.extend_from_slice(&bits.to_le_bytes());
                    }
                }
            },
            Data::Integers(ranges, numbers) => {
                if let Some(range) = ranges.get(index)? {
                    let place = open(out, number_of);
                    for each in range {
                        let value = if column.kind == Kind::Int32List {
                            i64::from(i32::from_le_bytes(number(numbers, each)?))
                        } else {
                            i64::from_le_bytes(number(numbers, each)?)
                        };
                        put_varint(out, value as u64);
                    }
                    close(out, place);
                }
            }
            Data::Map(ranges, keys, values) => {
                let range = ranges.get(index)?.unwrap_or(0..0);
                let mut entries = Vec::with_capacity(range.len());
                for each in range {
                    let (key, value) = (keys.get(each)?, values.get(each)?);
                    entries.push((key.ok_or(Declined)?, value.ok_or(Declined)?));
                }
                entries.sort_by_key(|entry| entry.0);
                for (key, value) in entries {
                    let place = open(out, number_of);
                    put_bytes(out, 1, key);
                    put_bytes(out, 2, value);
                    close(out, place);
                }
            }
        }
        Ok(())
    }

    /// The texts that tokens make: the fields of their holders, their own, and what they say.
    fn made_texts(&self, node: &Node, rest: &[u8]) -> Result<Vec<(u32, u32, Vec<u8>)>, Declined> {
        let mut made = Vec::new();
        for rule in &node.texts {
            let mut is_made = false;
            let mut fields = Fields::new(rest);
            while let Some((number, value)) = fields.next()? {
                if let (true, Value::Bytes(holder)) = (number == rule.holder, value) {
                    let mut inner = Fields::new(holder);
                    while let Some((number, _)) = inner.next()? {
                        is_made |= number == rule.text;
                    }
                }
            }
            if is_made {
                made.push((
                    rule.holder,
                    rule.text,
                    self.joined(node, rule.tokens_holder, rule.tokens)?,
                ));
            }
        }
        Ok(made)
    }

    /// What the tokens of a list say one after the other; the lists come next.
    fn joined(&self, node: &Node, holder: u32, list: u32) -> Result<Vec<u8>, Declined> {
        let Action::Part(part) = node.action(holder) else {
            return Err(Declined);
        };
        let lists = &self.plan.nodes[node.parts[part as usize].node].tokens;
        let (mut start, mut end) = (self.position, self.position);
        for (index, &each) in lists.iter().enumerate() {
            start = end;
            end = start
                .checked_add(self.count(self.count + index)?)
                .ok_or(Declined)?;
            if each == list {
                break;
            }
        }
        if end > self.position_end {
            return Err(Declined);
        }
        let mut text = Vec::new();
        let positions = &self.tokens.positions;
        for position in start..end {
            let said = match positions.data.get(position)? {
                Some(data) => data,
                None => positions.token.get(position)?.ok_or(Declined)?,
            };
            text.extend_from_slice(said);
        }
        simdutf8::basic::from_utf8(&text).map_err(|_| Declined)?;
        Ok(text)
    }

    fn count(&self, index: usize) -> Result<usize, Declined> {
        if index >= self.count_end {
            return Err(Declined);
        }
        let count = i32::from_le_bytes(number(self.tokens.counts, index)?);
        usize::try_from(count).map_err(|_| Declined)
    }

    /// Appends the next list of tokens.
    fn list(&mut self, field: u32, out: &mut Vec<u8>) -> Result<(), Declined> {
        let count = self.count(self.count)?;
        self.count += 1;
        if count > self.position_end - self.position {
            return Err(Declined);
        }
        for _ in 0..count {
            let place = open(out, field);
            self.token(self.position, out)?;
            close(out, place);
            self.position += 1;
        }
        Ok(())
    }

    fn token(&mut self, position: usize, out: &mut Vec<u8>) -> Result<(), Declined> {
        let plan = self.plan;
        let of_token = (self.number(true, position)?, self.id(true, position)?);
        let tokens = &self.tokens;
        let rank = if tokens.rank_validity.is_valid(position)? {
            let rank = i16::from_le_bytes(number(tokens.ranks, position)?);
            Some(usize::try_from(rank).map_err(|_| Declined)?)
        } else {
            None
        };
        let range = tokens.lists.get(position)?.unwrap_or(0..0);
        if rank.is_some_and(|rank| rank > range.len()) {
            return Err(Declined);
        }
        let mut list = std::mem::take(&mut self.scratch);
        list.clear();
        // With a rank there is one more alternative than the column has: the token itself.
        let mut others = range.clone();
        for place in 0..range.len() + usize::from(rank.is_some()) {
            let is_own = rank == Some(place);
            let (columns, index, (logprob, id)) = if is_own {
                (&self.tokens.positions, position, of_token)
            } else {
                let each = others.next().ok_or(Declined)?;
                let of_other = (self.number(false, each)?, self.id(false, each)?);
                (&self.tokens.alternatives, each, of_other)
            };
            let start = open(&mut list, plan.token.list);
            let fields = &plan.alternative;
            put_token(fields, columns, index, logprob, id, &[], &mut list)?;
            close(&mut list, start);
        }
        let put = put_token(
            &plan.token,
            &self.tokens.positions,
            position,
            of_token.0,
            of_token.1,
            &list,
            out,
        );
        self.scratch = list;
        put
    }

    /// The id of a token or an alternative, said or followed; each is asked for once, in order.
    #[inline]
    fn id(&mut self, is_own: bool, index: usize) -> Result<Option<i32>, Declined> {
        let columns = if is_own {
            &self.tokens.positions
        } else {
            &self.tokens.alternatives
        };
        let is_said = columns.id_validity.is_valid(index)?;
        if !is_said && self.ids.is_empty() {
            return Ok(None);
        }
        let text = columns.token.get(index)?.ok_or(Declined)?;
        let key = (text, columns.data.get(index)?);
        if !is_said {
            return Ok(self.ids.get(&key).copied());
        }
        let id = i32::from_le_bytes(number(columns.id, index)?);
        self.ids.insert(key, id);
        Ok(Some(id))
    }

    /// The log probability of a token or an alternative; each is asked for once, in order.
    #[inline]
    fn number(&mut self, is_own: bool, index: usize) -> Result<Option<f64>, Declined> {
        let columns = if is_own {
            &self.tokens.positions
        } else {
            &self.tokens.alternatives
        };
        if !columns.logprob_validity.is_valid(index)? {
            return Ok(None);
        }
        let single = f32::from_le_bytes(number(columns.logprob, index)?);
        let mut value = if self.numbers.is_decimal {
            if !single.is_finite() {
                return Err(Declined);
            }
            decimal(single)
        } else {
            f64::from(single)
        };
        if let Some((own, others)) = &mut self.numbers.corrections {
            let corrections = if is_own { own } else { others };
            let place = corrections.next().ok_or(Declined)?;
            let correction = i32::from_le_bytes(number(self.tokens.corrections, place)?);
            value = f64::from_bits(value.to_bits().wrapping_add(i64::from(correction) as u64));
        }
        Ok(Some(value))
    }
}

/// Appends the fields of a token; `list` has those of its alternatives.
#[inline]
fn put_token(
    fields: &TokenFields,
    columns: &PlainTokens,
    index: usize,
    logprob: Option<f64>,
    id: Option<i32>,
    list: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), Declined> {
    let token = columns.token.get(index)?.ok_or(Declined)?;
    let data = columns.data.get(index)?;
    let start = out.len();
    if !token.is_empty() {
        put_bytes(out, fields.token, token);
    }
    if let Some(bits) = logprob.map(f64::to_bits).filter(|&bits| bits != 0) {
        put_tag(out, fields.logprob, FIXED64);
        out.extend_from_slice(&bits.to_le_bytes());
    }
    if let Some(data) = data {
        put_bytes(out, fields.data, data);
    }
    out.extend_from_slice(list);
    if let Some(id) = id {
        put_tag(out, fields.id, VARINT);
        put_varint(out, i64::from(id) as u64);
    }
    if let Some(rest) = columns.rest.get(index)? {
        out.extend_from_slice(rest);
        sort_fields(out, start)?;
    }
    Ok(())
}

/// Puts the fields of a message that begins at a place in the order of their numbers.
fn sort_fields(out: &mut Vec<u8>, start: usize) -> Result<(), Declined> {
    let data = out.split_off(start);
    let mut whole: Vec<(u32, &[u8])> = Vec::new();
    let mut fields = Fields::new(&data);
    let mut from = 0;
    while let Some((number, _)) = fields.next()? {
        whole.push((number, &data[from..fields.at]));
        from = fields.at;
    }
    whole.sort_by_key(|field| field.0);
    for (_, field) in whole {
        out.extend_from_slice(field);
    }
    Ok(())
}
