//! Errors among what a server sends: what `chatpb/_stream/errors.py` finds.

use std::collections::HashSet;
use std::sync::LazyLock;

use memchr::memmem::Finder;

use crate::error::{ConversionError, find_error as find_fault, too_deep};
use crate::json::BOM;
use crate::schema::MessageType;
use crate::stream::tree::{Members, Node, parse};
use crate::{Nan, schema};

/// FastAPI's member for an error: a text, or a list of places with texts. OpenAI does not have it.
const DETAIL: &str = "detail";

/// The names of members that tell errors from answers.
struct Names {
    error: &'static str,
    message: &'static str,
    choices: &'static str,
    /// What errors have too: the kind of an object, and who asked.
    shared: [&'static str; 2],
    /// All members of chunks and completions.
    answers: HashSet<&'static str>,
    /// The names of an error, its message, its detail and choices, in quotes.
    quoted: [Finder<'static>; 4],
}

static NAMES: LazyLock<Names> = LazyLock::new(|| {
    let (chunk, completion) = (mapped("ChatCompletionChunk"), mapped("ChatCompletion"));
    let members = chunk.fields.iter().chain(&completion.fields);
    let error = name(mapped("ErrorResponse"), 1);
    let (message, choices) = (name(mapped("Error"), 1), name(chunk, 5));
    Names {
        quoted: [error, message, DETAIL, choices]
            .map(|name| Finder::new(&format!("\"{name}\"")).into_owned()),
        error,
        message,
        choices,
        shared: [name(chunk, 2), name(completion, 100)],
        answers: members
            .filter(|field| !field.is_alternative)
            .map(|field| field.name.as_str())
            .collect(),
    }
});

fn mapped(name: &str) -> &'static MessageType {
    let index = schema().message_type(&format!("chatpb.v1.{name}"));
    &schema().messages[index.expect("the schema has the types of answers and errors")]
}

/// The name of the field with a number.
fn name(mapped: &'static MessageType, number: u32) -> &'static str {
    &mapped.fields[usize::from(mapped.by_number(number))].name
}

/// An error that was found in a JSON text.
pub struct FoundError {
    /// The JSON text of an object that is the error; None if that is the whole text.
    pub text: Option<Vec<u8>>,
    /// Whether the text holds nothing but the error, so that it is not a chunk as well.
    pub is_alone: bool,
    /// Whether it is the error of a choice: other choices may have none.
    pub is_of_choice: bool,
}

impl FoundError {
    fn alone(text: Option<Vec<u8>>) -> Self {
        Self {
            text,
            is_alone: true,
            is_of_choice: false,
        }
    }

    /// An error that is next to something else, as an object that has it.
    fn beside(error: &Node, is_of_choice: bool) -> Self {
        let mut members = Members::default();
        members.set(NAMES.error.as_bytes(), error.clone());
        Self {
            text: Some(members.to_text()),
            is_alone: false,
            is_of_choice,
        }
    }
}

/// Finds the error in what a server sent as a chunk or an error.
///
/// The error is a member of its own: alone, next to members that are null, in a chunk, or in a
/// choice. Or the members of the error are at the top ("flat"), or it is in a list.
///
/// It fails if the text is not JSON, where it looks like an error.
pub fn find_error(data: &[u8]) -> Result<Option<FoundError>, ConversionError> {
    if !may_be_error(data) {
        return Ok(None);
    }
    if let Some(fault) = find_fault(data, Nan::Allowed) {
        return Err(fault);
    }
    let text = data.strip_prefix(BOM).unwrap_or(data);
    let tree = parse(text).map_err(|_| ConversionError::new(too_deep()))?;
    Ok(match &tree {
        Node::Object(members) => in_object(members),
        Node::Array(items) => match items.first() {
            Some(Node::Object(members)) => in_object(members)
                .filter(|found| found.is_alone)
                .map(|_| FoundError::alone(Some(members.to_text()))),
            _ => None,
        },
        _ => None,
    })
}

/// Whether `find_error` has to read a text, to know whether it is an error.
fn may_be_error(data: &[u8]) -> bool {
    let has = |name: &Finder<'_>| name.find(data).is_some();
    let [error, message, detail, choices] = &NAMES.quoted;
    has(error) || (has(message) || has(detail)) && !has(choices)
}

fn get<'m>(members: &'m Members, name: &str) -> Option<&'m Node> {
    members.get(name.as_bytes())
}

fn has_value(members: &Members, name: &str) -> bool {
    get(members, name).is_some_and(|value| !matches!(value, Node::Null))
}

/// The error that is a member of an object, if it is not empty.
fn error_of(members: &Members) -> Option<&Node> {
    get(members, NAMES.error).filter(|error| error.is_truthy())
}

fn in_object(members: &Members) -> Option<FoundError> {
    if let Some(error) = error_of(members) {
        return Some(if has_value(members, NAMES.choices) {
            FoundError::beside(error, false)
        } else {
            FoundError::alone(None)
        });
    }
    if let Some(Node::Array(choices)) = get(members, NAMES.choices) {
        let mut errors = choices
            .iter()
            .filter_map(Node::as_object)
            .filter_map(error_of);
        if let Some(error) = errors.next() {
            return Some(FoundError::beside(error, true));
        }
    }
    let is_alone = if get(members, NAMES.error).is_some() {
        // Null, or empty.
        let mut names = members.iter();
        !names.any(|(name, _)| is_of_answer(name))
    } else {
        is_flat(members)
    };
    is_alone.then(|| FoundError::alone(None))
}

fn is_of_answer(name: &[u8]) -> bool {
    std::str::from_utf8(name).is_ok_and(|name| NAMES.answers.contains(name))
}

/// Whether an object is an error whose members are at the top.
fn is_flat(members: &Members) -> bool {
    let is_answer = |(name, value): (&[u8], &Node)| {
        !matches!(value, Node::Null)
            && is_of_answer(name)
            && !NAMES.shared.iter().any(|shared| shared.as_bytes() == name)
    };
    let has_text = has_value(members, NAMES.message) || has_value(members, DETAIL);
    has_text && !members.iter().any(is_answer)
}
