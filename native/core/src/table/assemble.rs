//! Columns to records in binary form.

use crate::Declined;
use crate::table::plan::{Action, Insert, Leaf, Plan};
use crate::table::rows::{Cell, Rows};
use crate::table::source::number;
use crate::wire::{FIXED64, Fields, VARINT, Value};
use crate::wire::{close, open, put_bytes, put_tag, put_varint};

/// Assembles records from the buffers of their columns, in the order of the schema.
///
/// `emit` gets each, and may take it away. Declined, the columns are not what shredding gives.
pub fn assemble(
    plan: &Plan,
    rows: usize,
    buffers: &[Option<&[u8]>],
    mut emit: impl FnMut(&mut Vec<u8>),
) -> Result<(), Declined> {
    let mut assembler = Assembler {
        plan,
        rows: Rows::new(plan, buffers)?,
    };
    let mut out = Vec::new();
    for row in 0..rows {
        out.clear();
        let rest = assembler.rows.begin(row)?;
        assembler.message(0, rest, &mut out)?;
        if !assembler.rows.tokens.is_done() {
            return Err(Declined);
        }
        emit(&mut out);
    }
    Ok(())
}

struct Assembler<'a> {
    plan: &'a Plan,
    rows: Rows<'a>,
}

impl Assembler<'_> {
    /// Appends a message: what was left of it, and what is in the columns.
    fn message(&mut self, index: usize, rest: &[u8], out: &mut Vec<u8>) -> Result<(), Declined> {
        let node = &self.plan.nodes[index];
        let mut inserted = 0;
        let mut fields = Fields::new(rest);
        let mut start = 0;
        while let Some((number, value)) = fields.next()? {
            let whole = &rest[start..fields.at];
            start = fields.at;
            self.inserts(index, &mut inserted, number, out)?;
            match (node.action(number), value) {
                (Action::Part(part), Value::Bytes(bytes)) => {
                    let part = &node.parts[part as usize];
                    let place = open(out, number);
                    if let Some(list) = part.list {
                        self.rows.next(list)?;
                    }
                    self.message(part.node, bytes, out)?;
                    close(out, place);
                }
                (Action::Part(_), _) => return Err(Declined),
                _ => out.extend_from_slice(whole),
            }
        }
        self.inserts(index, &mut inserted, u32::MAX, out)
    }

    /// Puts in what comes before a field.
    #[inline]
    fn inserts(
        &mut self,
        index: usize,
        inserted: &mut usize,
        before: u32,
        out: &mut Vec<u8>,
    ) -> Result<(), Declined> {
        while let Some(&(place, insert)) = self.rows.inserts(index).get(*inserted)
            && place <= before
        {
            *inserted += 1;
            match insert {
                Insert::Leaf(leaf) => self.leaf(&self.plan.nodes[index].leaves[leaf], out)?,
                Insert::Tokens(field) => self.rows.tokens.list(self.plan, field, out)?,
            }
        }
        Ok(())
    }

    fn leaf(&self, leaf: &Leaf, out: &mut Vec<u8>) -> Result<(), Declined> {
        let field = leaf.number;
        match self.rows.cell(leaf)? {
            None => {}
            Some(Cell::Text(text)) => put_bytes(out, field, text),
            Some(Cell::Bits(bits)) => {
                if self.plan.columns[leaf.column].is_fixed() {
                    put_tag(out, field, FIXED64);
                    out.extend_from_slice(&bits.to_le_bytes());
                } else {
                    put_tag(out, field, VARINT);
                    put_varint(out, bits);
                }
            }
            Some(Cell::Int32s(numbers, range)) => {
                let place = open(out, field);
                for each in range {
                    let value = i32::from_le_bytes(number(numbers, each)?);
                    put_varint(out, i64::from(value) as u64);
                }
                close(out, place);
            }
            Some(Cell::Int64s(numbers, range)) => {
                let place = open(out, field);
                for each in range {
                    put_varint(out, u64::from_le_bytes(number(numbers, each)?));
                }
                close(out, place);
            }
            Some(Cell::Texts(texts, range)) => {
                for each in range {
                    put_bytes(out, field, texts.get(each)?.ok_or(Declined)?);
                }
            }
            Some(Cell::Pairs(keys, values, range)) => {
                let mut entries = Vec::with_capacity(range.len().min(64)); // a wrong offset may be any number
                for each in range {
                    let (key, value) = (keys.get(each)?, values.get(each)?);
                    entries.push((key.ok_or(Declined)?, value.ok_or(Declined)?));
                }
                entries.sort_by_key(|entry| entry.0);
                for (key, value) in entries {
                    let place = open(out, field);
                    put_bytes(out, 1, key);
                    put_bytes(out, 2, value);
                    close(out, place);
                }
            }
        }
        Ok(())
    }
}
