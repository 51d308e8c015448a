//! Records in binary form to columns.

use crate::read::json_to_binary;
use crate::schema::Schema;
use crate::table::columns::{Buffers, Strings};
use crate::table::plan::{Action, MOST_LISTS, Node, Part, Plan};
use crate::table::tokens::TokenColumns;
use crate::table::values::Column;
use crate::wire::{Fields, Value, close, open};
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
    shredder.finish().map_err(|_| 0)
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
    let mut message = Vec::new();
    for (index, text) in texts.iter().enumerate() {
        message.clear();
        json_to_binary(schema, text, message_type, Nan::Refused, &mut message)
            .and_then(|()| shredder.messages([(field, &message[..])].into_iter()))
            .map_err(|_| index)?;
    }
    shredder.finish().map_err(|_| 0)
}

/// Moves values to columns, record by record.
pub struct Shredder<'p> {
    plan: &'p Plan,
    columns: Vec<Column>,
    tokens: TokenColumns,
    record: Strings,
    /// The choice that tokens belong to.
    choice: i32,
    keeps_tokens: bool,
}

impl<'p> Shredder<'p> {
    pub fn new(plan: &'p Plan) -> Self {
        Self {
            plan,
            columns: plan.columns.iter().map(Column::new).collect(),
            tokens: TokenColumns::default(),
            record: Strings::default(),
            choice: 0,
            keeps_tokens: true,
        }
    }

    /// Adds a record.
    pub fn record(&mut self, data: &[u8], folded: Option<&[u8]>) -> Result<(), Declined> {
        let plan = self.plan;
        let mut out = std::mem::take(self.record.data());
        let walked = self.walk(&plan.nodes[0], data, &mut out);
        *self.record.data() = out;
        walked?;
        if let Some(folded) = folded {
            let node = &plan.nodes[self.part(plan.folded)?.node];
            self.keeps_tokens = false;
            let walked = self.walk(node, folded, &mut Vec::new());
            self.keeps_tokens = true;
            walked?;
        }
        self.end_row()
    }

    /// Adds a record that has nothing but messages, each in its field, in the order of the fields.
    pub fn messages<'d>(
        &mut self,
        messages: impl Iterator<Item = (u32, &'d [u8])>,
    ) -> Result<(), Declined> {
        let mut out = std::mem::take(self.record.data());
        let mut walked = Ok(());
        for (field, data) in messages {
            walked = walked
                .and_then(|()| self.part(field))
                .and_then(|part| self.part_of(part, data, &mut out));
        }
        *self.record.data() = out;
        walked?;
        self.end_row()
    }

    /// How many records there are.
    pub fn rows(&self) -> usize {
        self.record.count()
    }

    fn part(&self, number: u32) -> Result<&'p Part, Declined> {
        let root = &self.plan.nodes[0];
        let part = root.parts.iter().find(|part| part.number == number);
        part.ok_or(Declined)
    }

    fn end_row(&mut self) -> Result<(), Declined> {
        self.record.end()?;
        self.tokens.end_row(self.plan)
    }

    /// The element that a column gets its next value for: of the list around, or a row.
    #[inline]
    fn element(&self, column: usize) -> usize {
        match self.columns.get(self.plan.columns[column].parent) {
            Some(list) => list.structs(),
            None => self.record.count(),
        }
    }

    /// Moves what is in the message of a part to the columns, and appends the rest of it to `out`.
    fn part_of(&mut self, part: &'p Part, data: &[u8], out: &mut Vec<u8>) -> Result<(), Declined> {
        let node = &self.plan.nodes[part.node];
        let place = open(out, part.number);
        match part.list {
            None => self.walk(node, data, out)?,
            Some(list) => {
                let element = self.element(list);
                self.columns[list].begin(element)?;
                self.walk(node, data, out)?;
                self.columns[list].end();
            }
        }
        close(out, place);
        Ok(())
    }

    /// Moves what is in a message to the columns, and appends the rest of it to `out`.
    fn walk(&mut self, node: &'p Node, data: &[u8], out: &mut Vec<u8>) -> Result<(), Declined> {
        let plan = self.plan;
        let mut seen = 0u64;
        let mut last = 0;
        let mut counts = [0usize; MOST_LISTS];
        if let Some(key) = node.key {
            self.choice = integer(data, key)?;
        }
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
                    let column = &plan.columns[leaf.column];
                    if seen & 1 << index != 0 && !column.kind.is_many() {
                        return Err(Declined);
                    }
                    seen |= 1 << index;
                    let element = self.element(leaf.column);
                    if !self.columns[leaf.column].add(column, leaf.unset, element, &value)? {
                        out.extend_from_slice(whole);
                    }
                }
                Action::Part(index) => {
                    let part = &node.parts[index as usize];
                    let Value::Bytes(bytes) = value else {
                        return Err(Declined);
                    };
                    let bit = 1 << (32 + index);
                    if number < last || part.list.is_none() && seen & bit != 0 {
                        return Err(Declined);
                    }
                    last = number;
                    seen |= bit;
                    self.part_of(part, bytes, out)?;
                }
                Action::Tokens(index) => {
                    let Value::Bytes(bytes) = value else {
                        return Err(Declined);
                    };
                    if number < last {
                        return Err(Declined);
                    }
                    last = number;
                    *counts.get_mut(index as usize).ok_or(Declined)? += 1;
                    if self.keeps_tokens {
                        let source = node.tokens[index as usize].source;
                        self.tokens.add(plan, bytes, self.choice, source)?;
                    }
                }
            }
        }
        for &index in &node.defaults {
            let leaf = &node.leaves[index];
            if seen & 1 << index == 0 {
                let element = self.element(leaf.column);
                self.columns[leaf.column].add_unset(leaf.unset, element)?;
            }
        }
        if self.keeps_tokens {
            for count in counts.iter().take(node.tokens.len()) {
                self.tokens.add_count(*count)?;
            }
        }
        Ok(())
    }

    /// Ends the columns.
    pub fn finish(self) -> Result<Buffers, Declined> {
        let mut out = Buffers::default();
        let rows = self.record.count();
        let parents = self.plan.columns.iter().map(|column| column.parent);
        let lengths: Vec<usize> = parents
            .map(|parent| self.columns.get(parent).map_or(rows, Column::structs))
            .collect();
        for (column, length) in self.columns.into_iter().zip(lengths) {
            column.finish(length, &mut out)?;
        }
        self.tokens.finish(rows, &mut out)?;
        out.0.push(None);
        self.record.finish(&mut out);
        Ok(out)
    }
}

/// The integer in a field of a message: the last one if there are several, 0 if there is none.
fn integer(data: &[u8], field: u32) -> Result<i32, Declined> {
    let mut found = 0;
    let mut fields = Fields::new(data);
    while let Some((number, value)) = fields.next()? {
        if let (true, Value::Varint(value)) = (number == field, value) {
            found = value as i32;
        }
    }
    Ok(found)
}
