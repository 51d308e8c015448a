//! JSON trees: what streams are joined as.

use std::collections::HashMap;

use crate::json::{Cursor, put_wtf8, put_wtf8_quoted};
use crate::stream::elements::{KeyedElements, UnknownElements};
use crate::stream::pieces::{Name, Text};
use crate::{Declined, Nan};

/// How many names of members are compared one by one before they are hashed.
const FEW_NAMES: usize = 12;
/// An integer of that many characters is kept as a number with a spelling of its own.
const LONG_INTEGER: usize = 4300;

/// A JSON value, or what the values of a member were joined to.
///
/// Strings are WTF-8: UTF-8 that may have lone surrogates, but never two that make a pair.
#[derive(Clone, Debug)]
pub enum Node {
    Null,
    Bool(bool),
    /// A number, as it is spelled.
    Number(Box<[u8]>),
    String(Box<[u8]>),
    Array(Vec<Node>),
    Object(Members),
    /// A string that comes in pieces.
    Text(Text),
    /// A name that comes in pieces.
    Name(Name),
    /// The elements of an array of messages with a key.
    Keyed(Box<KeyedElements>),
    /// The elements of an array that the schema does not know.
    Unknown(Box<UnknownElements>),
}

/// The members of an object, in their order.
#[derive(Clone, Debug, Default)]
pub struct Members {
    entries: Vec<(Box<[u8]>, Node)>,
    /// The places of the entries, if they are many.
    index: Option<HashMap<Box<[u8]>, usize>>,
    /// By their names, the objects that some servers send next to the pieces of them: each member
    /// as it was last sent and not empty.
    pub wholes: Vec<(Box<[u8]>, Members)>,
}

impl Members {
    pub fn find(&self, name: &[u8]) -> Option<usize> {
        match &self.index {
            Some(index) => index.get(name).copied(),
            None => self.entries.iter().position(|entry| &*entry.0 == name),
        }
    }

    pub fn get(&self, name: &[u8]) -> Option<&Node> {
        self.find(name).map(|place| &self.entries[place].1)
    }

    pub fn at(&mut self, place: usize) -> &mut Node {
        &mut self.entries[place].1
    }

    pub fn contains(&self, name: &[u8]) -> bool {
        self.find(name).is_some()
    }

    /// Sets a member: in its place, or as the last one if it is new.
    pub fn set(&mut self, name: impl Into<Box<[u8]>> + AsRef<[u8]>, value: Node) {
        match self.find(name.as_ref()) {
            Some(place) => self.entries[place].1 = value,
            None => self.push(name.into(), value),
        }
    }

    /// Adds a member whose name is new.
    pub fn push(&mut self, name: Box<[u8]>, value: Node) {
        let place = self.entries.len();
        if let Some(index) = &mut self.index {
            index.insert(name.clone(), place);
        } else if place >= FEW_NAMES {
            let entries = self.entries.iter().enumerate();
            let mut index: HashMap<_, _> = entries.map(|(at, e)| (e.0.clone(), at)).collect();
            index.insert(name.clone(), place);
            self.index = Some(index);
        }
        self.entries.push((name, value));
    }

    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &Node)> {
        self.entries.iter().map(|(name, value)| (&**name, value))
    }

    /// Whether there is nothing, nor the whole of something.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.wholes.is_empty()
    }

    /// The object without the members for which `keep` is false.
    pub fn filtered(&self, mut keep: impl FnMut(&[u8], &Node) -> bool) -> Self {
        let kept = self.iter().filter(|(name, value)| keep(name, value));
        kept.map(|(name, value)| (name.into(), value.clone()))
            .collect()
    }

    /// Sets all members of another object.
    pub fn extend(&mut self, other: &Self) {
        for (name, value) in other.iter() {
            self.set(name, value.clone());
        }
    }
}

impl FromIterator<(Box<[u8]>, Node)> for Members {
    /// The names are different ones.
    fn from_iter<T: IntoIterator<Item = (Box<[u8]>, Node)>>(entries: T) -> Self {
        let mut members = Self::default();
        for (name, value) in entries {
            members.push(name, value);
        }
        members
    }
}

impl IntoIterator for Members {
    type Item = (Box<[u8]>, Node);
    type IntoIter = std::vec::IntoIter<Self::Item>;

    fn into_iter(self) -> Self::IntoIter {
        self.entries.into_iter()
    }
}

/// Whether a number is one that Python reads as an integer.
pub fn is_integer(number: &[u8]) -> bool {
    number != b"-0"
        && number.len() < LONG_INTEGER
        && number
            .iter()
            .all(|&byte| byte == b'-' || byte.is_ascii_digit())
        && number.last().is_some_and(u8::is_ascii_digit)
}

/// Whether a number is NaN or an infinity.
fn is_constant(number: &[u8]) -> bool {
    number.last().is_some_and(u8::is_ascii_alphabetic)
}

impl Node {
    pub fn string(text: &[u8]) -> Self {
        Self::String(text.into())
    }

    /// Whether the value erases nothing: null, "", 0, [] or {}.
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Null => true,
            Self::String(text) => text.is_empty(),
            Self::Array(items) => items.is_empty(),
            Self::Object(members) => members.is_empty(),
            Self::Number(number) if is_constant(number) => false,
            Self::Number(number) => {
                let text = std::str::from_utf8(number);
                text.is_ok_and(|text| text.parse::<f64>() == Ok(0.0))
            }
            _ => false,
        }
    }

    /// The value as the condition of an `if`, as in the reference.
    pub fn is_truthy(&self) -> bool {
        match self {
            Self::Bool(value) => *value,
            Self::Number(number) => &**number != b"0",
            _ => !self.is_empty(),
        }
    }

    pub fn as_string(&self) -> Option<&[u8]> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    pub fn as_object(&self) -> Option<&Members> {
        match self {
            Self::Object(members) => Some(members),
            _ => None,
        }
    }

    /// Whether two values are equal: numbers by their spelling, objects without order.
    pub fn equals(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Null, Self::Null) => true,
            (Self::Bool(one), Self::Bool(two)) => one == two,
            (Self::Number(one), Self::Number(two)) => one == two && &**one != b"NaN",
            (Self::String(one), Self::String(two)) => one == two,
            (Self::Array(one), Self::Array(two)) => {
                one.len() == two.len() && one.iter().zip(two).all(|(one, two)| one.equals(two))
            }
            (Self::Object(one), Self::Object(two)) => {
                let is_same =
                    |(name, value): (&[u8], &Self)| two.get(name).is_some_and(|o| value.equals(o));
                one.wholes.is_empty()
                    && two.wholes.is_empty()
                    && one.entries.len() == two.entries.len()
                    && one.iter().all(is_same)
            }
            _ => false,
        }
    }

    /// Appends the value as JSON text.
    pub fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Null => out.extend_from_slice(b"null"),
            Self::Bool(true) => out.extend_from_slice(b"true"),
            Self::Bool(false) => out.extend_from_slice(b"false"),
            Self::Number(number) => out.extend_from_slice(number),
            Self::String(text) => put_wtf8_quoted(text, out),
            Self::Array(items) => {
                out.push(b'[');
                for (place, item) in items.iter().enumerate() {
                    if place > 0 {
                        out.push(b',');
                    }
                    item.write(out);
                }
                out.push(b']');
            }
            Self::Object(members) => members.write(out),
            _ => unreachable!("what was joined is finished before it is written"),
        }
    }
}

impl Members {
    /// Appends the object as JSON text.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.push(b'{');
        for (place, (name, value)) in self.iter().enumerate() {
            if place > 0 {
                out.push(b',');
            }
            put_wtf8_quoted(name, out);
            out.push(b':');
            value.write(out);
        }
        out.push(b'}');
    }

    /// The object as JSON text.
    pub fn to_text(&self) -> Vec<u8> {
        let mut text = Vec::new();
        self.write(&mut text);
        text
    }
}

/// Reads a JSON text. It is valid, except that it may nest too deep.
pub fn parse(text: &[u8]) -> Result<Node, Declined> {
    let mut cursor = Cursor::new(text, 0, Nan::Allowed);
    value(&mut cursor)
}

fn value(json: &mut Cursor<'_>) -> Result<Node, Declined> {
    let start = match json.next() {
        b'"' => return Ok(Node::String(string(json)?)),
        b'{' => {
            let mut members = Members::default();
            json.enter()?;
            let mut more = json.any(b'}');
            while more {
                json.skip_space();
                let name = string(json)?;
                json.expect(b':')?;
                members.set(name, value(json)?);
                more = json.more(b'}')?;
            }
            return Ok(Node::Object(members));
        }
        b'[' => {
            let mut items = Vec::new();
            json.enter()?;
            let mut more = json.any(b']');
            while more {
                items.push(value(json)?);
                more = json.more(b']')?;
            }
            return Ok(Node::Array(items));
        }
        _ => json.at,
    };
    json.word_or_number()?;
    Ok(match &json.data[start..json.at] {
        b"null" => Node::Null,
        b"true" => Node::Bool(true),
        b"false" => Node::Bool(false),
        number => Node::Number(number.into()),
    })
}

fn string(json: &mut Cursor<'_>) -> Result<Box<[u8]>, Declined> {
    let text = json.string()?;
    if !text.has_escapes {
        return Ok(text.raw.into());
    }
    let mut out = Vec::with_capacity(text.raw.len());
    put_wtf8(text, &mut out)?;
    Ok(out.into())
}
