//! The rules of folding, read from the options of the schema.

use std::collections::HashMap;
use std::sync::LazyLock;

use prost_reflect::{Cardinality, DescriptorPool, FieldDescriptor, Kind, MessageDescriptor, Value};

use crate::builtin::pool;
use crate::stream::tree::{Members, Node, parse};

const PACKAGE: &str = "chatpb.v1";

/// What the options `fold` and `fold_unknown` name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rule {
    Replace,
    Append,
    AppendArrays,
    ByKey,
    Drop,
    Kind,
    First,
    Name,
    Whole,
}

impl Rule {
    /// By the numbers of the enum `Fold`.
    const ALL: [Self; 9] = [
        Self::Replace,
        Self::Append,
        Self::AppendArrays,
        Self::ByKey,
        Self::Drop,
        Self::Kind,
        Self::First,
        Self::Name,
        Self::Whole,
    ];
}

/// A field with a member of its own.
#[derive(Debug)]
pub struct Field {
    pub name: Box<[u8]>,
    pub rule: Rule,
    /// The member that the field becomes when it is folded.
    pub into: Box<[u8]>,
    /// The place of the message type of the values among all types.
    pub message: Option<usize>,
    /// Whether the value is an array.
    pub is_repeated: bool,
    pub is_base64: bool,
    /// What an unset field stands for, if an option tells it.
    pub unset: Option<Node>,
    /// The member with the string whose bytes an unset field stands for.
    pub unset_utf8: Option<Box<[u8]>>,
    pub is_key: bool,
    pub is_identity: bool,
    /// The part that a string becomes among parts, and the member of it that takes the string.
    pub part: Option<(Members, Box<[u8]>)>,
}

/// A member, and a member of the object in it.
type NamePath = (Box<[u8]>, Box<[u8]>);

/// A message type.
#[derive(Debug)]
pub struct Type {
    /// In the order of their members.
    pub fields: Vec<Field>,
    by_name: HashMap<Box<[u8]>, usize>,
    pub unknown: UnknownOptions,
    /// The fields that have the option `fold_key` and `fold_identity`.
    pub key: Option<usize>,
    pub identity: Option<usize>,
    /// Where the name of an element is: a field of it, and a field of that one's message.
    pub names: Vec<NamePath>,
    /// The member that holds the JSON text of a completion.
    pub whole: Box<[u8]>,
    /// The number of the field of the residue.
    pub residue: u32,
}

impl Type {
    pub fn field(&self, name: &[u8]) -> Option<&Field> {
        self.by_name.get(name).map(|&place| &self.fields[place])
    }

    /// The name of a field.
    pub fn name_of(&self, place: Option<usize>) -> Option<&[u8]> {
        place.map(|place| &*self.fields[place].name)
    }
}

/// How the members of a message that the schema does not know are folded.
#[derive(Debug)]
pub struct UnknownOptions {
    pub rule: Rule,
    /// The member whose integer identifies an object of an array, or nothing.
    pub key: Box<[u8]>,
    /// The member that tells the kind of such an object, or nothing.
    pub kind: Box<[u8]>,
    /// The members of such an object whose strings are appended.
    pub pieces: Vec<Box<[u8]>>,
}

impl UnknownOptions {
    pub fn is_piece(&self, name: &[u8]) -> bool {
        self.pieces.iter().any(|piece| &**piece == name)
    }
}

/// The same, with what the place in a message changes.
#[derive(Clone, Copy, Debug)]
pub struct Unknown {
    /// The rule for all members, except within the objects of an array.
    pub rule: Rule,
    pub options: &'static UnknownOptions,
    /// Whether these are the rules for the members of such an object.
    pub in_array: bool,
}

impl Unknown {
    pub fn of(mapped: &'static Type) -> Self {
        Self {
            rule: mapped.unknown.rule,
            options: &mapped.unknown,
            in_array: false,
        }
    }

    /// Whether objects of an array may be joined with earlier ones.
    pub fn joins_objects(self) -> bool {
        !self.options.key.is_empty() || !self.options.kind.is_empty()
    }

    /// The rule for a member.
    pub fn rule_of(self, name: &[u8]) -> Rule {
        match (self.in_array, self.options.is_piece(name)) {
            (false, _) => self.rule,
            (true, true) => Rule::Append,
            (true, false) => Rule::AppendArrays,
        }
    }

    /// The rules for the objects of an array.
    pub fn within_array(self) -> Self {
        Self {
            in_array: true,
            ..self
        }
    }
}

/// All message types, and which are those of a stream.
pub struct Rules {
    types: Vec<Type>,
    chunk: usize,
    completion: usize,
}

impl Rules {
    pub fn chunk(&'static self) -> &'static Type {
        &self.types[self.chunk]
    }

    pub fn completion(&'static self) -> &'static Type {
        &self.types[self.completion]
    }
}

static RULES: LazyLock<Rules> =
    LazyLock::new(|| read().expect("the schema has the options of folding"));

/// The rules of the built-in schema.
pub fn rules() -> &'static Rules {
    &RULES
}

impl Field {
    pub fn message(&self) -> Option<&'static Type> {
        self.message.map(|place| &rules().types[place])
    }
}

fn read() -> Option<Rules> {
    let pool = pool();
    let all: Vec<_> = pool.all_messages().collect();
    let named = |name: &str| {
        let name = format!("{PACKAGE}.{name}");
        all.iter().position(|message| message.full_name() == name)
    };
    let options = Options { pool, all: &all };
    let mut types: Vec<_> = all
        .iter()
        .map(|message| options.read_type(message))
        .collect();
    let names: Vec<_> = types
        .iter()
        .map(|mapped| find_names(mapped, &types))
        .collect();
    for (mapped, names) in types.iter_mut().zip(names) {
        mapped.names = names;
    }
    Some(Rules {
        chunk: named("ChatCompletionChunk")?,
        completion: named("ChatCompletion")?,
        types,
    })
}

fn find_names(mapped: &Type, types: &[Type]) -> Vec<NamePath> {
    let holders = mapped.fields.iter();
    let holders = holders.filter_map(|outer| Some((outer, &types[outer.message?])));
    holders
        .flat_map(|(outer, holder)| {
            let inner = holder
                .fields
                .iter()
                .filter(|inner| inner.rule == Rule::Name);
            inner.map(|inner| (outer.name.clone(), inner.name.clone()))
        })
        .collect()
}

/// The options of the schema.
struct Options<'a> {
    pool: &'a DescriptorPool,
    all: &'a [MessageDescriptor],
}

impl Options<'_> {
    /// The value of an option; None if it is not set.
    fn get(&self, options: &prost_reflect::DynamicMessage, name: &str) -> Option<Value> {
        let extension = self
            .pool
            .get_extension_by_name(&format!("{PACKAGE}.{name}"))
            .expect("the schema has the option");
        let is_set = options.has_extension(&extension);
        is_set.then(|| options.get_extension(&extension).into_owned())
    }

    fn bytes(&self, options: &prost_reflect::DynamicMessage, name: &str) -> Box<[u8]> {
        let value = self.get(options, name);
        let text = value.as_ref().and_then(Value::as_str).unwrap_or_default();
        text.as_bytes().into()
    }

    fn rule(&self, options: &prost_reflect::DynamicMessage, name: &str) -> Rule {
        let value = self.get(options, name);
        let number = value.as_ref().and_then(Value::as_enum_number).unwrap_or(0);
        Rule::ALL[number as usize]
    }

    fn is_true(&self, options: &prost_reflect::DynamicMessage, name: &str) -> bool {
        self.get(options, name).and_then(|value| value.as_bool()) == Some(true)
    }

    fn read_type(&self, message: &MessageDescriptor) -> Type {
        let options = message.options();
        let pieces = self.get(&options, "fold_unknown_pieces");
        let pieces = pieces.as_ref().and_then(Value::as_list).unwrap_or_default();
        // prost-reflect gives fields by number; members have the order of the file.
        let declared = message.descriptor_proto().field.iter();
        let declared = declared.filter_map(|proto| message.get_field(proto.number() as u32));
        let (residues, fields): (Vec<_>, Vec<_>) = declared.partition(
            |field| matches!(field.kind(), Kind::Message(m) if m.full_name() == format!("{PACKAGE}.Residue")),
        );
        let fields: Vec<_> = fields
            .iter()
            .filter(|field| self.get(&field.options(), "json_alternative_to").is_none())
            .map(|field| self.read_field(field))
            .collect();
        Type {
            by_name: fields
                .iter()
                .enumerate()
                .map(|(at, f)| (f.name.clone(), at))
                .collect(),
            unknown: UnknownOptions {
                rule: self.rule(&options, "fold_unknown"),
                key: self.bytes(&options, "fold_unknown_key"),
                kind: self.bytes(&options, "fold_unknown_kind"),
                pieces: pieces
                    .iter()
                    .filter_map(|piece| Some(piece.as_str()?.as_bytes().into()))
                    .collect(),
            },
            key: fields.iter().position(|field| field.is_key),
            identity: fields.iter().position(|field| field.is_identity),
            names: Vec::new(),
            whole: self.bytes(&options, "fold_whole"),
            residue: residues.first().map_or(0, FieldDescriptor::number),
            fields,
        }
    }

    fn read_field(&self, field: &FieldDescriptor) -> Field {
        let options = field.options();
        let name: Box<[u8]> = field.name().as_bytes().into();
        let into = self.bytes(&options, "fold_into");
        let encoding = self.get(&options, "json_encoding");
        let message = match field.kind() {
            Kind::Message(message) if !field.is_map() => {
                self.all.iter().position(|m| *m == message)
            }
            _ => None,
        };
        let unset = self.get(&options, "json_unset");
        Field {
            rule: self.rule(&options, "fold"),
            into: if into.is_empty() { name.clone() } else { into },
            message,
            is_repeated: field.cardinality() == Cardinality::Repeated && !field.is_map(),
            is_base64: encoding.and_then(|value| value.as_enum_number()) == Some(2),
            unset: unset.and_then(|text| parse(text.as_str()?.as_bytes()).ok()),
            unset_utf8: Some(self.bytes(&options, "json_unset_utf8"))
                .filter(|name| !name.is_empty()),
            is_key: self.is_true(&options, "fold_key"),
            is_identity: self.is_true(&options, "fold_identity"),
            part: self.read_part(&options),
            name,
        }
    }

    fn read_part(&self, options: &prost_reflect::DynamicMessage) -> Option<(Members, Box<[u8]>)> {
        let Node::Object(part) = parse(&self.bytes(options, "fold_part")).ok()? else {
            return None;
        };
        let is_text = |(_, value): &(&[u8], &Node)| value.as_string() == Some(b"");
        let name = part.iter().find(is_text)?.0.into();
        Some((part, name))
    }
}
