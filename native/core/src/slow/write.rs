//! Writes a message whose bytes are valid: what `chatpb/_mapping/writer.py` does.

use std::collections::BTreeMap;

use super::level::{Entry, EntryKey, Level, Residue};
use super::refusal::Refusal;
use super::wire::{Fields, Value};
use crate::error::{find_error, find_refusal, not_json};
use crate::json::{Names, put_constant, put_normal, put_quoted, put_utf8};
use crate::schema::{Field, Key, Kind, MessageType, NO_FIELD, Schema, Shape, Unset, Wire};
use crate::write::{Writer, free_text};
use crate::{ConversionError, Declined, Nan, Options};

const IGNORE: &str = "pass ignore_unknown_fields=True to leave it out";
/// The reason if two parts of this crate disagree on what can be written, which would be a bug.
const BUG: &str = "expected a value that can be written";

/// Writes a message. Gives the text, and how many opening brackets the free values have.
pub fn write(
    schema: &Schema,
    mapped: &MessageType,
    data: &[u8],
    options: Options,
) -> Result<(Vec<u8>, usize), ConversionError> {
    let nan = Nan::from(options.allow_nan);
    let mut slow = Slow {
        schema,
        options,
        nan,
        to: Writer::new(schema, nan, Vec::with_capacity(data.len()), ()),
        brackets: 0,
    };
    slow.object(mapped, &[data])?;
    Ok((slow.to.out, slow.brackets))
}

/// The bytes of values.
pub fn pieces_of<'a>(values: &[(u8, Value<'a>)]) -> Vec<&'a [u8]> {
    values.iter().filter_map(|value| value.1.bytes()).collect()
}

/// The name of the member that an entry of a map becomes.
pub fn key_name(field: &Field, key: EntryKey<'_>) -> String {
    match key {
        EntryKey::Text(name) => String::from_utf8_lossy(name).into_owned(),
        EntryKey::Number(number) if field.key == Key::Bool => (number != 0).to_string(),
        EntryKey::Number(number) => number.to_string(),
    }
}

/// What the residue specifies for a field that is unset.
#[derive(Clone, Copy)]
enum Said {
    Absent,
    Null,
    Empty,
}

/// The members outside the schema.
#[derive(Default)]
struct Extra {
    /// Their texts.
    members: Vec<Vec<u8>>,
    /// Which of them have the name of a field: the place of that, and theirs.
    fields: Vec<(usize, usize)>,
}

impl Extra {
    fn find(&self, place: usize) -> Option<usize> {
        let mut fields = self.fields.iter();
        fields.find(|field| field.0 == place).map(|field| field.1)
    }
}

struct Slow<'s> {
    schema: &'s Schema,
    options: Options,
    nan: Nan,
    /// What writes scalars and has the output.
    to: Writer<'s, ()>,
    brackets: usize,
}

impl<'s> Slow<'s> {
    fn object(&mut self, mapped: &'s MessageType, pieces: &[&[u8]]) -> Result<(), Refusal> {
        let level = Level::new(mapped, pieces);
        let residue = Residue::new(&level.residue);
        let mut extra = self.extra(mapped, residue.extra)?;
        let said = self.said(mapped, &residue)?;
        let start = self.to.out.len();
        for (place, field) in mapped.fields.iter().enumerate() {
            if field.is_alternative {
                continue;
            }
            let before = self.to.out.len();
            field.member.put(&mut self.to.out);
            let extra_one = extra.find(place);
            if self
                .member(mapped, place, &level)
                .map_err(|refusal| refusal.below(&field.name))?
            {
                // Reading never sets both: the field was set later.
                if let Some(index) = extra_one {
                    extra.members[index].clear();
                }
                continue;
            }
            self.to.out.truncate(before);
            if extra_one.is_none() {
                self.unset(field, &level, said[place]);
            }
        }
        for member in extra.members.iter().filter(|member| !member.is_empty()) {
            self.to.out.push(b',');
            self.to.out.extend_from_slice(member);
        }
        self.to.close(start);
        Ok(())
    }

    /// Writes the value of a field or of the one that shares its member; false if there is none.
    fn member(
        &mut self,
        mapped: &'s MessageType,
        place: usize,
        level: &Level<'_>,
    ) -> Result<bool, Refusal> {
        let field = &mapped.fields[place];
        if self.field(field, level.values(place))? {
            return Ok(true);
        }
        match field.alternative {
            Some(other) => self.field(&mapped.fields[other], level.values(other)),
            None => Ok(false),
        }
    }

    /// Writes the member of an unset field, if that stands for a value.
    fn unset(&mut self, field: &Field, level: &Level<'_>, said: Option<Said>) {
        let text: &[u8] = match (said, field.shape) {
            (Some(Said::Absent), _) => return,
            (Some(Said::Null), _) => b"null",
            (Some(Said::Empty), Shape::Map) => b"{}",
            (Some(Said::Empty), _) => b"[]",
            (None, _) => {
                let text = match field.unset {
                    Unset::Utf8(place) => level.values(place).last(),
                    _ => None,
                };
                let text = text.and_then(|value| value.1.bytes()).unwrap_or_default();
                return self.to.unset(field, text);
            }
        };
        field.member.put(&mut self.to.out);
        self.to.out.extend_from_slice(text);
    }

    /// Writes the value of a field; false if it has none, or its value counts as unset.
    fn field(&mut self, field: &'s Field, values: &[(u8, Value<'_>)]) -> Result<bool, Refusal> {
        if values.is_empty() {
            return Ok(false);
        }
        match field.shape {
            Shape::Repeated => self.list(field, values),
            Shape::Map => self.map(field, values),
            shape => self.value(&field.kind, values, shape == Shape::Implicit),
        }
    }

    fn value(
        &mut self,
        kind: &'s Kind,
        values: &[(u8, Value<'_>)],
        is_implicit: bool,
    ) -> Result<bool, Refusal> {
        let last = values.last().map(|value| value.1);
        let (bytes, bits) = match last {
            Some(Value::Bytes(bytes)) => (bytes, 0),
            Some(Value::Number(_, bits)) => (&[][..], bits),
            _ => (&[][..], 0),
        };
        match kind {
            Kind::Object(index) => {
                self.object(&self.schema.messages[*index], &pieces_of(values))?;
                return Ok(true);
            }
            Kind::Union(index) => {
                return self.union(&self.schema.messages[*index], &pieces_of(values));
            }
            Kind::Enum(words) => {
                let number = bits as i32;
                if number != 0 && !words.iter().any(|word| word.number == number) {
                    if self.options.ignore_unknown_fields {
                        return Ok(false);
                    }
                    return Err(Refusal::new(format!(
                        "{number} is a value that the schema does not know; {IGNORE}"
                    )));
                }
            }
            Kind::Double => self.check(f64::from_bits(bits))?,
            Kind::Float => self.check(f64::from(f32::from_bits(bits as u32)))?,
            Kind::Raw if !(is_implicit && bytes.is_empty()) => {
                if let Some(error) = find_error(bytes, self.nan) {
                    return Err(Refusal::new(format!("expected JSON text: {error}")));
                }
                self.count(bytes);
            }
            _ => {}
        }
        let written = self.to.value(kind, bytes, bits, is_implicit, 0);
        written.map_err(|Declined| Refusal::new(BUG))
    }

    /// Refuses a number that is not finite, unless it is allowed.
    fn check(&self, value: f64) -> Result<(), Refusal> {
        if value.is_finite() || self.options.allow_nan {
            return Ok(());
        }
        let mut constant = Vec::new();
        put_constant(value, &mut constant);
        Err(Refusal::new(not_json(&String::from_utf8_lossy(&constant))))
    }

    fn count(&mut self, text: &[u8]) {
        let brackets = text.iter().filter(|byte| matches!(byte, b'{' | b'['));
        self.brackets += brackets.count();
    }

    fn list(&mut self, field: &'s Field, values: &[(u8, Value<'_>)]) -> Result<bool, Refusal> {
        let mut index = 0;
        for (place, value) in values {
            match value {
                Value::Bytes(packed) if field.wire != Wire::Bytes => {
                    let mut numbers = Fields::new(packed, 0);
                    while !numbers.is_at_end()
                        && let Ok(bits) = numbers.number(field.wire)
                    {
                        let number = (*place, Value::Number(field.wire, bits));
                        self.element(field, &[number], index)?;
                        index += 1;
                    }
                }
                _ => {
                    self.element(field, &[(*place, *value)], index)?;
                    index += 1;
                }
            }
        }
        if index > 0 {
            self.to.out.push(b']');
        }
        Ok(index > 0)
    }

    fn element(
        &mut self,
        field: &'s Field,
        element: &[(u8, Value<'_>)],
        index: usize,
    ) -> Result<(), Refusal> {
        self.to.out.push(if index == 0 { b'[' } else { b',' });
        self.must(field, element)
            .map_err(|refusal| refusal.at(index))
    }

    /// Writes a value of a list or a map, which must exist.
    fn must(&mut self, field: &'s Field, values: &[(u8, Value<'_>)]) -> Result<(), Refusal> {
        if self.value(&field.kind, values, false)? {
            Ok(())
        } else {
            Err(Refusal::new("expected a value, got an unset one"))
        }
    }

    fn map(&mut self, field: &'s Field, values: &[(u8, Value<'_>)]) -> Result<bool, Refusal> {
        let entries = values.iter().filter_map(|value| value.1.bytes());
        let entries = entries.map(|entry| Entry::new(field, entry));
        // If a key is repeated, the last one wins.
        let entries: BTreeMap<_, _> = entries.map(|entry| (entry.key, entry.values)).collect();
        for (index, (key, values)) in entries.iter().enumerate() {
            self.to.out.push(if index == 0 { b'{' } else { b',' });
            let name = key_name(field, *key);
            put_quoted(name.as_bytes(), &mut self.to.out);
            self.to.out.push(b':');
            self.must(field, values)
                .map_err(|refusal| refusal.below(&name))?;
        }
        self.to.out.push(b'}');
        Ok(true)
    }

    /// Writes the one value of a union; false if it has none.
    fn union(&mut self, mapped: &'s MessageType, pieces: &[&[u8]]) -> Result<bool, Refusal> {
        let level = Level::new(mapped, pieces);
        let mut is_set = false;
        for (place, field) in mapped.fields.iter().enumerate() {
            if self.field(field, level.values(place))? && std::mem::replace(&mut is_set, true) {
                return Err(Refusal::new(format!(
                    "expected one value, but {} is set in addition to another",
                    field.name
                )));
            }
        }
        if !is_set && mapped.has_repeated() {
            self.to.out.extend_from_slice(b"[]");
            return Ok(true);
        }
        Ok(is_set)
    }

    /// Reads the members outside the schema.
    fn extra(&mut self, mapped: &MessageType, text: &[u8]) -> Result<Extra, Refusal> {
        let mut extra = Extra::default();
        if text.is_empty() {
            return Ok(extra);
        }
        self.count(text);
        if let Some(error) = find_error(text, self.nan) {
            let reason = format!("extra_json is not a JSON object: {error}");
            return Err(Refusal::new(reason));
        }
        if let Some(error) = find_refusal(text, self.nan) {
            let kind = error.reason.replace("expected an object, got ", "");
            let reason = format!("extra_json is not a JSON object but {kind}");
            return Err(Refusal::new(reason));
        }
        let read = free_text(text, 0, self.nan, |cursor| {
            extra = Extra::default();
            cursor.enter()?;
            let mut names = Names::default();
            let mut all = Vec::new();
            let mut more = cursor.any(b'}');
            while more {
                cursor.skip_space();
                let name = cursor.string()?;
                let mut utf8 = Vec::new();
                if put_utf8(name, &mut utf8)?
                    && let Some(place) = mapped.by_name(&utf8)
                {
                    extra.fields.push((place, extra.members.len()));
                }
                let mut member = Vec::new();
                put_normal(name, &mut member)?;
                let start = all.len();
                all.extend_from_slice(&member);
                cursor.is_new(names.find_or_add(&all, start))?;
                cursor.expect(b':')?;
                member.push(b':');
                cursor.compact(&mut member)?;
                extra.members.push(member);
                more = cursor.more(b'}')?;
            }
            Ok(())
        });
        read.map_err(|Declined| Refusal::new(BUG))?;
        Ok(extra)
    }

    /// What the residue specifies for each field, by its place.
    fn said(
        &self,
        mapped: &MessageType,
        residue: &Residue<'_>,
    ) -> Result<Vec<Option<Said>>, Refusal> {
        let place_of = |number: u32| {
            let place = usize::from(mapped.by_number(number));
            let is_member = place != usize::from(NO_FIELD) && !mapped.fields[place].is_alternative;
            is_member.then_some(place)
        };
        let mut said = vec![None; mapped.fields.len()];
        let mut unknown = None;
        for (numbers, state) in [
            (&residue.absent, Said::Absent),
            (&residue.nulls, Said::Null),
            (&residue.empties, Said::Empty),
        ] {
            for &number in numbers {
                match place_of(number) {
                    Some(place) => {
                        let field = &mapped.fields[place];
                        if matches!(state, Said::Empty) && !field.is_list() {
                            return Err(Refusal::new(format!(
                                "empty_fields names {}, which is not a list or a map",
                                field.name
                            )));
                        }
                        said[place] = Some(state);
                    }
                    None => unknown = unknown.or(Some(number)),
                }
            }
        }
        match unknown {
            Some(number) if !self.options.ignore_unknown_fields => Err(Refusal::new(format!(
                "the residue names field {number}, which the schema does not know; {IGNORE}"
            ))),
            _ => Ok(said),
        }
    }
}
