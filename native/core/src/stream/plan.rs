//! What the descriptors specify of messages as bytes: the types of the fields, and which of them a
//! compact chunk may leave out.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use prost_reflect::{Cardinality, ExtensionDescriptor, FieldDescriptor, Kind, MessageDescriptor};

use crate::builtin::pool;
use crate::schema::Wire;
use crate::wire::{put_bytes, put_number};

pub const CHUNK: &str = "chatpb.v1.ChatCompletionChunk";

/// How a value is on the wire.
#[derive(Clone, Debug)]
pub enum Coding {
    Number(Number),
    Bytes { is_utf8: bool },
    Message(usize),
}

/// A type of numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Number {
    Bool,
    /// Varints of 32 bits with a sign, as enums are.
    Int32,
    /// Other varints of 32 bits.
    Uint32,
    Varint64,
    Fixed64,
    Fixed32,
}

impl Number {
    pub fn wire(self) -> Wire {
        match self {
            Self::Fixed64 => Wire::Fixed64,
            Self::Fixed32 => Wire::Fixed32,
            _ => Wire::Varint,
        }
    }

    /// The bits as a serializer writes them.
    pub fn normal(self, bits: u64) -> u64 {
        match self {
            Self::Bool => u64::from(bits != 0),
            Self::Int32 => bits as i32 as u64,
            Self::Uint32 => u64::from(bits as u32),
            _ => bits,
        }
    }
}

/// What a field of a compact chunk is, if it may be left out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Carried {
    /// A scalar without presence.
    Plain,
    /// A scalar with presence.
    Optional,
    /// In a compact chunk, zero means that one is unset.
    Enum,
    List,
    /// In a compact chunk, an empty one means that it is unset.
    Message,
}

#[derive(Debug)]
pub struct Field {
    pub number: u32,
    pub coding: Coding,
    pub is_list: bool,
    pub is_packed: bool,
    /// Whether its messages are the entries of a map.
    pub is_map: bool,
    pub has_presence: bool,
    /// The fields of the same oneof.
    pub rivals: Vec<u32>,
    pub carried: Option<Carried>,
    /// How the field is written if it is unset in a compact chunk; None if it cannot be.
    pub unset: Option<Vec<u8>>,
    /// How a serializer never writes the field: zero, without presence.
    pub never: Vec<Vec<u8>>,
    /// Whether its messages have fields that may be left out.
    pub is_inner: bool,
}

#[derive(Debug, Default)]
pub struct Type {
    pub fields: BTreeMap<u32, Field>,
}

pub struct Types {
    all: Vec<Type>,
    chunk: usize,
}

impl Types {
    pub fn of(&'static self, place: usize) -> &'static Type {
        &self.all[place]
    }

    pub fn chunk(&'static self) -> &'static Type {
        &self.all[self.chunk]
    }
}

impl Field {
    /// The message type of its messages, if these have fields that may be left out.
    pub fn inner(&self) -> Option<&'static Type> {
        match self.coding {
            Coding::Message(place) if self.is_inner => Some(types().of(place)),
            _ => None,
        }
    }
}

static TYPES: LazyLock<Types> = LazyLock::new(|| read().expect("the descriptors are whole"));

/// The message types of the built-in schema.
pub fn types() -> &'static Types {
    &TYPES
}

fn read() -> Option<Types> {
    let pool = pool();
    let all: Vec<_> = pool.all_messages().collect();
    let carried = pool.get_extension_by_name("chatpb.v1.carried")?;
    let is_chunk = |message: &MessageDescriptor| message.full_name() == CHUNK;
    let chunk = all.iter().position(is_chunk)?;
    let read_type = |message: &MessageDescriptor| Type {
        fields: message
            .fields()
            .map(|field| (field.number(), read_field(&field, &all, &carried)))
            .collect(),
    };
    let mut types: Vec<_> = all.iter().map(read_type).collect();
    while mark_inner(&mut types) {}
    Some(Types { all: types, chunk })
}

/// Marks the fields whose messages have fields that are carried, as far as that is known; gives
/// whether that were more.
fn mark_inner(types: &mut [Type]) -> bool {
    let carries = |field: &Field| field.carried.is_some() || field.is_inner;
    let carrying: Vec<bool> = types
        .iter()
        .map(|found| found.fields.values().any(carries))
        .collect();
    let mut has_more = false;
    let fields = types.iter_mut().flat_map(|found| found.fields.values_mut());
    for field in fields.filter(|field| field.carried.is_none()) {
        let is_inner = matches!(field.coding, Coding::Message(place) if carrying[place]);
        has_more |= is_inner != field.is_inner;
        field.is_inner = is_inner;
    }
    has_more
}

fn read_field(
    field: &FieldDescriptor,
    all: &[MessageDescriptor],
    option: &ExtensionDescriptor,
) -> Field {
    let number = field.number();
    let coding = match field.kind() {
        Kind::Bool => Coding::Number(Number::Bool),
        Kind::Int32 | Kind::Enum(_) => Coding::Number(Number::Int32),
        Kind::Uint32 | Kind::Sint32 => Coding::Number(Number::Uint32),
        Kind::Int64 | Kind::Uint64 | Kind::Sint64 => Coding::Number(Number::Varint64),
        Kind::Fixed64 | Kind::Sfixed64 | Kind::Double => Coding::Number(Number::Fixed64),
        Kind::Fixed32 | Kind::Sfixed32 | Kind::Float => Coding::Number(Number::Fixed32),
        Kind::String => Coding::Bytes { is_utf8: true },
        Kind::Bytes => Coding::Bytes { is_utf8: false },
        Kind::Message(message) => {
            let place = all.iter().position(|other| *other == message);
            Coding::Message(place.expect("all types are known"))
        }
    };
    let is_carried = field.options().get_extension(option).as_bool() == Some(true);
    let carried = is_carried.then(|| match (field.kind(), &coding) {
        _ if field.cardinality() == Cardinality::Repeated => Carried::List,
        (Kind::Enum(_), _) => Carried::Enum,
        (_, Coding::Message(_)) => Carried::Message,
        _ if field.supports_presence() => Carried::Optional,
        _ => Carried::Plain,
    });
    let (mut zero, mut empty) = (Vec::new(), Vec::new());
    put_number(&mut zero, number, Wire::Varint, 0);
    put_bytes(&mut empty, number, b"");
    let (unset, never) = match carried {
        Some(Carried::Enum) => (Some(zero), Vec::new()),
        Some(Carried::Message) => (Some(empty), Vec::new()),
        Some(Carried::Plain) => (None, vec![zero, empty]),
        _ => (None, Vec::new()),
    };
    let oneof = field.containing_oneof();
    let rivals = oneof
        .iter()
        .flat_map(|oneof| oneof.fields().map(|field| field.number()));
    Field {
        number,
        coding,
        is_list: field.cardinality() == Cardinality::Repeated,
        is_packed: field.is_packed(),
        is_map: field.is_map(),
        has_presence: field.supports_presence(),
        rivals: rivals.filter(|&rival| rival != number).collect(),
        carried,
        unset,
        never,
        is_inner: false,
    }
}
