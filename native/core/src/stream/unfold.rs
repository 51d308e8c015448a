//! A completion to a stream of chunks that makes it.

use std::collections::HashSet;

use crate::error::ConversionError;
use crate::stream::pieces::append_wtf8;
use crate::stream::rules::{Field, Rule, Type, rules};
use crate::stream::tree::{Members, Node, parse};
use crate::stream::{Folder, chunk_type, completion_type, lossless, object_of};
use crate::wire::{Fields, Value};
use crate::{Options, json_to_binary};

/// Splits a completion into the chunks of a stream, as api.openai.com would send it.
///
/// Each choice gives a first chunk with the role, then its text (a chunk for each token if log
/// probabilities tell the tokens), its tool calls, and a last chunk with the finish reason; the
/// usage comes in a chunk of its own. If the pieces cannot express a message, for example a tool
/// call with an index of its own, the last chunk of the choice also has the message whole, as some
/// servers send it. If even that does not make the completion, for example because two choices
/// share an index, a last chunk has the JSON text of the whole completion in a member that only
/// [`fold`](crate::fold) reads.
///
/// The law: `fold(unfold(c)) == c`, for every `c` that [`json_to_binary`] gives.
///
/// * `completion`: a `ChatCompletion` in binary form.
/// * `options`: `ignore_unknown_fields` counts; numbers that are not finite are always kept.
///
/// Gives the chunks in binary form.
///
/// # Errors
///
/// The completion cannot be read: see [`binary_to_json`](crate::binary_to_json).
///
/// # Examples
///
/// ```
/// # fn main() -> Result<(), chatpb::ConversionError> {
/// let text = br#"{"id":"chatcmpl-1","choices":[{"index":0,"message":{"content":"Hi"}}]}"#;
/// let message_type = chatpb::schema().message_type("chatpb.v1.ChatCompletion").unwrap();
/// let completion = chatpb::json_to_binary(text, message_type, Default::default())?;
/// let chunks = chatpb::unfold(&completion, Default::default())?;
/// assert_eq!(completion, chatpb::fold(&chunks, Default::default())?);
/// # Ok(())
/// # }
/// ```
pub fn unfold(completion: &[u8], options: Options) -> Result<Vec<Vec<u8>>, ConversionError> {
    let tree = object_of(completion, completion_type(), options)?;
    let expected = json_to_binary(&tree.to_text(), completion_type(), lossless())?;
    let every = every(&tree, &outside_schema(&expected));
    for whole in [false, true] {
        let chunks = to_chunks(&tree, &every, whole)?;
        let mut folder = Folder::new(lossless());
        let added: Result<(), _> = chunks.iter().try_for_each(|chunk| folder.add(chunk));
        added?;
        if folder.finish()? == expected {
            return Ok(chunks);
        }
    }
    let mut chunks = to_chunks(&tree, &every, false)?;
    let mut last = every;
    let chunk = rules().chunk();
    for field in chunk.fields.iter().filter(|f| f.rule == Rule::ByKey) {
        last.set(field.name.clone(), Node::Array(Vec::new()));
    }
    last.set(chunk.whole.clone(), Node::string(&tree.to_text()));
    chunks.push(to_chunk(&last)?);
    Ok(chunks)
}

/// The pieces of a completion in binary form. Each is converted before the next is made, since a tree
/// takes many times the memory of its bytes.
fn to_chunks(
    tree: &Members,
    every: &Members,
    whole: bool,
) -> Result<Vec<Vec<u8>>, ConversionError> {
    let mut chunks = Vec::new();
    split(tree, every, whole, &mut |part| {
        chunks.push(to_chunk(&part)?);
        Ok(())
    })?;
    Ok(chunks)
}

fn to_chunk(part: &Members) -> Result<Vec<u8>, ConversionError> {
    json_to_binary(&part.to_text(), chunk_type(), lossless())
}

/// The members that the typed fields of a completion in its normal form do not hold.
fn outside_schema(completion: &[u8]) -> HashSet<Box<[u8]>> {
    // The field `extra_json` of a residue.
    const EXTRA: u32 = 4;
    let part = |data, number| {
        let mut fields = Fields::new(data);
        while let Ok(Some((found, value))) = fields.next() {
            if let (true, Value::Bytes(bytes)) = (found == number, value) {
                return bytes;
            }
        }
        &[][..]
    };
    let extra = part(part(completion, rules().completion().residue), EXTRA);
    match parse(extra) {
        Ok(Node::Object(members)) => members.into_iter().map(|(name, _)| name).collect(),
        _ => HashSet::new(),
    }
}

/// The members that every chunk has: scalars that the schema knows.
fn every(tree: &Members, outside: &HashSet<Box<[u8]>>) -> Members {
    let mut every = Members::default();
    for field in &rules().chunk().fields {
        let Some(value) = tree.get(&field.name) else {
            continue;
        };
        if outside.contains(&field.name) || matches!(value, Node::Array(_) | Node::Object(_)) {
            continue;
        }
        let folded = rules().completion().field(&field.name);
        let folded = folded.and_then(|folded| folded.unset.as_ref());
        let is_kind = field.rule == Rule::Kind && folded.is_some_and(|word| value.equals(word));
        let word = field.unset.as_ref().filter(|_| is_kind);
        every.push(field.name.clone(), word.unwrap_or(value).clone());
    }
    every
}

/// An object with the members of another one, and one more.
fn with(members: &Members, name: &[u8], value: Node) -> Members {
    let mut members = members.clone();
    members.set(name, value);
    members
}

/// Gives the pieces of a completion; members that are not in every piece come in the last one.
fn split(
    tree: &Members,
    every: &Members,
    whole: bool,
    give: &mut dyn FnMut(Members) -> Result<(), ConversionError>,
) -> Result<(), ConversionError> {
    let mut every = every.clone();
    let mut once = tree.filtered(|name, _| !every.contains(name));
    let lists = rules().chunk().fields.iter();
    for field in lists.filter(|field| field.rule == Rule::ByKey) {
        let Some(Node::Array(choices)) = once.get(&field.name) else {
            continue;
        };
        let choices: Option<Vec<_>> = choices.iter().map(Node::as_object).collect();
        let (Some(choices), Some(mapped)) = (choices, field.message()) else {
            continue;
        };
        if choices.is_empty() {
            continue;
        }
        for piece in choices
            .iter()
            .flat_map(|choice| split_choice(choice, mapped, whole))
        {
            give(with(
                &every,
                &field.name,
                Node::Array(vec![Node::Object(piece)]),
            ))?;
        }
        once = once.filtered(|name, _| *name != *field.name);
        every.set(field.name.clone(), Node::Array(Vec::new()));
        if once.is_empty() {
            return Ok(());
        }
    }
    every.extend(&once);
    give(every)
}

/// The pieces of one choice, the last with the message whole as well if `whole`.
fn split_choice(choice: &Members, mapped: &'static Type, whole: bool) -> Vec<Members> {
    let delta = mapped.fields.iter().find(|field| field.into != field.name);
    let found = delta.and_then(|delta| {
        let message = choice.get(&delta.into)?.as_object()?;
        Some((delta, message, delta.message()?))
    });
    let Some((delta, message, delta_type)) = found else {
        return vec![choice.clone()];
    };
    let mut last = choice.filtered(|name, _| whole || *name != *delta.into);
    let mut every = Members::default();
    for field in mapped
        .fields
        .iter()
        .filter(|field| field.name != delta.name)
    {
        let Some(value) = last.get(&field.name) else {
            continue;
        };
        if field.is_key {
            every.push(field.name.clone(), value.clone());
        } else if matches!(field.unset, Some(Node::Null)) {
            every.push(field.name.clone(), Node::Null);
        }
    }
    let piece = |members: Members| with(&every, &delta.name, Node::Object(members));
    let one = |name: &[u8], value: Node| Members::from_iter([(name.into(), value)]);
    let (first, texts, lists) = parts_of(message, delta_type);
    let mut pieces = vec![piece(first)];
    for (name, text) in texts {
        let Some(tokens) = tokens_of(name, text, &last, mapped) else {
            pieces.push(piece(one(name, Node::string(text))));
            continue;
        };
        let holder = tokens.holder;
        for (element, token) in tokens.elements {
            let held = with(&tokens.others, name, Node::Array(vec![element]));
            let piece = piece(one(name, Node::String(token)));
            pieces.push(with(&piece, holder, Node::Object(held)));
        }
        if let Some(place) = last.find(holder)
            && let Node::Object(held) = last.at(place)
        {
            held.set(name, Node::Array(Vec::new()));
        }
    }
    for (name, item) in lists {
        pieces.push(piece(one(name, Node::Array(vec![item]))));
    }
    last.set(delta.name.clone(), Node::Object(Members::default()));
    pieces.push(last);
    pieces
}

type Parts<'a> = (Members, Vec<(&'a [u8], &'a [u8])>, Vec<(&'a [u8], Node)>);

/// What comes at once, what comes as text, and what comes element by element.
fn parts_of<'a>(message: &'a Members, mapped: &'static Type) -> Parts<'a> {
    let (mut first, mut texts, mut lists) = Parts::default();
    for (name, value) in message.iter() {
        let field = mapped.field(name);
        match (field.map(|field| field.rule), value) {
            (Some(Rule::Append), Node::String(text)) if !text.is_empty() => {
                texts.push((name, &**text));
            }
            (Some(Rule::ByKey), Node::Array(items)) if !items.is_empty() => {
                let items = items.iter().enumerate();
                lists.extend(items.map(|(index, item)| (name, numbered(item, index, field))));
            }
            _ => first.push(name.into(), value.clone()),
        }
    }
    (first, texts, lists)
}

/// An element with the key that tells it apart.
fn numbered(item: &Node, index: usize, field: Option<&'static Field>) -> Node {
    let mapped = field.and_then(Field::message);
    let key = mapped.and_then(|mapped| mapped.name_of(mapped.key));
    let (Node::Object(item), Some(key)) = (item, key) else {
        return item.clone();
    };
    let number = index.to_string().into_bytes();
    let mut numbered = Members::from_iter([(key.into(), Node::Number(number.into()))]);
    numbered.extend(item);
    Node::Object(numbered)
}

/// The tokens of a text.
struct Tokens<'a> {
    /// The member that holds the list.
    holder: &'a [u8],
    /// Each element of it, with its text.
    elements: Vec<(Node, Box<[u8]>)>,
    /// The members beside the list that every piece repeats.
    others: Members,
}

/// The tokens of a text, where the choice has a list of them under the same name; None if there is
/// no list or it does not spell the text.
fn tokens_of(
    name: &[u8],
    text: &[u8],
    choice: &Members,
    mapped: &'static Type,
) -> Option<Tokens<'static>> {
    mapped.fields.iter().find_map(|field| {
        let held = choice.get(&field.name)?.as_object()?;
        let spelled = field.message()?.field(name)?.message()?;
        let token = spelled
            .fields
            .iter()
            .find_map(|field| field.unset_utf8.as_ref())?;
        let Node::Array(elements) = held.get(name)? else {
            return None;
        };
        let token_of = |element: &Node| {
            let token = element.as_object()?.get(token)?.as_string()?;
            Some((element.clone(), token.into()))
        };
        let elements: Vec<(Node, Box<[u8]>)> =
            elements.iter().map(token_of).collect::<Option<_>>()?;
        let mut spelled = Vec::with_capacity(text.len());
        for (_, token) in &elements {
            append_wtf8(&mut spelled, token);
        }
        (spelled == text).then(|| Tokens {
            holder: &field.name,
            elements,
            others: held.filtered(|other, value| other != name && matches!(value, Node::Null)),
        })
    })
}
