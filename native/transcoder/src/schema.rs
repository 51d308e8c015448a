//! The tables, compiled from the descriptors and their options.

use std::collections::HashMap;

use prost_reflect::{
    Cardinality, DescriptorPool, EnumDescriptor, ExtensionDescriptor, FieldDescriptor,
    Kind as ProtoKind, MessageDescriptor, Value,
};

const PACKAGE: &str = "chatpb.v1";
const MAX_FIELDS: usize = 64;
pub const NO_FIELD: u8 = u8::MAX;

/// Every message type that stands for a JSON value.
pub struct Schema {
    pub messages: Vec<MessageType>,
    by_name: HashMap<String, usize>,
}

pub struct MessageType {
    /// In the order of their members.
    pub fields: Vec<Field>,
    pub is_union: bool,
    /// The number of the field that holds the residue; 0 in a union.
    pub residue: u32,
    /// The fields that stand for a value while unset, a bit each.
    pub expected: u64,
    by_number: Vec<u8>,
}

pub struct Field {
    pub name: String,
    /// The name and the colon, as they stand in JSON.
    pub member: Member,
    pub number: u32,
    pub kind: Kind,
    pub shape: Shape,
    pub unset: Unset,
}

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
    Int32,
    Int64,
    Double,
    String,
    /// A string that holds JSON text.
    Raw,
    ByteArray,
    Base64,
    Enum(Vec<(String, i32)>),
    Object(usize),
    Union(usize),
}

/// A short text that is copied often: padded, so that it is copied as a block of fixed size.
pub struct Member {
    padded: [u8; Member::SIZE],
    text: Vec<u8>,
    /// The first 16 bytes, as a number, and which bits of it count.
    head: u128,
    mask: u128,
}

impl Member {
    const SIZE: usize = 32;

    fn new(name: &str) -> Self {
        let text = format!("\"{name}\":").into_bytes();
        let mut padded = [0; Self::SIZE];
        let size = text.len().min(Self::SIZE);
        padded[..size].copy_from_slice(&text[..size]);
        let mut head = [0; 16];
        head.copy_from_slice(&padded[..16]);
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

    /// Appends the text.
    #[inline]
    pub fn put(&self, out: &mut Vec<u8>) {
        let size = self.text.len();
        if size > Self::SIZE {
            out.extend_from_slice(&self.text);
            return;
        }
        let end = out.len() + size;
        out.extend_from_slice(&self.padded);
        out.truncate(end);
    }
}

/// What an unset field stands for.
pub enum Unset {
    Nothing,
    Null,
    EmptyArray,
    EmptyObject,
    Text(String),
    /// The zero value, as JSON.
    Zero(&'static str),
    /// The UTF-8 bytes of the field at this place.
    Utf8(usize),
}

impl Schema {
    /// Compiles the tables from a serialized FileDescriptorSet.
    pub fn new(descriptor_set: &[u8]) -> Result<Self, String> {
        let pool = DescriptorPool::decode(descriptor_set).map_err(|error| error.to_string())?;
        let options = Options::new(&pool)?;
        let all: Vec<_> = pool
            .all_messages()
            .filter(|m| m.package_name() == PACKAGE && !m.is_map_entry())
            .filter(|m| options.is_union(m) || options.residue(m).is_some())
            .collect();
        let by_name: HashMap<_, _> = all
            .iter()
            .enumerate()
            .map(|(index, m)| (m.full_name().to_string(), index))
            .collect();
        let messages = all
            .iter()
            .map(|m| options.message_type(m, &by_name))
            .collect::<Result<_, _>>()?;
        Ok(Self { messages, by_name })
    }

    /// The number of a message type that mirrors a JSON object, by its full name.
    pub fn message_type(&self, name: &str) -> Option<usize> {
        let index = *self.by_name.get(name)?;
        (!self.messages[index].is_union).then_some(index)
    }
}

impl MessageType {
    /// The place of a field by its name.
    pub fn by_name(&self, name: &[u8]) -> Option<usize> {
        self.fields
            .iter()
            .position(|field| field.name.as_bytes() == name)
    }

    #[inline]
    pub fn by_number(&self, number: u32) -> u8 {
        *self.by_number.get(number as usize).unwrap_or(&NO_FIELD)
    }
}

impl Field {
    pub fn is_list(&self) -> bool {
        matches!(self.shape, Shape::Repeated | Shape::Map)
    }
}

/// The custom options of the schema.
struct Options {
    unset: ExtensionDescriptor,
    unset_utf8: ExtensionDescriptor,
    encoding: ExtensionDescriptor,
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
            union: extension("json_union")?,
            residue: format!("{PACKAGE}.Residue"),
        })
    }

    fn is_union(&self, message: &MessageDescriptor) -> bool {
        message.options().get_extension(&self.union).as_bool() == Some(true)
    }

    fn residue(&self, message: &MessageDescriptor) -> Option<u32> {
        message
            .fields()
            .find(|field| self.is_residue(field))
            .map(|field| field.number())
    }

    fn is_residue(&self, field: &FieldDescriptor) -> bool {
        matches!(field.kind(), ProtoKind::Message(m) if m.full_name() == self.residue)
    }

    fn message_type(
        &self,
        message: &MessageDescriptor,
        by_name: &HashMap<String, usize>,
    ) -> Result<MessageType, String> {
        // prost-reflect gives fields by number; members stand in the order of the file.
        let declared = message.descriptor_proto().field.iter();
        let descriptors: Vec<_> = declared
            .filter_map(|proto| message.get_field(proto.number() as u32))
            .filter(|field| !self.is_residue(field))
            .collect();
        if descriptors.len() > MAX_FIELDS {
            return Err(format!("{} has too many fields", message.full_name()));
        }
        let fields: Vec<Field> = descriptors
            .iter()
            .map(|field| self.field(field, &descriptors, by_name))
            .collect::<Result<_, _>>()?;
        let most = fields.iter().map(|field| field.number).max().unwrap_or(0);
        let mut by_number = vec![NO_FIELD; most as usize + 1];
        let mut expected = 0;
        for (index, field) in fields.iter().enumerate() {
            by_number[field.number as usize] = index as u8;
            if !matches!(field.unset, Unset::Nothing) {
                expected |= 1 << index;
            }
        }
        Ok(MessageType {
            fields,
            is_union: self.is_union(message),
            residue: self.residue(message).unwrap_or(0),
            expected,
            by_number,
        })
    }

    fn field(
        &self,
        field: &FieldDescriptor,
        siblings: &[FieldDescriptor],
        by_name: &HashMap<String, usize>,
    ) -> Result<Field, String> {
        let shape = if field.is_map() {
            Shape::Map
        } else if field.cardinality() == Cardinality::Repeated {
            Shape::Repeated
        } else if field.supports_presence() {
            Shape::Explicit
        } else {
            Shape::Implicit
        };
        let kind = match (field.kind(), shape) {
            (ProtoKind::Message(entry), Shape::Map) => {
                let value = entry.map_entry_value_field();
                self.kind(&value, by_name)?
            }
            _ => self.kind(field, by_name)?,
        };
        let unset = self.unset(field, shape, &kind, siblings)?;
        let supported = match shape {
            Shape::Repeated => {
                matches!(kind, Kind::Object(_) | Kind::String | Kind::Enum(_))
            }
            Shape::Map => !matches!(kind, Kind::Object(_) | Kind::Enum(_)),
            _ => true,
        };
        if !supported {
            return Err(format!("{} is of a kind not expected", field.full_name()));
        }
        Ok(Field {
            name: field.name().to_string(),
            member: Member::new(field.name()),
            number: field.number(),
            kind,
            shape,
            unset,
        })
    }

    fn kind(
        &self,
        field: &FieldDescriptor,
        by_name: &HashMap<String, usize>,
    ) -> Result<Kind, String> {
        let options = field.options();
        let encoding = options.get_extension(&self.encoding);
        Ok(
            match (field.kind(), encoding.as_enum_number().unwrap_or(0)) {
                (ProtoKind::Bool, 0) => Kind::Bool,
                (ProtoKind::Int32, 0) => Kind::Int32,
                (ProtoKind::Int64, 0) => Kind::Int64,
                (ProtoKind::Double, 0) => Kind::Double,
                (ProtoKind::String, 0) => Kind::String,
                (ProtoKind::String, 3) => Kind::Raw,
                (ProtoKind::Bytes, 1) => Kind::ByteArray,
                (ProtoKind::Bytes, 2) => Kind::Base64,
                (ProtoKind::Enum(descriptor), 0) => Kind::Enum(words(&descriptor)),
                (ProtoKind::Message(message), 0) => {
                    let index = *by_name
                        .get(message.full_name())
                        .ok_or_else(|| format!("{} mirrors no JSON", message.full_name()))?;
                    if self.is_union(&message) {
                        Kind::Union(index)
                    } else {
                        Kind::Object(index)
                    }
                }
                _ => return Err(format!("{} has no spelling in JSON", field.full_name())),
            },
        )
    }

    fn unset(
        &self,
        field: &FieldDescriptor,
        shape: Shape,
        kind: &Kind,
        siblings: &[FieldDescriptor],
    ) -> Result<Unset, String> {
        let options = field.options();
        if options.has_extension(&self.unset_utf8) {
            let value = options.get_extension(&self.unset_utf8);
            let name = value.as_str().unwrap_or_default();
            return siblings
                .iter()
                .position(|sibling| sibling.name() == name)
                .map(Unset::Utf8)
                .ok_or_else(|| format!("{} names no field", field.full_name()));
        }
        if options.has_extension(&self.unset) {
            let value = options.get_extension(&self.unset);
            let Value::String(text) = value.as_ref() else {
                return Err(format!("{}: json_unset is no string", field.full_name()));
            };
            return Ok(match text.as_str() {
                "null" => Unset::Null,
                "[]" => Unset::EmptyArray,
                "{}" => Unset::EmptyObject,
                // A plain word in quotes; anything else would need a parser here.
                text if text.len() >= 2
                    && text.starts_with('"')
                    && text.ends_with('"')
                    && !text.contains('\\') =>
                {
                    Unset::Text(text[1..text.len() - 1].to_string())
                }
                _ => return Err(format!("{}: json_unset is not known", field.full_name())),
            });
        }
        if shape != Shape::Implicit {
            return Ok(Unset::Nothing);
        }
        Ok(Unset::Zero(match kind {
            Kind::Bool => "false",
            Kind::Int32 | Kind::Int64 => "0",
            Kind::Double => "0.0",
            Kind::String => "\"\"",
            _ => return Err(format!("{} has no zero in JSON", field.full_name())),
        }))
    }
}

/// The words of an enum: value names less the enum's prefix, in lower case.
fn words(descriptor: &EnumDescriptor) -> Vec<(String, i32)> {
    let zero = descriptor.get_value(0);
    let zero_name = zero.as_ref().map_or("", |value| value.name());
    let prefix = zero_name.strip_suffix("UNSPECIFIED").unwrap_or(zero_name);
    descriptor
        .values()
        .filter(|value| value.number() != 0)
        .map(|value| {
            let name = value.name();
            let word = name.strip_prefix(prefix).unwrap_or(name).to_lowercase();
            (word, value.number())
        })
        .collect()
}
