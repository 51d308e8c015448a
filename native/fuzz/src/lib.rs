//! What the fuzz targets share: the message types, each conversion of which is compared with the
//! reference, and when two JSON texts say the same.
#![forbid(unsafe_code)]

mod reference;

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use chatpb::{ConversionError, DESCRIPTOR_SET, Options, Schema};
use prost_reflect::DescriptorPool;
use reference::{Answer, Form};
use serde::Deserialize;
use serde_json::{Deserializer, Number, Value};

/// What the output holds before: the transcoder appends.
const BEFORE: &[u8] = b"\x7a\x02{}";
/// How many of the inputs that are not converted the reference is asked about: errors are slow to
/// explain.
const ASKED: u8 = 8;

/// Of one conversion. The limit of libFuzzer is higher: its clock interrupts what is read.
const MOST_TIME: Duration = Duration::from_secs(10);
const BOTH: [bool; 2] = [false, true];

/// What a conversion gives: the result, or the error as text.
type Given = Result<Vec<u8>, String>;

struct Subject {
    schema: Schema,
    /// In the order of their names.
    types: Vec<MessageType>,
}

/// A message type that mirrors a JSON object.
pub struct MessageType {
    name: String,
    number: usize,
}

static SUBJECT: LazyLock<Subject> = LazyLock::new(|| {
    let schema = Schema::new(DESCRIPTOR_SET).expect("the tables compile");
    let pool = DescriptorPool::decode(DESCRIPTOR_SET).expect("the descriptors are whole");
    let mut types: Vec<_> = pool
        .all_messages()
        .filter_map(|message| {
            let name = message.full_name().to_string();
            let number = schema.message_type(&name)?;
            Some(MessageType { name, number })
        })
        .collect();
    types.sort_by(|one, other| one.name.cmp(&other.name));
    Subject { schema, types }
});

/// Compiles the schema and starts the reference, before coverage is counted.
pub fn start() {
    LazyLock::force(&SUBJECT);
    reference::start();
}

/// The message type that the first byte picks, by its place in the order of names, and the rest.
pub fn pick(input: &[u8]) -> Option<(&'static MessageType, &[u8])> {
    let (&first, rest) = input.split_first()?;
    let types = &SUBJECT.types;
    Some((&types[usize::from(first) % types.len()], rest))
}

impl MessageType {
    /// Reads JSON, as the reference does, without and with `allow_nan`. What it gives without it; None
    /// if that is refused.
    pub fn read(&self, json: &[u8]) -> Option<Vec<u8>> {
        self.convert(Form::Json, json, |options, out| {
            SUBJECT
                .schema
                .json_to_binary(json, self.number, options, out)
        })
    }

    /// Writes JSON, as the reference does; None if that is refused.
    pub fn write(&self, binary: &[u8]) -> Option<Vec<u8>> {
        self.convert(Form::Binary, binary, |options, out| {
            SUBJECT
                .schema
                .binary_to_json(binary, self.number, options, out)
        })
    }

    fn convert(
        &self,
        form: Form,
        input: &[u8],
        convert: impl Fn(Options, &mut Vec<u8>) -> Result<(), ConversionError>,
    ) -> Option<Vec<u8>> {
        let [without, with] = BOTH.map(|allow_nan| self.once(allow_nan, &convert));
        // By the input alone, so that a failure fails again.
        let sum = input
            .iter()
            .fold(0, |sum: u8, &byte| sum.wrapping_add(byte));
        if without.is_ok() || with.is_ok() || sum % ASKED == 0 {
            let answers = reference::ask(form, &self.name, input);
            for (ours, theirs) in [&without, &with].into_iter().zip(answers) {
                self.must_agree(input, ours, &theirs);
            }
        }
        without.ok()
    }

    fn once(
        &self,
        allow_nan: bool,
        convert: impl Fn(Options, &mut Vec<u8>) -> Result<(), ConversionError>,
    ) -> Given {
        let options = Options {
            allow_nan,
            ..Options::default()
        };
        let mut out = BEFORE.to_vec();
        let begun = Instant::now();
        let done = convert(options, &mut out);
        self.must(begun.elapsed() < MOST_TIME, "it is done soon", &[&out]);
        done.map(|()| self.behind(&out))
            .map_err(|error| error.to_string())
    }

    fn must_agree(&self, input: &[u8], ours: &Given, theirs: &Answer) {
        let shown = |given: &Given| match given {
            Ok(bytes) => bytes.clone(),
            Err(error) => error.clone().into_bytes(),
        };
        self.must(
            ours == theirs,
            "the reference gives the same",
            &[input, &shown(ours), &shown(theirs)],
        );
    }

    fn behind(&self, out: &[u8]) -> Vec<u8> {
        let added = out.strip_prefix(BEFORE);
        self.must(added.is_some(), "what the output held stays", &[out]);
        added.unwrap_or_default().to_vec()
    }

    /// A law; `shown` is what the reader of a failure wants to see.
    pub fn must(&self, holds: bool, law: &str, shown: &[&[u8]]) {
        assert!(
            holds,
            "{}: {law}\n{}",
            self.name,
            shown
                .iter()
                .map(|bytes| format!("  b\"{}\"\n", bytes.escape_ascii()))
                .collect::<String>()
        );
    }
}

/// Whether two JSON texts say the same: members without order, numbers by value.
pub fn same_value(one: &[u8], other: &[u8]) -> bool {
    match (parse(one), parse(other)) {
        (Some(one), Some(other)) => same(&one, &other),
        _ => false,
    }
}

fn parse(json: &[u8]) -> Option<Value> {
    let json = json.strip_prefix(b"\xef\xbb\xbf").unwrap_or(json);
    let json = escape_lone_surrogates(json);
    let mut parser = Deserializer::from_slice(&json);
    parser.disable_recursion_limit(); // the transcoder has one
    let value = Value::deserialize(&mut parser).ok()?;
    parser.end().ok().map(|()| value)
}

/// Puts a backslash before the escapes of lone surrogates: serde_json refuses them.
fn escape_lone_surrogates(json: &[u8]) -> Vec<u8> {
    let unit = |at: usize| {
        let digits = json.get(at..at + 6)?.strip_prefix(b"\\u")?;
        u16::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()
    };
    let mut out = Vec::with_capacity(json.len());
    let mut at = 0;
    while at < json.len() {
        let size = match unit(at) {
            Some(0xd800..=0xdbff) if matches!(unit(at + 6), Some(0xdc00..=0xdfff)) => 12,
            Some(0xd800..=0xdfff) => {
                out.push(b'\\');
                out.extend(json[at..at + 6].to_ascii_lowercase());
                at += 6;
                continue;
            }
            _ if json[at] == b'\\' => 2,
            _ => 1,
        };
        let end = json.len().min(at + size);
        out.extend_from_slice(&json[at..end]);
        at = end;
    }
    out
}

fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Object(one), Value::Object(other)) => {
            one.len() == other.len()
                && one
                    .iter()
                    .all(|(name, value)| other.get(name).is_some_and(|there| same(value, there)))
        }
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(a, b)| same(a, b))
        }
        (Value::Number(one), Value::Number(other)) => same_number(one, other),
        _ => one == other,
    }
}

fn same_number(one: &Number, other: &Number) -> bool {
    let digits = |number: &Number| format!("{:.0}", number.as_f64().unwrap_or(f64::NAN));
    let bits = |number: &Number| number.as_f64().map(f64::to_bits);
    match (one.is_f64(), other.is_f64()) {
        _ if one == other => true,
        (true, true) => bits(one) == bits(other),
        // An integer becomes a double that holds it exactly.
        (true, false) => digits(one) == other.to_string(),
        (false, true) => digits(other) == one.to_string(),
        (false, false) => false,
    }
}
