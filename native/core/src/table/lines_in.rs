//! Lines of JSON to columns.

use std::ops::Range;

use memchr::{memchr_iter, memmem};

use crate::json::Cursor;
use crate::read::json_to_binary;
use crate::schema::{Schema, Wire};
use crate::table::columns::Buffers;
use crate::table::plan::Plan;
use crate::table::shred::Shredder;
use crate::wire::{Fields, Value, close, open, put_bytes, put_number};
use crate::{Declined, Nan};

/// A type of messages in a record.
pub struct Member {
    pub message_type: usize,
    /// The field of the record that has them.
    pub field: u32,
}

/// What a field of a record has.
pub enum Kind {
    Message(usize),
    Text,
    /// A number from the least to the greatest one.
    Number(i64, i64),
    /// One of these words, with their numbers.
    Word(Vec<(Vec<u8>, i32)>),
    /// Texts by their names.
    Texts,
    /// What is not taken.
    Other,
}

/// A field of a record, as a member of an object with the fields of one.
pub struct RecordField {
    pub name: Vec<u8>,
    pub number: u32,
    pub kind: Kind,
}

/// Which lines are taken, and the names of the members that show what they are.
pub struct Shapes {
    pub completion: Member,
    /// The field of a completion that is unset if the text says that it is one, and its name.
    pub kind: (u32, Vec<u8>),
    pub request: Member,
    pub error: Member,
    /// The only member of an error.
    pub failure: Vec<u8>,
    /// The field of the record with its labels.
    pub labels: u32,
    /// The member that each request has.
    pub messages: Vec<u8>,
    /// The members of an exchange.
    pub around: (Vec<u8>, Vec<u8>),
    /// The member of an HTTP message with a request or a response, which neither has itself.
    pub body: Vec<u8>,
    /// Other members that no request has, and that are no labels in an exchange.
    pub others: Vec<Vec<u8>>,
    /// The fields of a record.
    pub fields: Vec<RecordField>,
    /// What a completion that is not in an exchange does not have anywhere, in quotes.
    pub suspects: Vec<Vec<u8>>,
}

/// Lines that follow one another.
pub struct Run {
    /// The columns of their records; None if the lines are declined.
    pub buffers: Option<Buffers>,
    pub rows: usize,
    /// The place of the first line after them.
    pub stop: usize,
    /// The place of its first byte, or of the end.
    pub end: usize,
    /// The bytes of the lines that were taken.
    pub size: usize,
}

/// How much is worth a batch of rows: that many rows or that many bytes.
pub struct Worth {
    pub rows: usize,
    pub bytes: usize,
}

/// Shreds the lines of a text: runs of lines that are taken, and of others. A run that is not worth
/// it is declined. Empty lines make no row, and white space around a line is no part of it.
pub fn shred_lines(
    plan: &Plan,
    schema: &Schema,
    shapes: &Shapes,
    text: &[u8],
    worth: &Worth,
) -> Vec<Run> {
    let mut taker = Taker {
        schema,
        shapes,
        record: Vec::new(),
        label: Vec::new(),
        text: Vec::new(),
    };
    let mut runs = Runs {
        runs: Vec::new(),
        shredder: Shredder::new(plan),
        plan,
        worth,
        size: 0,
    };
    let (mut stop, mut start) = (0, 0);
    for end in memchr_iter(b'\n', text).chain([text.len()]) {
        let line = stripped(&text[start..end]);
        let (first, after) = ((stop, start), (stop + 1, text.len().min(end + 1)));
        (stop, start) = after;
        if line.is_empty() {
            continue;
        }
        if taker.take(line).is_err() {
            runs.end(first);
            runs.decline(after);
        } else if runs.shredder.record(&taker.record, None).is_err() {
            runs.shredder = Shredder::new(plan); // too much for one batch
            runs.size = 0;
            runs.decline(after);
        } else {
            runs.size += line.len();
        }
    }
    runs.end((stop, start));
    runs.runs
}

/// A line without the white space that Python's `bytes.strip` removes.
fn stripped(line: &[u8]) -> &[u8] {
    let is_ink = |byte: &u8| !byte.is_ascii_whitespace() && *byte != 0x0b;
    let start = line.iter().position(is_ink);
    let end = line.iter().rposition(is_ink);
    start
        .zip(end)
        .map_or(&[], |(start, end)| &line[start..=end])
}

struct Runs<'p> {
    runs: Vec<Run>,
    shredder: Shredder<'p>,
    plan: &'p Plan,
    worth: &'p Worth,
    /// The bytes of the lines in the shredder.
    size: usize,
}

/// The place of a line among the lines, and that of its first byte.
type Place = (usize, usize);

impl Runs<'_> {
    /// Ends a run of lines that were taken.
    fn end(&mut self, (stop, end): Place) {
        if self.shredder.rows() == 0 {
            return self.decline((stop, end)); // lines without anything
        }
        let shredder = std::mem::replace(&mut self.shredder, Shredder::new(self.plan));
        let (rows, size) = (shredder.rows(), std::mem::take(&mut self.size));
        let is_worth_it = rows >= self.worth.rows || size >= self.worth.bytes;
        match is_worth_it.then(|| shredder.finish()) {
            Some(Ok(buffers)) => self.runs.push(Run {
                buffers: Some(buffers),
                rows,
                stop,
                end,
                size,
            }),
            _ => self.decline((stop, end)),
        }
    }

    /// Ends a run of lines that are declined, as far as they are not in one already.
    fn decline(&mut self, (stop, end): Place) {
        match self.runs.last_mut() {
            Some(run) if run.stop >= stop => {}
            None if stop == 0 => {}
            Some(run) if run.buffers.is_none() => (run.stop, run.end) = (stop, end),
            _ => self.runs.push(Run {
                buffers: None,
                rows: 0,
                stop,
                end,
                size: 0,
            }),
        }
    }
}

struct Taker<'a> {
    schema: &'a Schema,
    shapes: &'a Shapes,
    /// What the line becomes.
    record: Vec<u8>,
    label: Vec<u8>,
    text: Vec<u8>,
}

impl Taker<'_> {
    /// Makes the record of a line.
    fn take(&mut self, line: &[u8]) -> Result<(), Declined> {
        self.record.clear();
        let shapes = self.shapes;
        let is_suspect = |word: &Vec<u8>| memmem::find(line, word).is_some();
        if !shapes.suspects.iter().any(is_suspect) {
            if self.take_completion(line).is_ok() {
                return Ok(());
            }
            self.record.clear();
            return self.take_record(line, &members(line)?);
        }
        let members = members(line)?;
        if self.take_record(line, &members).is_ok() {
            return Ok(());
        }
        self.record.clear();
        let find = |name: &[u8]| members.iter().find(|member| member.name == name);
        let (request, response) = (find(&shapes.around.0), find(&shapes.around.1));
        match (request, response) {
            (Some(request), Some(response)) => {
                self.take_request(&line[request.value.clone()])?;
                self.take_response(&line[response.value.clone()])?;
                let is_label = |member: &&Named| {
                    member.name != shapes.around.0 && member.name != shapes.around.1
                };
                for member in members.iter().filter(is_label) {
                    self.take_label(member.name, &line[member.value.clone()])?;
                }
                Ok(())
            }
            (None, Some(response)) => {
                self.text.clear();
                self.text.extend_from_slice(&line[..response.whole.start]);
                self.text.extend_from_slice(&line[response.whole.end..]);
                let text = std::mem::take(&mut self.text);
                let taken = self.take_request(&text);
                self.text = text;
                taken?;
                self.take_response(&line[response.value.clone()])
            }
            (None, None) => self.take_request(line),
            _ => Err(Declined),
        }
    }

    /// Takes an object whose members are the fields of a record, at least one of which is a message.
    fn take_record(&mut self, text: &[u8], members: &[Named]) -> Result<(), Declined> {
        let all = &self.shapes.fields;
        let place = |member: &Named| all.iter().position(|field| field.name == member.name);
        let mut found = Vec::with_capacity(members.len());
        for member in members {
            let place = place(member).ok_or(Declined)?;
            match &text[member.value.clone()] {
                b"null" => {}
                value => found.push((place, value)),
            }
        }
        found.sort_unstable_by_key(|&(place, _)| all[place].number);
        let mut messages = found
            .iter()
            .filter(|&&(place, _)| matches!(all[place].kind, Kind::Message(_)));
        let (first, second) = (messages.next(), messages.next());
        let is_error = |place: usize| all[place].number == self.shapes.error.field;
        match (first, second) {
            (None, _) => return Err(Declined),
            // which may be an error itself
            (Some(&(place, _)), None) if is_error(place) && members.len() == 1 => {
                return Err(Declined);
            }
            _ => {}
        }
        for (place, value) in found {
            self.take_field(&all[place], value)?;
        }
        Ok(())
    }

    fn take_field(&mut self, field: &RecordField, text: &[u8]) -> Result<(), Declined> {
        let number = field.number;
        match &field.kind {
            &Kind::Message(message_type) => {
                if text.first() != Some(&b'{') {
                    return Err(Declined);
                }
                let member = Member {
                    message_type,
                    field: number,
                };
                self.take_message(&member, text)?;
            }
            Kind::Text => put_bytes(&mut self.record, number, plain(text)?),
            &Kind::Number(least, greatest) => {
                let digits = str::from_utf8(text).map_err(|_| Declined)?;
                let value: i64 = match digits.as_bytes() {
                    [b'0'] | [b'1'..=b'9', ..] => digits.parse().map_err(|_| Declined)?,
                    _ => return Err(Declined),
                };
                if !(least..=greatest).contains(&value) {
                    return Err(Declined);
                }
                put_number(&mut self.record, number, Wire::Varint, value as u64);
            }
            Kind::Word(words) => {
                let text = plain(text)?;
                let word = words.iter().find(|(word, _)| word == text);
                let (_, value) = word.ok_or(Declined)?;
                put_number(
                    &mut self.record,
                    number,
                    Wire::Varint,
                    i64::from(*value) as u64,
                );
            }
            Kind::Texts => {
                let mut texts = members(text)?;
                texts.sort_unstable_by_key(|member| member.name);
                for Named { name, value, .. } in texts {
                    str::from_utf8(name).map_err(|_| Declined)?;
                    self.label.clear();
                    put_bytes(&mut self.label, KEY, name);
                    put_bytes(&mut self.label, VALUE, plain(&text[value])?);
                    put_bytes(&mut self.record, number, &self.label);
                }
            }
            Kind::Other => return Err(Declined),
        }
        Ok(())
    }

    fn take_request(&mut self, text: &[u8]) -> Result<(), Declined> {
        let shapes = self.shapes;
        let members = members(text)?;
        let has = |name: &[u8]| members.iter().any(|member| member.name == name);
        let others = [
            &shapes.around.0,
            &shapes.around.1,
            &shapes.kind.1,
            &shapes.body,
        ];
        let others = shapes.others.iter().chain(others);
        if !has(&shapes.messages) || others.into_iter().any(|name| has(name)) {
            return Err(Declined);
        }
        self.take_message(&shapes.request, text).map(drop)
    }

    /// Converts the completion or the error of an exchange.
    fn take_response(&mut self, text: &[u8]) -> Result<(), Declined> {
        let shapes = self.shapes;
        match &members(text)?[..] {
            [only] if only.name == shapes.failure && text[only.value.start] == b'{' => {
                self.take_message(&shapes.error, text).map(drop)
            }
            members if members.iter().any(|member| member.name == shapes.body) => Err(Declined),
            _ => self.take_completion(text),
        }
    }

    /// Adds a member of an exchange to the labels, if the label is the member as it is written.
    fn take_label(&mut self, name: &[u8], text: &[u8]) -> Result<(), Declined> {
        let shapes = self.shapes;
        if name == shapes.body || shapes.others.iter().any(|other| other == name) {
            return Err(Declined);
        }
        let value = match text {
            b"null" => return Ok(()),
            b"true" | b"false" => text,
            [b'"', value @ .., b'"'] if !value.contains(&b'\\') => value,
            [b'0'] => text,
            [b'1'..=b'9', rest @ ..] if rest.iter().all(u8::is_ascii_digit) => text,
            _ => return Err(Declined),
        };
        if str::from_utf8(name).is_err() || str::from_utf8(value).is_err() {
            return Err(Declined);
        }
        self.label.clear();
        put_bytes(&mut self.label, KEY, name);
        put_bytes(&mut self.label, VALUE, value);
        put_bytes(&mut self.record, shapes.labels, &self.label);
        Ok(())
    }

    /// Converts a message. Gives where it is in the record if it is the last one so far.
    fn take_message(&mut self, member: &Member, text: &[u8]) -> Result<usize, Declined> {
        let kind = member.message_type;
        let place = open(&mut self.record, member.field);
        json_to_binary(self.schema, text, kind, Nan::Refused, &mut self.record)?;
        let size = self.record.len() - place;
        close(&mut self.record, place);
        Ok(self.record.len() - size)
    }

    fn take_completion(&mut self, text: &[u8]) -> Result<(), Declined> {
        let start = self.take_message(&self.shapes.completion, text)?;
        let residue = self.schema.residue_of(self.shapes.completion.message_type);
        let (number, name) = &self.shapes.kind;
        let mut fields = Fields::new(&self.record[start..]);
        while let Some((field, value)) = fields.next()? {
            match value {
                _ if field == *number => return Err(Declined),
                Value::Bytes(bytes) if field == residue => says_nothing(bytes, *number, name)?,
                _ => {}
            }
        }
        Ok(())
    }
}

/// The characters of a text without escapes.
fn plain(text: &[u8]) -> Result<&[u8], Declined> {
    match text {
        [b'"', value @ .., b'"'] if !value.contains(&b'\\') && str::from_utf8(value).is_ok() => {
            Ok(value)
        }
        _ => Err(Declined),
    }
}

/// Declines a residue that has a field of this number or name.
fn says_nothing(residue: &[u8], number: u32, name: &[u8]) -> Result<(), Declined> {
    let mut fields = Fields::new(residue);
    while let Some((field, value)) = fields.next()? {
        let Value::Bytes(bytes) = value else {
            return Err(Declined);
        };
        if field == EXTRA {
            if memmem::find(bytes, name).is_some() {
                return Err(Declined);
            }
            continue;
        }
        let mut numbers = Fields::new(bytes);
        while numbers.at < bytes.len() {
            if numbers.varint()? == u64::from(number) {
                return Err(Declined);
            }
        }
    }
    Ok(())
}

/// The field of a residue with the members outside the schema.
const EXTRA: u32 = 4;
/// The fields of an entry of a map.
const KEY: u32 = 1;
const VALUE: u32 = 2;

/// A member of an object.
struct Named<'a> {
    name: &'a [u8],
    value: Range<usize>,
    /// The member, with the comma that separates it from another one.
    whole: Range<usize>,
}

/// The members of the object that a text is. Declined, a name is repeated or has escapes.
fn members(text: &[u8]) -> Result<Vec<Named<'_>>, Declined> {
    let mut json = Cursor::new(text, 0, Nan::Refused);
    if json.next() != b'{' {
        return Err(Declined);
    }
    json.enter()?;
    let mut found: Vec<Named> = Vec::with_capacity(16);
    let mut more = json.any(b'}');
    while more {
        let comma = json.at - 1; // of a member that is not the first
        json.skip_space();
        let start = json.at;
        let name = json.string()?;
        if name.has_escapes || found.iter().any(|member| member.name == name.raw) {
            return Err(Declined);
        }
        json.expect(b':')?;
        json.skip_space();
        let value = json.at;
        json.skip_value()?;
        let value = value..json.at;
        more = json.more(b'}')?;
        let whole = match (found.is_empty(), more) {
            (false, _) => comma..value.end,
            (true, true) => start..json.at,
            (true, false) => start..value.end,
        };
        found.push(Named {
            name: name.raw,
            value,
            whole,
        });
    }
    json.skip_space();
    if json.at != text.len() {
        return Err(Declined);
    }
    Ok(found)
}
