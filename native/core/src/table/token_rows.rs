//! The columns of tokens to tokens in binary form.

use std::ops::Range;

use crate::Declined;
use crate::table::plan::{Plan, TokenFields};
use crate::table::source::{Bits, KnownIds, Numbers, Ranges, Source, Texts, number};
use crate::table::spelling::decimal;
use crate::wire::{FIXED64, Fields, VARINT, close, open, put_bytes, put_tag, put_varint};

struct PlainTokens<'a> {
    token: Texts<'a>,
    logprob: Numbers<'a>,
    data: Texts<'a>,
    id: Numbers<'a>,
    rest: Texts<'a>,
}

impl<'a> PlainTokens<'a> {
    fn new(source: &mut Source<'a>) -> Result<Self, Declined> {
        Ok(Self {
            token: source.texts()?,
            logprob: source.numbers()?,
            data: source.texts()?,
            id: source.numbers()?,
            rest: source.texts()?,
        })
    }
}

struct TokenColumns<'a> {
    rows: Ranges<'a>,
    positions: PlainTokens<'a>,
    ranks: Numbers<'a>,
    lists: Ranges<'a>,
    alternatives: PlainTokens<'a>,
    count_lists: Ranges<'a>,
    counts: &'a [u8],
    /// Which rows have the bit, and the bits.
    decimal: (Bits<'a>, Option<Bits<'a>>),
    correction_lists: Ranges<'a>,
    corrections: &'a [u8],
    record: Texts<'a>,
}

impl<'a> TokenColumns<'a> {
    fn new(source: &mut Source<'a>) -> Result<Self, Declined> {
        let rows = source.lists()?;
        for _ in 0..4 {
            source.optional()?; // copies: of which choice and source each token is
        }
        let positions = PlainTokens::new(source)?;
        let ranks = source.numbers()?;
        let lists = source.lists()?;
        let alternatives = PlainTokens::new(source)?;
        let count_lists = source.lists()?;
        source.optional()?;
        let counts = source.required()?;
        let decimal = (source.bits()?, source.optional()?.map(Bits::new));
        let correction_lists = source.lists()?;
        source.optional()?;
        let corrections = source.required()?;
        Ok(Self {
            rows,
            positions,
            ranks,
            lists,
            alternatives,
            count_lists,
            counts,
            decimal,
            correction_lists,
            corrections,
            record: source.texts()?,
        })
    }
}

impl TokenColumns<'_> {
    fn is_decimal(&self, row: usize) -> Result<bool, Declined> {
        match &self.decimal {
            (validity, Some(bits)) => Ok(validity.is_valid(row)? && bits.is_valid(row)?),
            (_, None) => Ok(false),
        }
    }
}

/// How the log probabilities of a row are spelled.
#[derive(Default)]
struct Spelling {
    is_decimal: bool,
    /// Where the corrections are, if there are any: of the tokens, and of their alternatives.
    corrections: Option<(Range<usize>, Range<usize>)>,
}

/// The columns of tokens, and the place in each that the next value comes from.
pub struct TokenRows<'a> {
    tokens: TokenColumns<'a>,
    row: usize,
    /// Whether the row has lists of tokens: otherwise they are where they were.
    is_given: bool,
    position: usize,
    position_end: usize,
    count: usize,
    count_end: usize,
    spelling: Spelling,
    ids: KnownIds<'a>,
    scratch: Vec<u8>,
}

impl<'a> TokenRows<'a> {
    pub fn new(source: &mut Source<'a>) -> Result<Self, Declined> {
        Ok(Self {
            tokens: TokenColumns::new(source)?,
            row: 0,
            is_given: false,
            position: 0,
            position_end: 0,
            count: 0,
            count_end: 0,
            spelling: Spelling::default(),
            ids: KnownIds::default(),
            scratch: Vec::new(),
        })
    }

    /// What was left of the record of a row.
    pub fn rest(&self, row: usize) -> Result<&'a [u8], Declined> {
        self.tokens.record.get(row)?.ok_or(Declined)
    }

    /// Goes to a row.
    pub fn begin(&mut self, row: usize) -> Result<(), Declined> {
        self.row = row;
        self.is_given = false;
        (self.position, self.position_end) = (0, 0);
        (self.count, self.count_end) = (0, 0);
        let tokens = &self.tokens;
        if let (Some(counts), Some(positions)) =
            (tokens.count_lists.get(row)?, tokens.rows.get(row)?)
        {
            self.is_given = true;
            self.ids.clear();
            (self.position, self.position_end) = (positions.start, positions.end);
            (self.count, self.count_end) = (counts.start, counts.end);
            self.spelling = self.spelling(positions)?;
        }
        Ok(())
    }

    /// Whether the record took all tokens and corrections of the row.
    pub fn is_done(&self) -> bool {
        let corrections = self.spelling.corrections.as_ref();
        let has_more =
            corrections.is_some_and(|(own, others)| !own.is_empty() || !others.is_empty());
        self.position == self.position_end && self.count == self.count_end && !has_more
    }

    fn spelling(&self, positions: Range<usize>) -> Result<Spelling, Declined> {
        let tokens = &self.tokens;
        let corrections = match tokens.correction_lists.get(self.row)? {
            None => None,
            Some(all) => {
                let mut own = 0;
                for position in positions {
                    own += usize::from(tokens.positions.logprob.is_valid(position)?);
                }
                let middle = all.start + own;
                Some((all.start..middle, middle..all.end))
            }
        };
        Ok(Spelling {
            is_decimal: tokens.is_decimal(self.row)?,
            corrections,
        })
    }

    fn count(&self, index: usize) -> Result<usize, Declined> {
        if index >= self.count_end {
            return Err(Declined);
        }
        let count = i32::from_le_bytes(number(self.tokens.counts, index)?);
        usize::try_from(count).map_err(|_| Declined)
    }

    /// Goes past the next list of tokens.
    pub fn skip_list(&mut self, plan: &Plan) -> Result<(), Declined> {
        self.list(plan, plan.token.list, &mut Vec::new()) // ids and corrections go on from it
    }

    /// Appends the next list of tokens.
    pub fn list(&mut self, plan: &Plan, field: u32, out: &mut Vec<u8>) -> Result<(), Declined> {
        if !self.is_given {
            return Ok(());
        }
        let count = self.count(self.count)?;
        self.count += 1;
        if count > self.position_end - self.position {
            return Err(Declined);
        }
        for _ in 0..count {
            let place = open(out, field);
            self.token(plan, self.position, out)?;
            close(out, place);
            self.position += 1;
        }
        Ok(())
    }

    fn token(&mut self, plan: &Plan, position: usize, out: &mut Vec<u8>) -> Result<(), Declined> {
        let of_token = (self.number(true, position)?, self.id(true, position)?);
        let tokens = &self.tokens;
        let rank = tokens.ranks.get(position)?.map(i16::from_le_bytes);
        let rank = rank
            .map(usize::try_from)
            .transpose()
            .map_err(|_| Declined)?;
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
        let said = columns.id.get(index)?.map(i32::from_le_bytes);
        if said.is_none() && self.ids.is_empty() {
            return Ok(None);
        }
        let text = columns.token.get(index)?.ok_or(Declined)?;
        let key = (text, columns.data.get(index)?);
        match said {
            None => Ok(self.ids.get(&key).copied()),
            Some(id) => {
                self.ids.insert(key, id);
                Ok(said)
            }
        }
    }

    /// The log probability of a token or an alternative; each is asked for once, in order.
    #[inline]
    fn number(&mut self, is_own: bool, index: usize) -> Result<Option<f64>, Declined> {
        let columns = if is_own {
            &self.tokens.positions
        } else {
            &self.tokens.alternatives
        };
        let Some(single) = columns.logprob.get(index)? else {
            return Ok(None);
        };
        let single = f32::from_le_bytes(single);
        let mut value = if self.spelling.is_decimal {
            if !single.is_finite() {
                return Err(Declined);
            }
            decimal(single)
        } else {
            f64::from(single)
        };
        if let Some((own, others)) = &mut self.spelling.corrections {
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
