//! The values of columns, where a record takes them.

use std::ops::Range;

use crate::Declined;
use crate::table::plan::{ColumnPlan, Insert, Kind, Leaf, Plan};
use crate::table::source::{Bits, Ranges, Source, Texts, number};
use crate::table::token_rows::TokenRows;

/// A value of a column.
#[derive(Clone)]
pub enum Cell<'a> {
    /// The bits of a number, as in a varint or as in a fixed number of 64 bits.
    Bits(u64),
    Text(&'a [u8]),
    Int32s(&'a [u8], Range<usize>),
    Int64s(&'a [u8], Range<usize>),
    Texts(Texts<'a>, Range<usize>),
    Pairs(Texts<'a>, Texts<'a>, Range<usize>),
}

enum Data<'a> {
    /// All is null.
    Nulls,
    Bits(Bits<'a>),
    Numbers(&'a [u8]),
    Texts(Texts<'a>),
    Numbers32(Ranges<'a>, &'a [u8]),
    Numbers64(Ranges<'a>, &'a [u8]),
    Lists(Ranges<'a>, Texts<'a>),
    Pairs(Ranges<'a>, Texts<'a>, Texts<'a>),
    Structs(Ranges<'a>),
}

struct Column<'a> {
    kind: Kind,
    parent: usize,
    validity: Bits<'a>,
    data: Data<'a>,
}

impl<'a> Column<'a> {
    fn new(plan: &ColumnPlan, source: &mut Source<'a>) -> Result<Self, Declined> {
        let validity = source.bits()?;
        let first = source.optional()?;
        let lists = first.map(|offsets| Ranges::new(validity, offsets));
        let data = match plan.kind {
            Kind::Bool => first.map(|bits| Data::Bits(Bits::new(bits))),
            Kind::Int32 | Kind::Int64 | Kind::Double | Kind::Word => first.map(Data::Numbers),
            Kind::String => {
                let data = source.required()?;
                lists.map(|lists| Data::Texts(Texts::new(lists, data)))
            }
            Kind::Int32List => {
                let values = source.values()?;
                lists.map(|lists| Data::Numbers32(lists, values))
            }
            Kind::Int64List => {
                let values = source.values()?;
                lists.map(|lists| Data::Numbers64(lists, values))
            }
            Kind::StringList => {
                let texts = source.texts()?;
                lists.map(|lists| Data::Lists(lists, texts))
            }
            Kind::Pairs => {
                let (keys, values) = (source.texts()?, source.texts()?);
                lists.map(|lists| Data::Pairs(lists, keys, values))
            }
            Kind::List => lists.map(Data::Structs),
        };
        Ok(Self {
            kind: plan.kind,
            parent: plan.parent,
            validity,
            data: data.unwrap_or(Data::Nulls),
        })
    }
}

/// The place of the next struct of a list; None where the list is null.
type Structs = Option<Range<usize>>;

/// Where a list, or the table, has no element for a message.
const NOWHERE: usize = usize::MAX;

/// The columns, and the place in each that the next value comes from.
pub struct Rows<'a> {
    plan: &'a Plan,
    columns: Vec<Column<'a>>,
    pub tokens: TokenRows<'a>,
    /// The element of each list that is being read; behind them the row.
    at: Vec<usize>,
    structs: Vec<Structs>,
    /// The lists in the structs of each list; behind them those of the table.
    lists: Vec<Vec<usize>>,
    /// For each node, what is put into a message, if it has a value anywhere.
    inserts: Vec<Vec<(u32, Insert)>>,
}

impl<'a> Rows<'a> {
    pub fn new(plan: &'a Plan, buffers: &'a [Option<&'a [u8]>]) -> Result<Self, Declined> {
        let mut source = Source::new(buffers);
        let columns: Vec<_> = plan
            .columns
            .iter()
            .map(|column| Column::new(column, &mut source))
            .collect::<Result<_, _>>()?;
        let tokens = TokenRows::new(&mut source)?;
        let mut lists = vec![Vec::new(); columns.len() + 1];
        for (index, column) in columns.iter().enumerate() {
            if column.kind == Kind::List {
                lists[column.parent].push(index);
            }
        }
        let has_values = |leaf: &Leaf| !matches!(columns[leaf.column].data, Data::Nulls);
        let nodes = plan.nodes.iter().map(|node| {
            let inserts = node.inserts.iter().filter(|(_, insert)| match *insert {
                Insert::Leaf(index) => has_values(&node.leaves[index]),
                Insert::Tokens(_) => true,
            });
            inserts.copied().collect()
        });
        Ok(Self {
            plan,
            inserts: nodes.collect(),
            at: vec![NOWHERE; columns.len() + 1],
            structs: vec![None; columns.len()],
            lists,
            columns,
            tokens,
        })
    }

    /// Goes to a row. Gives what was left of its record.
    pub fn begin(&mut self, row: usize) -> Result<&'a [u8], Declined> {
        self.tokens.begin(row)?;
        self.enter(self.plan.root(), row)?;
        self.tokens.rest(row)
    }

    /// Goes to the next struct of a list.
    #[inline]
    pub fn next(&mut self, list: usize) -> Result<(), Declined> {
        let element = match &mut self.structs[list] {
            None => NOWHERE,
            Some(range) => range.next().ok_or(Declined)?,
        };
        self.enter(list, element)
    }

    #[inline]
    fn enter(&mut self, list: usize, element: usize) -> Result<(), Declined> {
        self.at[list] = element;
        for &inner in &self.lists[list] {
            self.structs[inner] = match &self.columns[inner].data {
                Data::Structs(ranges) if element != NOWHERE => ranges.get(element)?,
                _ => None,
            };
        }
        Ok(())
    }

    pub fn inserts(&self, node: usize) -> &[(u32, Insert)] {
        &self.inserts[node]
    }

    /// The value of a leaf in the message that was gone to; None if the field stays as it is.
    #[inline]
    pub fn cell(&self, leaf: &Leaf) -> Result<Option<Cell<'a>>, Declined> {
        let column = &self.columns[leaf.column];
        let at = self.at[column.parent];
        if at == NOWHERE {
            return Ok(None);
        }
        let cell = match &column.data {
            Data::Nulls | Data::Structs(_) => return Ok(None),
            Data::Texts(texts) => match texts.get(at)? {
                None => return Ok(None),
                Some([]) if leaf.implicit => return Ok(None),
                Some(text) => Cell::Text(text),
            },
            Data::Numbers(_) | Data::Bits(_) if !column.validity.is_valid(at)? => return Ok(None),
            Data::Numbers(numbers) => {
                let bits = match column.kind {
                    Kind::Int32 => i64::from(i32::from_le_bytes(number(numbers, at)?)) as u64,
                    Kind::Word => {
                        let place = i32::from_le_bytes(number(numbers, at)?);
                        if leaf.unset == Some(place) {
                            return Ok(None);
                        }
                        let words = &self.plan.columns[leaf.column].words;
                        let place = usize::try_from(place).map_err(|_| Declined)?;
                        i64::from(*words.get(place).ok_or(Declined)?) as u64
                    }
                    _ => u64::from_le_bytes(number(numbers, at)?),
                };
                if leaf.implicit && bits == 0 {
                    return Ok(None);
                }
                Cell::Bits(bits)
            }
            Data::Bits(bits) => match bits.is_valid(at)? {
                false if leaf.implicit => return Ok(None),
                bit => Cell::Bits(u64::from(bit)),
            },
            Data::Numbers32(ranges, numbers) => match ranges.get(at)? {
                None => return Ok(None),
                Some(range) => Cell::Int32s(numbers, range),
            },
            Data::Numbers64(ranges, numbers) => match ranges.get(at)? {
                None => return Ok(None),
                Some(range) => Cell::Int64s(numbers, range),
            },
            Data::Lists(ranges, texts) => match ranges.get(at)? {
                None => return Ok(None),
                Some(range) => Cell::Texts(*texts, range),
            },
            Data::Pairs(ranges, keys, values) => match ranges.get(at)? {
                None => return Ok(None),
                Some(range) => Cell::Pairs(*keys, *values, range),
            },
        };
        Ok(Some(cell))
    }
}
