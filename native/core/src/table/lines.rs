//! Columns to lines of JSON, with no message in binary form in between.

use std::ops::Range;

use crate::schema::{Field, Kind, NO_FIELD, Schema, Shape};
use crate::table::plan::{Action, Insert, Node, Part, Plan};
use crate::table::rows::{Cell, Rows};
use crate::table::source::number;
use crate::wire::{Fields, Value};
use crate::write::{Entry, Slot, Values, Writer, scan};
use crate::{Declined, MAX_DEPTH, Nan};

/// Appends the JSON of the message in this field of each record that has it, each before a newline.
///
/// Declined, the columns are not what shredding gives, or the message has no JSON.
pub fn assemble_lines(
    plan: &Plan,
    schema: &Schema,
    message_type: usize,
    field: u32,
    rows: usize,
    buffers: &[Option<&[u8]>],
    out: &mut Vec<u8>,
) -> Result<(), Declined> {
    let Action::Part(part) = plan.nodes[0].action(field) else {
        return Err(Declined);
    };
    let part = &plan.nodes[0].parts[part as usize];
    if part.list.is_some() || !plan.is_in_order(part.node) {
        return Err(Declined);
    }
    let columns = Columns {
        plan,
        rows: Rows::new(plan, buffers)?,
        cells: Vec::new(),
        runs: Vec::new(),
    };
    let mut writer = Writer::new(schema, Nan::Refused, std::mem::take(out), columns);
    let written = (0..rows).try_for_each(|row| writer.line(row, message_type, field));
    *out = writer.out;
    written
}

struct Columns<'a> {
    plan: &'a Plan,
    rows: Rows<'a>,
    /// The values in columns of the messages that are being written.
    cells: Vec<Found<'a>>,
    /// The tokens of those messages, in binary form.
    runs: Vec<u8>,
}

/// A value that is not in the binary form of a message.
enum Found<'a> {
    Cell(Cell<'a>),
    Run(Range<usize>),
}

/// The start of a slot whose value is not in the binary form: the bits are its place in `cells`.
const IN_COLUMN: u32 = u32::MAX;

/// The place of a message below the record.
#[derive(Clone, Copy)]
struct At<'a>(&'a Node);

impl<'a> Values<'a, Columns<'a>> for At<'a> {
    fn put(
        self,
        writer: &mut Writer<'a, Columns<'a>>,
        field: &'a Field,
        data: &[u8],
        slot: Slot,
        depth: usize,
    ) -> Result<bool, Declined> {
        if slot.start == IN_COLUMN {
            return writer.put_cell(field, slot.bits as usize, depth);
        }
        let Action::Part(index) = self.0.action(field.number) else {
            return writer.field(field, data, slot, depth);
        };
        let part = &self.0.parts[index as usize];
        let node = &writer.rows.plan.nodes[part.node];
        let index = part.node;
        let bytes = data
            .get(slot.start as usize..slot.end as usize)
            .ok_or(Declined)?;
        let Some(list) = part.list else {
            return writer.part(field, index, node, bytes, depth);
        };
        if depth >= MAX_DEPTH {
            return Err(Declined);
        }
        let start = writer.out.len();
        let mut fields = Fields::new(bytes);
        while let Some((number, value)) = fields.next()? {
            if number != field.number {
                continue;
            }
            let Value::Bytes(element) = value else {
                return Err(Declined);
            };
            writer.rows.rows.next(list)?;
            let first = writer.out.len() == start;
            writer.out.push(if first { b'[' } else { b',' });
            if !writer.part(field, index, node, element, depth + 1)? {
                return Err(Declined);
            }
        }
        if writer.out.len() == start {
            return Ok(false);
        }
        writer.out.push(b']');
        Ok(true)
    }

    fn text<'d>(self, writer: &Writer<'a, Columns<'a>>, data: &'d [u8], slot: Slot) -> &'d [u8]
    where
        'a: 'd,
    {
        if slot.start != IN_COLUMN {
            return &data[slot.start as usize..slot.end as usize];
        }
        match writer.rows.cells.get(slot.bits as usize) {
            Some(Found::Cell(Cell::Text(text))) => text,
            _ => &[],
        }
    }
}

impl<'a> Writer<'a, Columns<'a>> {
    /// Writes the message in this field of the record of a row, and a newline, if there is one.
    fn line(&mut self, row: usize, message_type: usize, field: u32) -> Result<(), Declined> {
        let record = self.rows.rows.begin(row)?;
        let plan = self.rows.plan;
        let root = &plan.nodes[0];
        let mut is_written = false;
        let mut fields = Fields::new(record);
        while let Some((number, value)) = fields.next()? {
            let Action::Part(part) = root.action(number) else {
                continue;
            };
            let (part, Value::Bytes(bytes)) = (&root.parts[part as usize], value) else {
                return Err(Declined);
            };
            if number != field {
                if let Some(list) = part.list {
                    self.rows.rows.next(list)?;
                }
                self.skip(&plan.nodes[part.node], bytes)?;
                continue;
            }
            if std::mem::replace(&mut is_written, true) {
                return Err(Declined);
            }
            self.at(part.node, &plan.nodes[part.node], message_type, bytes, 0)?;
            self.out.push(b'\n');
        }
        if !self.rows.rows.tokens.is_done() {
            return Err(Declined);
        }
        Ok(())
    }

    /// Goes past the values of a message that is not written.
    fn skip(&mut self, node: &'a Node, data: &[u8]) -> Result<(), Declined> {
        for _ in &node.tokens {
            self.rows.rows.tokens.skip_list(self.rows.plan)?;
        }
        let mut fields = Fields::new(data);
        while let Some((number, value)) = fields.next()? {
            if let (Action::Part(part), Value::Bytes(bytes)) = (node.action(number), value) {
                let part = &node.parts[part as usize];
                if let Some(list) = part.list {
                    self.rows.rows.next(list)?;
                }
                self.skip(&self.rows.plan.nodes[part.node], bytes)?;
            }
        }
        Ok(())
    }

    /// Writes the message of a part, or one of its messages; false if it counts as unset.
    fn part(
        &mut self,
        field: &'a Field,
        index: usize,
        node: &'a Node,
        data: &[u8],
        depth: usize,
    ) -> Result<bool, Declined> {
        match field.kind {
            Kind::Object(message_type) => {
                self.at(index, node, message_type, data, depth)?;
                Ok(true)
            }
            Kind::Union(message_type) => {
                let schema = self.schema;
                let mapped = &schema.messages[message_type];
                let (first_slot, first_cell) = (self.slots.len(), self.rows.cells.len());
                let (mut seen, _) = scan(mapped, data, &mut self.slots)?;
                self.fill(index, node, message_type, first_slot, &mut seen)?;
                if seen.count_ones() > 1 {
                    return Err(Declined);
                }
                let mut is_put = false;
                if seen != 0 {
                    let member = seen.trailing_zeros() as usize;
                    let slot = self.slots[first_slot + member];
                    is_put = At(node).put(self, &mapped.fields[member], data, slot, depth)?;
                }
                self.slots.truncate(first_slot);
                self.rows.cells.truncate(first_cell);
                if !is_put && mapped.has_repeated() {
                    self.out.extend_from_slice(b"[]");
                    return Ok(true);
                }
                Ok(is_put)
            }
            _ => Err(Declined),
        }
    }

    /// Writes the message at a place: what was left of it, and what is in the columns.
    fn at(
        &mut self,
        index: usize,
        node: &'a Node,
        message_type: usize,
        data: &[u8],
        depth: usize,
    ) -> Result<(), Declined> {
        if depth >= MAX_DEPTH {
            return Err(Declined);
        }
        let schema = self.schema;
        let mapped = schema.messages.get(message_type).ok_or(Declined)?;
        let (first_slot, first_cell) = (self.slots.len(), self.rows.cells.len());
        let first_run = self.rows.runs.len();
        let (mut seen, residue) = scan(mapped, data, &mut self.slots)?;
        self.fill(index, node, message_type, first_slot, &mut seen)?;
        self.members(mapped, data, depth, (first_slot, seen, residue), At(node))?;
        self.rows.cells.truncate(first_cell);
        self.rows.runs.truncate(first_run);
        Ok(())
    }

    /// Takes the values of a message from the columns.
    #[inline]
    fn fill(
        &mut self,
        index: usize,
        node: &'a Node,
        message_type: usize,
        first_slot: usize,
        seen: &mut u64,
    ) -> Result<(), Declined> {
        let mapped = &self.schema.messages[message_type];
        let columns = &mut self.rows;
        for place in 0..columns.rows.inserts(index).len() {
            let (number, insert) = columns.rows.inserts(index)[place];
            let found = match insert {
                Insert::Leaf(leaf) => columns.rows.cell(&node.leaves[leaf])?.map(Found::Cell),
                Insert::Tokens(list) => {
                    let start = columns.runs.len();
                    let tokens = &mut columns.rows.tokens;
                    tokens.list(columns.plan, list, &mut columns.runs)?;
                    let end = columns.runs.len();
                    (end > start).then_some(Found::Run(start..end))
                }
            };
            let Some(found) = found else { continue };
            let field = mapped.by_number(number);
            if field == NO_FIELD || *seen & 1 << field != 0 {
                return Err(Declined);
            }
            *seen |= 1 << field;
            self.slots[first_slot + usize::from(field)] = Slot {
                start: IN_COLUMN,
                end: 0,
                bits: columns.cells.len() as u64,
            };
            columns.cells.push(found);
        }
        Ok(())
    }

    /// Writes a value that is not in the binary form of the message.
    fn put_cell(&mut self, field: &'a Field, cell: usize, depth: usize) -> Result<bool, Declined> {
        let is_list = field.shape == Shape::Repeated;
        let cell = match self.rows.cells.get(cell).ok_or(Declined)? {
            Found::Cell(Cell::Text(text)) if !is_list => {
                return self.value(&field.kind, text, 0, false, depth);
            }
            Found::Cell(Cell::Bits(bits)) if !is_list => {
                return self.value(&field.kind, &[], *bits, false, depth);
            }
            Found::Run(range) => {
                let runs = std::mem::take(&mut self.rows.runs);
                let range = range.clone();
                let written = self.list(field, &runs[range], depth);
                self.rows.runs = runs;
                return written;
            }
            Found::Cell(cell) => cell.clone(),
        };
        if depth >= MAX_DEPTH {
            return Err(Declined);
        }
        let start = self.out.len();
        match cell {
            Cell::Int32s(numbers, range) if is_list => {
                for each in range {
                    let bits = i64::from(i32::from_le_bytes(number(numbers, each)?)) as u64;
                    self.element(field, &[], bits, start, depth)?;
                }
            }
            Cell::Int64s(numbers, range) if is_list => {
                for each in range {
                    let bits = u64::from_le_bytes(number(numbers, each)?);
                    self.element(field, &[], bits, start, depth)?;
                }
            }
            Cell::Texts(texts, range) if is_list => {
                for each in range {
                    let text = texts.get(each)?.ok_or(Declined)?;
                    self.element(field, text, 0, start, depth)?;
                }
            }
            Cell::Pairs(keys, values, range) if field.shape == Shape::Map => {
                let mut entries = Vec::with_capacity(range.len().min(64)); // a wrong offset may be any number
                for each in range {
                    let (key, value) = (keys.get(each)?, values.get(each)?);
                    entries.push(Entry::of_texts(
                        key.ok_or(Declined)?,
                        value.ok_or(Declined)?,
                    )?);
                }
                return self.entries(field, entries, depth);
            }
            _ => return Err(Declined),
        }
        if self.out.len() == start {
            return Ok(false);
        }
        self.out.push(b']');
        Ok(true)
    }
}

impl Plan {
    /// Whether the values of the messages below a node can be taken in the order of JSON's members:
    /// in each message, no two fields have elements of the same list, and only one has tokens.
    fn is_in_order(&self, node: usize) -> bool {
        let parts = &self.nodes[node].parts;
        let mut lists = Vec::new();
        for part in parts {
            self.add_lists(part, &mut lists);
        }
        lists.sort_unstable();
        let with_tokens = parts.iter().filter(|part| self.has_tokens(part.node));
        lists.is_sorted_by(|one, other| one < other)
            && with_tokens.count() <= 1
            && parts.iter().all(|part| self.is_in_order(part.node))
    }

    /// Appends the lists that the messages of a part are in, or messages in them.
    fn add_lists(&self, part: &Part, lists: &mut Vec<usize>) {
        match part.list {
            Some(list) => lists.push(list),
            None => {
                let inner = self.nodes[part.node].parts.iter();
                inner.for_each(|part| self.add_lists(part, lists));
            }
        }
    }

    fn has_tokens(&self, node: usize) -> bool {
        let node = &self.nodes[node];
        !node.tokens.is_empty() || node.parts.iter().any(|part| self.has_tokens(part.node))
    }
}
