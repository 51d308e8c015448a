//! Which element of an array a later element continues, and in what order the elements are.

use std::cmp::Ordering;
use std::collections::HashMap;

use crate::stream::rules::{Type, Unknown};
use crate::stream::tree::{Members, Node, is_integer};

/// A key of an element.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Key {
    Short(i64),
    /// Whether it is negative, and its digits.
    Long(bool, Box<[u8]>),
}

impl Key {
    /// The key that a value is, if it is an integer.
    fn of(value: Option<&Node>) -> Option<Self> {
        let Some(Node::Number(number)) = value else {
            return None;
        };
        if !is_integer(number) {
            return None;
        }
        let text = std::str::from_utf8(number).ok()?;
        Some(match text.parse() {
            Ok(short) => Self::Short(short),
            Err(_) => match text.strip_prefix('-') {
                Some(digits) => Self::Long(true, digits.as_bytes().into()),
                None => Self::Long(false, number.clone()),
            },
        })
    }

    fn at(position: usize) -> Self {
        Self::Short(position as i64)
    }
}

impl Ord for Key {
    fn cmp(&self, other: &Self) -> Ordering {
        let longer =
            |digits: &[u8], other: &[u8]| (digits.len(), digits).cmp(&(other.len(), other));
        match (self, other) {
            (Self::Short(one), Self::Short(two)) => one.cmp(two),
            (Self::Short(_), Self::Long(true, _)) | (Self::Long(false, _), Self::Short(_)) => {
                Ordering::Greater
            }
            (Self::Short(_), Self::Long(false, _)) | (Self::Long(true, _), Self::Short(_)) => {
                Ordering::Less
            }
            (Self::Long(false, one), Self::Long(false, two)) => longer(one, two),
            (Self::Long(true, one), Self::Long(true, two)) => longer(two, one),
            (Self::Long(one, _), Self::Long(two, _)) => two.cmp(one),
        }
    }
}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// One element of a folded array.
#[derive(Clone, Debug)]
struct Element {
    /// What it is so far: an object that others are joined into, or a value of its own.
    joined: Node,
    /// Its key, but not less than those of the elements that began before it in its array.
    place: Key,
    /// The number of the array that it was last found in.
    array: usize,
    is_keyed: bool,
}

/// The elements that the arrays of a stream make.
///
/// In the end they are sorted by their keys. An element without a key stays behind all that came
/// before it, and those that one array begins stay in its order.
#[derive(Clone, Debug)]
struct Elements {
    all: Vec<Element>,
    by_key: HashMap<Key, usize>,
    array: usize,
    /// Of those that began in this array.
    last_place: Key,
    highest_place: Key,
}

impl Elements {
    fn new() -> Self {
        Self {
            all: Vec::new(),
            by_key: HashMap::new(),
            array: 0,
            last_place: Key::at(0),
            highest_place: Key::at(0),
        }
    }

    fn begin_array(&mut self) {
        self.array += 1;
        self.last_place = Key::at(0);
    }

    /// Adds an element that continues none.
    fn add(&mut self, joined: Node, key: Option<Key>) -> usize {
        let place = key.as_ref().unwrap_or(&self.highest_place);
        let place = place.max(&self.last_place).clone();
        self.last_place = place.clone();
        if place > self.highest_place {
            self.highest_place = place.clone();
        }
        let added = self.all.len();
        self.all.push(Element {
            joined,
            place,
            array: self.array,
            is_keyed: key.is_some(),
        });
        if let Some(key) = key {
            self.by_key.insert(key, added);
        }
        added
    }

    /// The object of an element, or of a new one.
    fn touch(&mut self, known: Option<usize>, key: Option<Key>) -> (usize, &mut Members) {
        let place = known.unwrap_or_else(|| self.add(Node::Object(Members::default()), key));
        let element = &mut self.all[place];
        element.array = self.array;
        match &mut element.joined {
            Node::Object(members) => (place, members),
            _ => unreachable!("only objects are continued"),
        }
    }

    /// The object of an element; nothing if it is no object.
    fn object(&self, place: usize) -> Option<&Members> {
        self.all[place].joined.as_object()
    }

    /// What all elements are, in their order.
    fn in_order(mut self) -> impl Iterator<Item = Node> {
        self.all.sort_by(|one, two| one.place.cmp(&two.place));
        self.all.into_iter().map(|element| element.joined)
    }
}

/// Elements of a message type with a key, such as choices and tool calls.
#[derive(Clone, Debug)]
pub struct KeyedElements {
    pub mapped: &'static Type,
    elements: Elements,
    by_identity: HashMap<Box<[u8]>, usize>,
    latest: Option<usize>,
}

impl KeyedElements {
    pub fn new(mapped: &'static Type) -> Self {
        Self {
            mapped,
            elements: Elements::new(),
            by_identity: HashMap::new(),
            latest: None,
        }
    }

    /// Begins the next array of the stream.
    pub fn begin_array(&mut self) {
        self.elements.begin_array();
    }

    /// Adds an element that continues none.
    pub fn add(&mut self, value: Node) {
        self.elements.add(value, None);
    }

    /// What all elements are, in their order.
    pub fn in_order(self) -> impl Iterator<Item = Node> {
        self.elements.in_order()
    }

    /// The object to join an element into, which is at a position in an array of that many.
    pub fn place(&mut self, value: &Members, position: usize, count: usize) -> &mut Members {
        let key = self.mapped.name_of(self.mapped.key);
        let key = Key::of(key.and_then(|name| value.get(name)));
        let Some(identity_name) = self.mapped.name_of(self.mapped.identity) else {
            let key = key.unwrap_or(Key::at(position));
            // No chunk has one choice twice.
            let known = self.elements.by_key.get(&key).copied();
            let known = known.filter(|&at| self.elements.all[at].array != self.elements.array);
            let (place, joined) = self.elements.touch(known, Some(key));
            self.latest = Some(place);
            return joined;
        };
        let identity = value.get(identity_name).and_then(Node::as_string);
        let identity = identity.filter(|identity| !identity.is_empty());
        let among = (count > 1).then_some(position);
        let known = self.find(value, key.as_ref(), (identity_name, identity), among);
        let is_keyless = known.is_none() && key.is_none();
        let (place, _) = self.elements.touch(known, key);
        self.latest = Some(place);
        if is_keyless {
            let key = Key::at(self.elements.all.len() - 1);
            self.elements.by_key.entry(key).or_insert(place);
        }
        if let Some(identity) = identity {
            self.by_identity.insert(identity.into(), place);
        }
        self.elements.touch(Some(place), None).1
    }

    /// The element that another continues, if it has a key or an identity; None: it is new.
    fn find(
        &self,
        value: &Members,
        key: Option<&Key>,
        (name, identity): (&[u8], Option<&[u8]>),
        position: Option<usize>,
    ) -> Option<usize> {
        if let Some(key) = key {
            let known = self.elements.by_key.get(key).copied()?;
            let Some(identity) = identity.filter(|_| self.is_named(value)) else {
                return Some(known);
            };
            let old = self.elements.object(known).and_then(|o| o.get(name));
            let is_other = |old: &Node| old.is_truthy() && !old.equals(&Node::string(identity));
            return (!old.is_some_and(is_other)).then_some(known);
        }
        if let Some(identity) = identity {
            return self.by_identity.get(identity).copied();
        }
        if self.is_named(value) {
            return None;
        }
        match position {
            None => self.latest,
            Some(position) => self.elements.by_key.get(&Key::at(position)).copied(),
        }
    }

    fn is_named(&self, value: &Members) -> bool {
        self.mapped.names.iter().any(|(outer, inner)| {
            let holder = value.get(outer).and_then(Node::as_object);
            let name = holder.and_then(|holder| holder.get(inner)?.as_string());
            name.is_some_and(|name| !name.is_empty())
        })
    }
}

/// Elements of an array that the schema does not know, such as parts of a content.
#[derive(Clone, Debug)]
pub struct UnknownElements {
    pub rules: Unknown,
    elements: Elements,
}

impl UnknownElements {
    pub fn new(rules: Unknown) -> Self {
        Self {
            rules,
            elements: Elements::new(),
        }
    }

    /// Begins the next array of the stream.
    pub fn begin_array(&mut self) {
        self.elements.begin_array();
    }

    /// Adds an element that continues none.
    pub fn add(&mut self, value: Node) {
        self.elements.add(value, None);
    }

    /// What all elements are, in their order.
    pub fn in_order(self) -> impl Iterator<Item = Node> {
        self.elements.in_order()
    }

    /// The object to join an element into.
    pub fn place(&mut self, value: &Members, position: usize) -> &mut Members {
        let key = Key::of(value.get(&self.rules.options.key));
        let known = match &key {
            Some(key) => {
                let known = self.elements.by_key.get(key).copied();
                known.filter(|&at| {
                    let is_earlier = self.elements.all[at].array != self.elements.array;
                    is_earlier && self.is_same_kind(at, value)
                })
            }
            None if position > 0 => None,
            None => {
                let last = self.elements.all.len().checked_sub(1);
                last.filter(|&at| self.continues(at, value))
            }
        };
        self.elements.touch(known, key).1
    }

    fn is_same_kind(&self, known: usize, new: &Members) -> bool {
        let kind = &self.rules.options.kind;
        let kind_of = |members: &Members| members.get(kind).cloned().unwrap_or(Node::Null);
        let old = self.elements.object(known).map_or(Node::Null, kind_of);
        match (old, kind_of(new)) {
            (Node::Null, _) | (_, Node::Null) => true,
            (old, new) => old.equals(&new),
        }
    }

    /// Whether an element only adds pieces to the one before it.
    fn continues(&self, known: usize, new: &Members) -> bool {
        let options = self.rules.options;
        let Some(old) = self.elements.object(known) else {
            return false;
        };
        let Some(kind @ Node::String(_)) = new.get(&options.kind) else {
            return false;
        };
        let is_one = |name: &[u8], value: &Node| {
            options.is_piece(name)
                || value.is_empty()
                || old
                    .get(name)
                    .is_none_or(|old| old.is_empty() || value.equals(old))
        };
        let mut pieces = options.pieces.iter();
        !self.elements.all[known].is_keyed
            && old.get(&options.kind).is_some_and(|old| kind.equals(old))
            && pieces.any(|name| old.contains(name) || new.contains(name))
            && new.iter().all(|(name, value)| is_one(name, value))
    }
}
