//! The tables, compiled from the descriptors and their options.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU8, Ordering};

use prost_reflect::{
    Cardinality, DescriptorPool, EnumDescriptor, ExtensionDescriptor, FieldDescriptor,
    Kind as ProtoKind, MessageDescriptor,
};

use crate::Nan;
use crate::json::{Cursor, put_quoted, put_utf8};
use crate::wire::{FIXED32, FIXED64, LENGTH_DELIMITED, VARINT};

const PACKAGE: &str = "chatpb.v1";
/// What a message type must not exceed to be transcoded here: a bit for each field, and a table by
/// number.
const MAX_FIELDS: usize = 64;
const MAX_NUMBER: u32 = 1 << 16;
pub const NO_FIELD: u8 = u8::MAX;
/// How many bytes of unset members are copied at once.
const UNSET_BLOCK: usize = 64;

/// Every message type that stands for a JSON value, except those that are left to the reference.
pub struct Schema {
    #[doc(hidden)]
    pub messages: Vec<MessageType>,
    /// The full name of the residue.
    #[doc(hidden)]
    pub residue: String,
    by_name: HashMap<String, usize>,
}

#[derive(Default)]
pub struct MessageType {
    /// The full name.
    pub name: String,
    /// In the order of their members.
    pub fields: Vec<Field>,
    pub is_union: bool,
    /// The number of the field that holds the residue; 0 in a union.
    pub residue: u32,
    /// The fields that stand for a value while unset, a bit each.
    pub expected: u64,
    /// A bit for the place of each field, and its number, in the order of the numbers.
    pub numbers: Vec<(u64, u32)>,
    by_number: Vec<u8>,
    /// The places of the fields by the tag, of those whose tag is one byte; NO_FIELD where the wire
    /// type is not that of the field.
    by_tag: Vec<u8>,
    /// The lists and maps, a bit each.
    pub lists: u64,
    /// The fields whose unset value depends on another field, a bit each.
    pub derived: u64,
    /// The members of all fields as they are while unset, each after a comma, and where that of
    /// each field begins. The derived fields have none. Padded, so that a block can be copied.
    unset_text: Vec<u8>,
    unset_starts: Vec<u32>,
    /// Which member came first in the last object.
    pub first: Follower,
    /// Whether the fields are scalars whose numbers have the order of the members, and at most one
    /// is a string, `text`, that the bytes behind it are taken from.
    pub is_flat: bool,
    pub text: Option<usize>,
    /// The fields that have a member of their own, and those that share another one's, a bit each.
    pub members: u64,
    pub alternatives: u64,
}

pub struct Field {
    pub name: String,
    /// The name and the colon, as they are in JSON.
    pub member: Member,
    pub number: u32,
    pub kind: Kind,
    /// The wire type of a value.
    pub wire: Wire,
    pub shape: Shape,
    pub unset: Unset,
    /// The member as it is while the field is unset, with its value; None if there is none, or its
    /// value depends on another field.
    pub unset_member: Option<Member>,
    /// Whether the numbers of a list are written as one field.
    pub is_packed: bool,
    /// What the names of the members of a map are.
    pub key: Key,
    /// The place of the field with the JSON text of an array or an object that does not fit.
    pub alternative: Option<usize>,
    /// A bit for the place of the field, and one for that of `alternative`.
    pub bits: u64,
    /// Whether this is such a field, which has no member of its own.
    pub is_alternative: bool,
    /// Whether this is an integer whose field comes behind all others of its message.
    pub is_last_integer: bool,
    /// Which member came after this one the last time.
    pub follower: Follower,
    /// The place of the oneof whose other members are unset when this one is set.
    pub oneof: Option<u8>,
}

/// The place of the field whose member is expected next.
///
/// Servers differ in the order of the members, but one server keeps to its order. So what came the
/// last time is tried first. Threads share what they learn: it is only a guess.
#[derive(Default)]
pub struct Follower(AtomicU8);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shape {
    /// A scalar without presence.
    Implicit,
    Explicit,
    Repeated,
    Map,
}

pub enum Kind {
    Bool,
    Integer(Integer),
    Float,
    Double,
    String,
    /// A string that holds JSON text.
    Raw,
    ByteArray,
    Base64,
    Enum(Vec<Word>),
    Object(usize),
    Union(usize),
}

/// A word of an enum, in quotes, and its number.
pub struct Word {
    pub text: Member,
    pub number: i32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Key {
    String,
    Bool,
    Integer(Integer),
}

/// How the bytes of a value are found on the wire.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Wire {
    Varint,
    Fixed64,
    Fixed32,
    Bytes,
}

impl Wire {
    /// The number of the wire type.
    #[inline]
    pub fn number(self) -> u32 {
        match self {
            Wire::Varint => VARINT,
            Wire::Fixed64 => FIXED64,
            Wire::Fixed32 => FIXED32,
            Wire::Bytes => LENGTH_DELIMITED,
        }
    }
}

/// A type of integers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Integer {
    is_signed: bool,
    has_64_bits: bool,
    coding: Coding,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Coding {
    Varint,
    ZigZag,
    Fixed,
}

impl Integer {
    fn of(kind: &ProtoKind) -> Option<Self> {
        let (is_signed, has_64_bits, coding) = match kind {
            ProtoKind::Int32 => (true, false, Coding::Varint),
            ProtoKind::Int64 => (true, true, Coding::Varint),
            ProtoKind::Uint32 => (false, false, Coding::Varint),
            ProtoKind::Uint64 => (false, true, Coding::Varint),
            ProtoKind::Sint32 => (true, false, Coding::ZigZag),
            ProtoKind::Sint64 => (true, true, Coding::ZigZag),
            ProtoKind::Fixed32 => (false, false, Coding::Fixed),
            ProtoKind::Fixed64 => (false, true, Coding::Fixed),
            ProtoKind::Sfixed32 => (true, false, Coding::Fixed),
            ProtoKind::Sfixed64 => (true, true, Coding::Fixed),
            _ => return None,
        };
        Some(Self {
            is_signed,
            has_64_bits,
            coding,
        })
    }

    /// What is written for a number, with `put_number`; None if it is not in range or not spelled
    /// as an integer is.
    pub fn parse(self, text: &[u8]) -> Option<u64> {
        if text == b"-0" {
            return None;
        }
        let text = std::str::from_utf8(text).ok()?;
        let value = match (self.is_signed, self.has_64_bits) {
            (true, true) => text.parse::<i64>().ok()? as u64,
            (true, false) => i64::from(text.parse::<i32>().ok()?) as u64,
            (false, true) => text.parse::<u64>().ok()?,
            (false, false) => u64::from(text.parse::<u32>().ok()?),
        };
        if self.coding != Coding::ZigZag {
            return Some(value);
        }
        Some(value << 1 ^ (value as i64 >> 63) as u64)
    }

    /// What is written for a number below 2^63, with `put_number`; None if it is not in range.
    #[inline]
    pub fn bits_of(self, value: u64) -> Option<u64> {
        let is_in_range = self.has_64_bits || value >> (32 - u32::from(self.is_signed)) == 0;
        let is_zigzag = self.coding == Coding::ZigZag;
        is_in_range.then_some(value << u32::from(is_zigzag))
    }

    /// The value of what was read, if it is not negative and fits 31 bits; None for the others, and
    /// for those in ZigZag.
    #[inline]
    pub fn short_natural(self, bits: u64) -> Option<u32> {
        let value = u32::try_from(bits).ok()?;
        (value >> 31 == 0 && self.coding != Coding::ZigZag).then_some(value)
    }

    /// The value of what was read.
    pub fn value(self, bits: u64) -> i128 {
        let bits = if self.coding == Coding::ZigZag {
            let bits = if self.has_64_bits {
                bits
            } else {
                bits & 0xffff_ffff
            };
            bits >> 1 ^ (bits & 1).wrapping_neg()
        } else {
            bits
        };
        match (self.is_signed, self.has_64_bits) {
            (true, true) => i128::from(bits as i64),
            (true, false) => i128::from(bits as i32),
            (false, true) => i128::from(bits),
            (false, false) => i128::from(bits as u32),
        }
    }

    pub fn wire(self) -> Wire {
        match (self.coding, self.has_64_bits) {
            (Coding::Fixed, true) => Wire::Fixed64,
            (Coding::Fixed, false) => Wire::Fixed32,
            _ => Wire::Varint,
        }
    }
}

impl Word {
    /// The word without its quotes. None of them has an escape.
    pub fn name(&self) -> &[u8] {
        let text = self.text.text();
        &text[1..text.len() - 1]
    }
}

impl Kind {
    fn wire(&self) -> Wire {
        match self {
            Kind::Bool | Kind::Enum(_) => Wire::Varint,
            Kind::Integer(integer) => integer.wire(),
            Kind::Double => Wire::Fixed64,
            Kind::Float => Wire::Fixed32,
            _ => Wire::Bytes,
        }
    }

    /// The message type of the values.
    fn message(&self) -> Option<usize> {
        match self {
            Kind::Object(index) | Kind::Union(index) => Some(*index),
            _ => None,
        }
    }
}

impl Key {
    pub fn wire(self) -> Wire {
        match self {
            Key::String => Wire::Bytes,
            Key::Bool => Wire::Varint,
            Key::Integer(integer) => integer.wire(),
        }
    }
}

/// A short text that is copied often.
pub struct Member {
    /// The text after a comma: padded, so that it is copied as a block of fixed size.
    padded: [u8; Member::SIZE],
    text: Vec<u8>,
    /// The first 16 bytes, as a number, and which bits of it count.
    head: u128,
    mask: u128,
}

impl Member {
    const SIZE: usize = 32;

    /// The text of a name and a value; the value may be empty.
    fn new(name: &str, value: &str) -> Self {
        Self::of(format!("\"{name}\":{value}").into_bytes())
    }

    fn of(text: Vec<u8>) -> Self {
        let mut padded = [b','; Self::SIZE];
        let size = text.len().min(Self::SIZE - 1);
        padded[1..=size].copy_from_slice(&text[..size]);
        let mut head = [0; 16];
        let short = text.len().min(16);
        head[..short].copy_from_slice(&text[..short]);
        let mask = if size >= 16 {
            u128::MAX
        } else {
            (1 << (8 * size)) - 1
        };
        Self {
            padded,
            text,
            head: u128::from_le_bytes(head),
            mask,
        }
    }

    /// A text that no other begins with.
    fn none() -> Self {
        Self {
            head: 1,
            mask: 0,
            ..Self::new("0123456789abcdef", "")
        }
    }

    /// Whether a text begins with this one.
    #[inline]
    pub fn begins(&self, text: &[u8]) -> bool {
        let Some(head) = text.first_chunk() else {
            return text.starts_with(&self.text);
        };
        u128::from_le_bytes(*head) & self.mask == self.head
            && (self.text.len() <= 16 || text.starts_with(&self.text))
    }

    #[inline]
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// Appends a comma and the text.
    #[inline]
    pub fn put(&self, out: &mut Vec<u8>) {
        let size = self.text.len() + 1;
        if size > Self::SIZE {
            out.push(b',');
            out.extend_from_slice(&self.text);
            return;
        }
        let end = out.len() + size;
        out.extend_from_slice(&self.padded);
        out.truncate(end);
    }

    /// Appends the text.
    #[inline]
    pub fn put_text(&self, out: &mut Vec<u8>) {
        if self.text.len() >= Self::SIZE {
            return out.extend_from_slice(&self.text);
        }
        let end = out.len() + self.text.len();
        out.extend_from_slice(&self.padded[1..]);
        out.truncate(end);
    }
}

/// What an unset field stands for.
pub enum Unset {
    Nothing,
    Null,
    True,
    False,
    EmptyArray,
    EmptyObject,
    Text(String),
    /// The zero value, as JSON.
    Zero(&'static str),
    /// The UTF-8 bytes of the field at this place.
    Utf8(usize),
}

impl Unset {
    /// The value as JSON; None if there is none, or it depends on another field.
    fn json(&self) -> Option<Cow<'_, str>> {
        Some(Cow::Borrowed(match self {
            Unset::Nothing | Unset::Utf8(_) => return None,
            Unset::Null => "null",
            Unset::True => "true",
            Unset::False => "false",
            Unset::EmptyArray => "[]",
            Unset::EmptyObject => "{}",
            Unset::Zero(text) => text,
            Unset::Text(word) => {
                let mut text = Vec::new();
                put_quoted(word.as_bytes(), &mut text);
                return String::from_utf8(text).ok().map(Cow::Owned);
            }
        }))
    }
}

impl Schema {
    /// Compiles the tables from a serialized FileDescriptorSet.
    pub fn new(descriptor_set: &[u8]) -> Result<Self, String> {
        let pool = DescriptorPool::decode(descriptor_set).map_err(|error| error.to_string())?;
        Self::of(&pool)
    }

    /// Compiles the tables from descriptors.
    pub(crate) fn of(pool: &DescriptorPool) -> Result<Self, String> {
        let options = Options::new(pool)?;
        let all: Vec<_> = pool
            .all_messages()
            .filter(|m| options.is_union(m) != options.residue(m).is_some())
            .collect();
        let mut by_name: HashMap<_, _> = all
            .iter()
            .enumerate()
            .map(|(index, m)| (m.full_name().to_string(), index))
            .collect();
        let mut messages: Vec<_> = all
            .iter()
            .map(|m| options.message_type(m, &by_name).unwrap_or_default())
            .collect();
        // A type with a field of a type that is declined is declined too.
        loop {
            let declined: Vec<_> = (0..messages.len())
                .filter(|&index| messages[index].has_declined(&messages))
                .collect();
            if declined.is_empty() {
                break;
            }
            for index in declined {
                messages[index] = MessageType::default();
            }
        }
        by_name.retain(|_, index| !messages[*index].is_declined());
        Ok(Self {
            messages,
            residue: options.residue,
            by_name,
        })
    }

    /// The number of a message type that mirrors a JSON object, by its full name; None if it is
    /// left to the reference.
    pub fn message_type(&self, name: &str) -> Option<usize> {
        let index = *self.by_name.get(name)?;
        self.has_number(index).then_some(index)
    }

    /// Whether a message type that mirrors a JSON object has this number.
    #[doc(hidden)]
    pub fn has_number(&self, message_type: usize) -> bool {
        let mapped = self.messages.get(message_type);
        mapped.is_some_and(|mapped| !mapped.is_union)
    }
}

impl Schema {
    /// The number of the field with the residue of a message type; 0 if it has none.
    #[doc(hidden)]
    pub fn residue_of(&self, message_type: usize) -> u32 {
        let mapped = self.messages.get(message_type);
        mapped.map_or(0, |mapped| mapped.residue)
    }
}

impl MessageType {
    /// Whether the type is left to the reference: it mirrors neither an object nor a union.
    fn is_declined(&self) -> bool {
        self.residue == 0 && !self.is_union
    }

    fn has_declined(&self, messages: &[Self]) -> bool {
        let parts = self.fields.iter().filter_map(|field| field.kind.message());
        parts.into_iter().any(|index| messages[index].is_declined())
    }

    /// Whether the union is `[]` with no member set.
    pub fn has_repeated(&self) -> bool {
        let mut shapes = self.fields.iter().map(|field| field.shape);
        shapes.any(|shape| shape == Shape::Repeated)
    }

    /// The place of a field by its name.
    pub fn by_name(&self, name: &[u8]) -> Option<usize> {
        self.fields
            .iter()
            .position(|field| field.name.as_bytes() == name && !field.is_alternative)
    }

    /// The place of the field whose member begins a text, with neither escapes nor white space in it.
    #[inline]
    pub fn by_text(&self, follower: &Follower, text: &[u8]) -> Option<usize> {
        let guess = usize::from(follower.0.load(Ordering::Relaxed));
        let is_right = |field: &Field| field.member.begins(text);
        if self.fields.get(guess).is_some_and(is_right) {
            return Some(guess);
        }
        self.search(follower, text)
    }

    #[inline(never)]
    fn search(&self, follower: &Follower, text: &[u8]) -> Option<usize> {
        let mut fields = self.fields.iter();
        let place = fields.position(|field| field.member.begins(text))?;
        follower.0.store(place as u8, Ordering::Relaxed);
        Some(place)
    }

    #[inline]
    pub fn by_number(&self, number: u32) -> u8 {
        *self.by_number.get(number as usize).unwrap_or(&NO_FIELD)
    }

    /// The place of the field with a tag of one byte, which has the wire type of the field.
    #[inline]
    pub fn by_tag(&self, tag: u8) -> u8 {
        *self.by_tag.get(usize::from(tag)).unwrap_or(&NO_FIELD)
    }

    /// Appends the members of the fields from one place to another as they are while unset, each
    /// after a comma, without the derived ones.
    #[inline(always)]
    pub fn put_unset(&self, from: usize, to: usize, out: &mut Vec<u8>) {
        let (from, to) = (self.unset_starts[from], self.unset_starts[to]);
        if from != to {
            self.put_unset_text(from as usize, to as usize, out);
        }
    }

    #[inline(never)]
    fn put_unset_text(&self, from: usize, to: usize, out: &mut Vec<u8>) {
        let end = out.len() + to - from;
        match self.unset_text[from..].first_chunk::<UNSET_BLOCK>() {
            Some(block) if to - from <= UNSET_BLOCK => {
                out.extend_from_slice(block);
                out.truncate(end);
            }
            _ => out.extend_from_slice(&self.unset_text[from..to]),
        }
    }
}

impl Field {
    pub fn is_list(&self) -> bool {
        matches!(self.shape, Shape::Repeated | Shape::Map)
    }

    /// The place of the string that the bytes of the unset field are taken from.
    fn text(&self) -> Option<usize> {
        match self.unset {
            Unset::Utf8(text) => Some(text),
            _ => None,
        }
    }
}

/// The custom options of the schema.
struct Options {
    unset: ExtensionDescriptor,
    unset_utf8: ExtensionDescriptor,
    encoding: ExtensionDescriptor,
    alternative_to: ExtensionDescriptor,
    union: ExtensionDescriptor,
    residue: String,
}

impl Options {
    fn new(pool: &DescriptorPool) -> Result<Self, String> {
        let extension = |name: &str| {
            pool.get_extension_by_name(&format!("{PACKAGE}.{name}"))
                .ok_or_else(|| format!("the descriptor set lacks the option {name}"))
        };
        Ok(Self {
            unset: extension("json_unset")?,
            unset_utf8: extension("json_unset_utf8")?,
            encoding: extension("json_encoding")?,
            alternative_to: extension("json_alternative_to")?,
            union: extension("json_union")?,
            residue: format!("{PACKAGE}.Residue"),
        })
    }

    fn is_union(&self, message: &MessageDescriptor) -> bool {
        message.options().get_extension(&self.union).as_bool() == Some(true)
    }

    fn residue(&self, message: &MessageDescriptor) -> Option<u32> {
        let mut residues = message.fields().filter(|field| self.is_residue(field));
        let residue = residues.next()?;
        let is_one = residues.next().is_none() && residue.cardinality() != Cardinality::Repeated;
        is_one.then(|| residue.number())
    }

    fn is_residue(&self, field: &FieldDescriptor) -> bool {
        matches!(field.kind(), ProtoKind::Message(m) if m.full_name() == self.residue)
    }

    /// The table of a message type; None if it has something that is left to the reference, or that
    /// the reference refuses.
    fn message_type(
        &self,
        message: &MessageDescriptor,
        by_name: &HashMap<String, usize>,
    ) -> Option<MessageType> {
        // prost-reflect gives fields by number; members have the order of the file.
        let declared = message.descriptor_proto().field.iter();
        let descriptors: Vec<_> = declared
            .filter_map(|proto| message.get_field(proto.number() as u32))
            .filter(|field| !self.is_residue(field))
            .collect();
        if descriptors.len() > MAX_FIELDS || message.fields().any(|f| f.number() > MAX_NUMBER) {
            return None;
        }
        let is_union = self.is_union(message);
        let mut fields: Vec<Field> = descriptors
            .iter()
            .map(|field| self.field(field, &descriptors, by_name))
            .collect::<Option<_>>()?;
        if !self.read_alternatives(&descriptors, &mut fields, is_union) {
            return None;
        }
        let is_ambiguous = |field: &FieldDescriptor| match field.containing_oneof() {
            // Of an object, two members of a oneof can be present.
            Some(oneof) => !is_union && oneof.fields().len() > 1,
            None => is_union && !field.is_list() && !field.is_map() && !field.supports_presence(),
        };
        if descriptors.iter().any(is_ambiguous) {
            return None;
        }
        let most = fields.iter().map(|field| field.number).max().unwrap_or(0);
        let mut by_number = vec![NO_FIELD; most as usize + 1];
        let residue = self.residue(message).unwrap_or(0);
        let (mut expected, mut members, mut alternatives) = (0, 0, 0);
        let (mut lists, mut derived) = (0u64, 0u64);
        let (mut unset_text, mut unset_starts) = (Vec::new(), vec![0]);
        let mut by_tag = vec![NO_FIELD; 128];
        for (index, field) in fields.iter_mut().enumerate() {
            field.bits = 1 << index | field.alternative.map_or(0, |other| 1 << other);
            field.follower = Follower(AtomicU8::new(index as u8 + 1));
            field.is_last_integer = field.number == most.max(residue)
                && field.shape == Shape::Explicit
                && matches!(field.kind, Kind::Integer(_))
                && matches!(field.unset, Unset::Nothing);
            let shared = if field.is_alternative {
                &mut alternatives
            } else {
                &mut members
            };
            *shared |= 1 << index;
            by_number[field.number as usize] = index as u8;
            lists |= u64::from(field.is_list()) << index;
            derived |= u64::from(field.text().is_some()) << index;
            if let Some(member) = &field.unset_member {
                member.put(&mut unset_text);
            }
            unset_starts.push(u32::try_from(unset_text.len()).ok()?);
            for wire_type in [VARINT, FIXED64, LENGTH_DELIMITED, FIXED32] {
                let tag = (field.number << 3 | wire_type) as usize;
                if tag < by_tag.len() && (field.is_list() || field.wire.number() == wire_type) {
                    by_tag[tag] = index as u8;
                }
            }
            if !matches!(field.unset, Unset::Nothing) {
                expected |= 1 << index;
            }
        }
        unset_text.extend_from_slice(&[0; UNSET_BLOCK]);
        let places = fields.iter().enumerate();
        let mut numbers: Vec<_> = places.map(|(at, field)| (1 << at, field.number)).collect();
        numbers.sort_unstable_by_key(|&(_, number)| number);
        let mut texts = fields.iter().filter_map(Field::text);
        let text = texts.next();
        let is_flat = alternatives == 0
            && texts.all(|other| Some(other) == text)
            && fields.is_sorted_by_key(|field| field.number)
            && fields.iter().enumerate().all(|(index, field)| {
                !field.is_list()
                    && field.kind.message().is_none()
                    && field.text().is_none_or(|text| text < index)
            });
        Some(MessageType {
            name: message.full_name().to_string(),
            is_flat,
            text,
            fields,
            is_union,
            residue,
            expected,
            numbers,
            by_number,
            by_tag,
            lists,
            derived,
            unset_text,
            unset_starts,
            first: Follower::default(),
            members,
            alternatives,
        })
    }

    /// Reads which fields share the member of another one; false if the reference refuses one.
    fn read_alternatives(
        &self,
        descriptors: &[FieldDescriptor],
        fields: &mut [Field],
        is_union: bool,
    ) -> bool {
        for (place, descriptor) in descriptors.iter().enumerate() {
            let options = descriptor.options();
            if !options.has_extension(&self.alternative_to) {
                continue;
            }
            let name = options.get_extension(&self.alternative_to);
            let named = |other: &FieldDescriptor| Some(other.name()) == name.as_str();
            let other = descriptors.iter().position(named);
            let is_text = matches!(fields[place].kind, Kind::Raw)
                && fields[place].shape == Shape::Explicit
                && !options.has_extension(&self.unset);
            let Some(other) = other.filter(|_| is_text && !is_union) else {
                return false;
            };
            let is_shared = descriptors[other]
                .options()
                .has_extension(&self.alternative_to);
            if is_shared || fields[other].alternative.replace(place).is_some() {
                return false;
            }
            fields[place].is_alternative = true;
            fields[place].member = Member::none();
        }
        true
    }

    fn field(
        &self,
        field: &FieldDescriptor,
        siblings: &[FieldDescriptor],
        by_name: &HashMap<String, usize>,
    ) -> Option<Field> {
        let shape = if field.is_map() {
            Shape::Map
        } else if field.cardinality() == Cardinality::Repeated {
            Shape::Repeated
        } else if field.supports_presence() {
            Shape::Explicit
        } else {
            Shape::Implicit
        };
        let encoding = field
            .options()
            .get_extension(&self.encoding)
            .as_enum_number()?;
        let (kind, key) = match (field.kind(), shape) {
            (ProtoKind::Message(entry), Shape::Map) => (
                self.kind(&entry.map_entry_value_field().kind(), encoding, by_name)?,
                match entry.map_entry_key_field().kind() {
                    ProtoKind::String => Key::String,
                    ProtoKind::Bool => Key::Bool,
                    kind => Key::Integer(Integer::of(&kind)?),
                },
            ),
            (kind, _) => (self.kind(&kind, encoding, by_name)?, Key::String),
        };
        let unset = self.unset(field, shape, &kind, siblings)?;
        let unset_value = unset.json();
        Some(Field {
            name: field.name().to_string(),
            member: Member::new(field.name(), ""),
            number: field.number(),
            unset_member: unset_value.map(|value| Member::new(field.name(), &value)),
            unset,
            wire: kind.wire(),
            kind,
            shape,
            is_packed: field.is_packed(),
            key,
            alternative: None,
            bits: 0,
            is_alternative: false,
            is_last_integer: false,
            follower: Follower::default(),
            oneof: field.containing_oneof().and_then(|oneof| {
                let mut all = oneof.parent_message().oneofs();
                let place = all.position(|other| other == oneof)?;
                u8::try_from(place).ok() // of a few fields
            }),
        })
    }

    fn kind(
        &self,
        kind: &ProtoKind,
        encoding: i32,
        by_name: &HashMap<String, usize>,
    ) -> Option<Kind> {
        Some(match (kind, encoding) {
            (ProtoKind::Bool, 0) => Kind::Bool,
            (ProtoKind::Float, 0) => Kind::Float,
            (ProtoKind::Double, 0) => Kind::Double,
            (ProtoKind::String, 0) => Kind::String,
            (ProtoKind::String, 3) => Kind::Raw,
            (ProtoKind::Bytes, 1) => Kind::ByteArray,
            (ProtoKind::Bytes, 2) => Kind::Base64,
            (ProtoKind::Enum(descriptor), 0) => Kind::Enum(words(descriptor)?),
            (ProtoKind::Message(message), 0) => {
                let index = *by_name.get(message.full_name())?;
                if self.is_union(message) {
                    Kind::Union(index)
                } else {
                    Kind::Object(index)
                }
            }
            (kind, 0) => Kind::Integer(Integer::of(kind)?),
            _ => return None,
        })
    }

    fn unset(
        &self,
        field: &FieldDescriptor,
        shape: Shape,
        kind: &Kind,
        siblings: &[FieldDescriptor],
    ) -> Option<Unset> {
        let options = field.options();
        let zero = match (shape, kind) {
            (Shape::Implicit, Kind::Bool) => Unset::Zero("false"),
            (Shape::Implicit, Kind::Integer(_)) => Unset::Zero("0"),
            (Shape::Implicit, Kind::Double | Kind::Float) => Unset::Zero("0.0"),
            (Shape::Implicit, Kind::String | Kind::Base64) => Unset::Zero("\"\""),
            (Shape::Implicit, Kind::ByteArray) => Unset::Zero("[]"),
            _ => Unset::Nothing,
        };
        let has_text = options.has_extension(&self.unset);
        if options.has_extension(&self.unset_utf8) {
            let value = options.get_extension(&self.unset_utf8);
            let name = value.as_str()?;
            let place = siblings.iter().position(|other| other.name() == name)?;
            let text = &siblings[place];
            let is_string = text.kind() == ProtoKind::String && !text.is_list();
            let is_plain = [&self.unset, &self.unset_utf8, &self.encoding]
                .iter()
                .all(|option| !text.options().has_extension(option));
            let is_bytes = shape == Shape::Explicit && matches!(kind, Kind::ByteArray);
            return (is_string && is_plain && is_bytes && !has_text).then_some(Unset::Utf8(place));
        }
        if !has_text {
            return Some(zero);
        }
        let value = options.get_extension(&self.unset);
        let text = value.as_str()?;
        if matches!(zero, Unset::Zero(zero) if zero == text) {
            return Some(zero);
        }
        Some(match text {
            "null" => Unset::Null,
            "true" => Unset::True,
            "false" => Unset::False,
            "[]" => Unset::EmptyArray,
            "{}" => Unset::EmptyObject,
            _ => Unset::Text(string(text)?),
        })
    }
}

/// The string of a JSON text.
fn string(text: &str) -> Option<String> {
    let mut cursor = Cursor::new(text.as_bytes(), 0, Nan::Refused);
    let raw = cursor.string().ok()?;
    let mut utf8 = Vec::new();
    let is_whole = cursor.at == text.len() && put_utf8(raw, &mut utf8).ok()?;
    is_whole.then(|| String::from_utf8(utf8).ok()).flatten()
}

/// The words of an enum: value names without the enum's prefix, in lower case. None if two values
/// have the same word, or two words the same value.
fn words(descriptor: &EnumDescriptor) -> Option<Vec<Word>> {
    let zero = descriptor.get_value(0);
    let zero_name = zero.as_ref().map_or("", |value| value.name());
    let prefix = zero_name.strip_suffix("UNSPECIFIED").unwrap_or(zero_name);
    let words: Vec<_> = descriptor
        .values()
        .filter(|value| value.number() != 0)
        .map(|value| {
            let name = value.name();
            let word = name.strip_prefix(prefix).unwrap_or(name).to_lowercase();
            (word, value.number())
        })
        .collect();
    let names: HashSet<_> = words.iter().map(|word| &word.0).collect();
    let numbers: HashSet<_> = words.iter().map(|word| word.1).collect();
    let is_bijection = names.len() == words.len() && numbers.len() == words.len();
    let word = |(word, number): &(String, i32)| {
        let mut text = Vec::new();
        put_quoted(word.as_bytes(), &mut text);
        Word {
            text: Member::of(text),
            number: *number,
        }
    };
    is_bijection.then(|| words.iter().map(word).collect())
}
