//! The first field that the schema does not know: what `_refuse_unknown_fields` of
//! `chatpb/_mapping/convert.py` finds.

use std::collections::BTreeMap;

use super::level::{Entry, Level, Residue};
use super::wire::Value;
use super::write::{key_name, pieces_of};
use crate::Schema;
use crate::error::{ConversionError, put_index, put_name};
use crate::schema::{Field, Kind, MessageType, Shape};

/// The error of the first unknown field of a message or of those in it, outer before inner.
pub fn find(schema: &Schema, mapped: &MessageType, data: &[u8]) -> Option<ConversionError> {
    let mut finder = Finder {
        schema,
        path: "$".to_string(),
    };
    finder.message(mapped, &[data])
}

struct Finder<'s> {
    schema: &'s Schema,
    path: String,
}

impl Finder<'_> {
    fn message(&mut self, mapped: &MessageType, pieces: &[&[u8]]) -> Option<ConversionError> {
        let level = Level::new(mapped, pieces);
        if let Some(number) = level.unknown {
            return Some(self.error(number, &mapped.name));
        }
        if let Some(number) = Residue::new(&level.residue).unknown {
            return Some(self.error(number, &self.schema.residue));
        }
        for (place, field) in mapped.fields.iter().enumerate() {
            let (Kind::Object(index) | Kind::Union(index)) = field.kind else {
                continue;
            };
            let values = level.values(place);
            if values.is_empty() {
                continue;
            }
            let size = self.path.len();
            if !mapped.is_union {
                put_name(&field.name, &mut self.path);
            }
            let found = self.values(field, &self.schema.messages[index], values);
            if found.is_some() {
                return found;
            }
            self.path.truncate(size);
        }
        None
    }

    fn values(
        &mut self,
        field: &Field,
        mapped: &MessageType,
        values: &[(u8, Value<'_>)],
    ) -> Option<ConversionError> {
        let size = self.path.len();
        match field.shape {
            Shape::Map => {
                let entries = values.iter().filter_map(|value| value.1.bytes());
                let entries = entries.map(|entry| Entry::new(field, entry));
                let entries: BTreeMap<_, _> = entries
                    .map(|entry| (entry.key, pieces_of(&entry.values)))
                    .collect();
                for (key, pieces) in entries {
                    put_name(&key_name(field, key), &mut self.path);
                    let found = self.message(mapped, &pieces);
                    if found.is_some() {
                        return found;
                    }
                    self.path.truncate(size);
                }
                None
            }
            Shape::Repeated => {
                for (index, piece) in pieces_of(values).into_iter().enumerate() {
                    put_index(index, &mut self.path);
                    let found = self.message(mapped, &[piece]);
                    if found.is_some() {
                        return found;
                    }
                    self.path.truncate(size);
                }
                None
            }
            _ => self.message(mapped, &pieces_of(values)),
        }
    }

    fn error(&self, number: u32, name: &str) -> ConversionError {
        ConversionError {
            path: self.path.clone(),
            reason: format!(
                "field {number} of {name} is not in this version of the schema; pass \
                 ignore_unknown_fields=True to leave it out"
            ),
            offset: None,
        }
    }
}
