//! A stream of chunks to the completion that it makes.

use crate::stream::elements::{KeyedElements, UnknownElements};
use crate::stream::pieces::{Name, Text, begins};
use crate::stream::rules::{Field, Rule, Type, Unknown, rules};
use crate::stream::tree::{Members, Node};

/// Joins the members of a chunk into what the chunks before it make.
pub fn join_chunk(joined: &mut Members, chunk: Members) {
    let mapped = rules().chunk();
    join_members(joined, chunk, Some(mapped), Unknown::of(mapped));
}

/// Joins the members of an object into `joined`.
fn join_members(
    joined: &mut Members,
    members: Members,
    mapped: Option<&'static Type>,
    unknown: Unknown,
) {
    for (name, mut value) in members {
        let Some(field) = mapped.and_then(|mapped| mapped.field(&name)) else {
            let rule = unknown.rule_of(&name);
            join_member(joined, &name, value, rule, None, unknown);
            continue;
        };
        let mut rule = field.rule;
        match rule {
            Rule::Drop => continue,
            Rule::Whole => {
                join_whole(joined, name, value);
                continue;
            }
            Rule::Kind => {
                rule = Rule::Replace;
                if field
                    .unset
                    .as_ref()
                    .is_some_and(|unset| value.equals(unset))
                {
                    let folded = rules().completion().field(&name);
                    value = folded.and_then(|f| f.unset.clone()).unwrap_or(Node::Null);
                }
            }
            _ => {}
        }
        join_member(joined, &field.into, value, rule, Some(field), unknown);
    }
}

fn join_member(
    joined: &mut Members,
    name: &[u8],
    value: Node,
    rule: Rule,
    field: Option<&'static Field>,
    unknown: Unknown,
) {
    match joined.find(name) {
        Some(place) => {
            let old = std::mem::replace(joined.at(place), Node::Null);
            *joined.at(place) = join(Some(old), value, rule, field, unknown);
        }
        None => joined.push(name.into(), join(None, value, rule, field, unknown)),
    }
}

/// Joins two values of a member; `finish` makes a JSON value of the result.
///
/// `unknown` has the rules for members that the schema does not know, in the message around it.
fn join(
    old: Option<Node>,
    new: Node,
    rule: Rule,
    field: Option<&'static Field>,
    unknown: Unknown,
) -> Node {
    let message = field.and_then(Field::message);
    let (mut old, new) = match (old, new, message) {
        (old, new @ (Node::Object(_) | Node::Array(_)), Some(message)) if rule == Rule::ByKey => {
            let mut keyed = match old {
                Some(Node::Keyed(keyed)) => keyed,
                _ => Box::new(KeyedElements::new(message)),
            };
            join_keyed(&mut keyed, new);
            return Node::Keyed(keyed);
        }
        (Some(old @ Node::Keyed(_)), _, _) => return old,
        (old, new, _) => (old, new),
    };
    match (new, rule) {
        (Node::Object(new), _) => {
            let mut joined = match old {
                Some(Node::Object(joined)) => joined,
                _ => Members::default(),
            };
            match (field, message) {
                (None, _) => join_members(&mut joined, new, None, unknown),
                (Some(_), Some(message)) => {
                    join_members(&mut joined, new, Some(message), Unknown::of(message));
                }
                (Some(_), None) => {
                    join_members(&mut joined, new, None, Unknown { rule, ..unknown });
                }
            }
            Node::Object(joined)
        }
        (Node::String(new), Rule::Append) => append_text(old, &new, field),
        (Node::Array(new), Rule::Append | Rule::AppendArrays) => {
            append_array(old, new, field, unknown)
        }
        (Node::String(new), Rule::Name) => {
            if let Some(Node::Name(name)) = &mut old {
                name.add(&new);
            } else {
                old = Some(Node::Name(Name::new(&new)));
            }
            old.unwrap_or(Node::Null)
        }
        (new, _) => match old {
            None | Some(Node::Null) => new,
            Some(old) if new.is_empty() || (rule == Rule::First && !old.is_empty()) => old,
            Some(_) => new,
        },
    }
}

fn join_keyed(keyed: &mut KeyedElements, values: Node) {
    keyed.begin_array();
    let values = match values {
        Node::Array(values) => values,
        value => vec![value],
    };
    let count = values.len();
    for (position, value) in values.into_iter().enumerate() {
        if let Node::Object(value) = value {
            let mapped = keyed.mapped;
            let joined = keyed.place(&value, position, count);
            join_members(joined, value, Some(mapped), Unknown::of(mapped));
        } else {
            keyed.add(value);
        }
    }
}

fn append_array(
    old: Option<Node>,
    new: Vec<Node>,
    field: Option<&'static Field>,
    unknown: Unknown,
) -> Node {
    if !unknown.joins_objects() || field.is_some_and(|field| field.is_repeated) {
        let mut items = match old {
            Some(Node::Array(items)) => items,
            Some(Node::Text(text)) if !text.is_blank() => vec![Node::Text(text)],
            _ => Vec::new(),
        };
        items.extend(new);
        return Node::Array(items);
    }
    let mut parts = match old {
        Some(Node::Unknown(parts)) => parts,
        Some(Node::Text(text)) if !text.is_blank() => {
            let mut parts = Box::new(UnknownElements::new(unknown));
            append_part(&mut parts, &text.finish(), field);
            parts
        }
        _ => Box::new(UnknownElements::new(unknown)),
    };
    parts.begin_array();
    for (position, value) in new.into_iter().enumerate() {
        match value {
            Node::Object(value) => join_part(&mut parts, value, position),
            value => parts.add(value),
        }
    }
    Node::Unknown(parts)
}

fn join_part(parts: &mut UnknownElements, value: Members, position: usize) {
    let rules = parts.rules.within_array();
    join_members(parts.place(&value, position), value, None, rules);
}

fn append_text(old: Option<Node>, new: &[u8], field: Option<&'static Field>) -> Node {
    let begin = || Node::Text(Text::new(new, field.is_some_and(|field| field.is_base64)));
    match old {
        Some(Node::Text(mut text)) => {
            text.append(new);
            Node::Text(text)
        }
        Some(Node::Unknown(mut parts)) => {
            if !new.is_empty() {
                append_part(&mut parts, new, field);
            }
            Node::Unknown(parts)
        }
        Some(Node::Array(mut items)) => {
            if let (false, Some(Node::Text(text))) = (new.is_empty(), items.last_mut()) {
                text.append(new);
            } else if !new.is_empty() {
                items.push(begin());
            }
            Node::Array(items)
        }
        _ => begin(),
    }
}

/// Appends a string to an array of parts.
fn append_part(parts: &mut UnknownElements, text: &[u8], field: Option<&'static Field>) {
    parts.begin_array();
    match field.and_then(|field| field.part.as_ref()) {
        None => parts.add(Node::string(text)),
        Some((part, name)) => {
            let mut part = part.clone();
            part.set(name.clone(), Node::string(text));
            join_part(parts, part, 0);
        }
    }
}

/// Joins a member that is sent next to its pieces.
fn join_whole(joined: &mut Members, name: Box<[u8]>, value: Node) {
    let Node::Object(value) = value else {
        if !joined.contains(&name) {
            joined.push(name, value);
        }
        return;
    };
    let place = joined.wholes.iter().position(|(known, _)| *known == name);
    let place = place.unwrap_or_else(|| {
        joined.wholes.push((name, Members::default()));
        joined.wholes.len() - 1
    });
    let whole = &mut joined.wholes[place].1;
    for (member, new) in value {
        if !new.is_empty() || !whole.contains(&member) {
            whole.set(member, new);
        }
    }
}

/// Makes a JSON tree of what was joined.
pub fn finish(joined: Node) -> Node {
    let items = |items: &mut dyn Iterator<Item = Node>| Node::Array(items.map(finish).collect());
    match joined {
        Node::Text(text) => Node::String(text.finish().into()),
        Node::Name(name) => Node::String(name.finish().into()),
        Node::Keyed(keyed) => items(&mut keyed.in_order()),
        Node::Unknown(parts) => items(&mut parts.in_order()),
        Node::Array(all) => items(&mut all.into_iter()),
        Node::Object(members) => Node::Object(finish_members(members)),
        value => value,
    }
}

/// Makes a JSON object of what was joined.
pub fn finish_members(mut joined: Members) -> Members {
    let wholes = std::mem::take(&mut joined.wholes);
    let members = joined.into_iter();
    let mut finished: Members = members.map(|(name, value)| (name, finish(value))).collect();
    for (name, whole) in wholes {
        let pieces = finished.get(&name).and_then(Node::as_object);
        let merged = merge(whole, pieces);
        finished.set(name, Node::Object(merged));
    }
    finished
}

/// The object that was sent whole, where it has all that its pieces make.
fn merge(mut whole: Members, pieces: Option<&Members>) -> Members {
    for (name, piece) in pieces.into_iter().flat_map(Members::iter) {
        if !whole.get(name).is_some_and(|value| covers(value, piece)) {
            whole.set(name, piece.clone());
        }
    }
    whole
}

/// Whether a value has all that another one has, and perhaps more.
fn covers(whole: &Node, part: &Node) -> bool {
    match (whole, part) {
        (_, Node::Null) => true,
        // An object that was folded as an array of one.
        (Node::Object(_), Node::Array(parts)) if parts.len() == 1 => {
            // One of an array is not unpacked again.
            !matches!(parts[0], Node::Array(_) | Node::Null) && covers(whole, &parts[0])
        }
        (Node::Object(whole), Node::Object(part)) => part
            .iter()
            .all(|(name, part)| whole.get(name).is_some_and(|whole| covers(whole, part))),
        (Node::Array(whole), Node::Array(part)) => {
            whole.len() >= part.len() && whole.iter().zip(part).all(|(w, p)| covers(w, p))
        }
        (Node::String(whole), Node::String(part)) => begins(whole, part),
        (Node::Bool(whole), Node::Bool(part)) => whole == part,
        (Node::Null, _) => false,
        (Node::Number(one), Node::Number(two)) => covers_number(one, two),
        _ => false,
    }
}

/// Numbers are equal if they are spelled alike, except NaN.
fn covers_number(whole: &[u8], part: &[u8]) -> bool {
    whole == part && whole != b"NaN"
}
