//! The vectors: parse, serialize, reject.

use std::fs;
use std::path::Path;

use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::Value as Json;

use crate::fields::{Fields, Value, decode};
use crate::{Check, Report};

/// What prost does not do as other runtimes do: kind, case, reason.
const LIMITS: &[(&str, &str, &str)] = &[
    ("serialize", "unknown_number", UNKNOWN),
    ("serialize", "unknown_bytes", UNKNOWN),
    ("serialize", "unknown_fixed", UNKNOWN),
    ("serialize", "unknown_group", UNKNOWN),
    ("serialize", "unknown_below", UNKNOWN),
    ("serialize", "completion_moderation", ENTRIES),
    ("serialize", "completion_stored", ENTRIES),
    ("serialize", "map_keys", ENTRIES),
    ("serialize", "map_odd_entries", ENTRIES),
    ("serialize", "record_completion", ENTRIES),
    ("serialize", "stored_update", ENTRIES),
    ("serialize", "completion_logprobs", MINUS_ZERO),
    ("serialize", "least_numbers", MINUS_ZERO),
    ("parse", "unknown_type", WIRE_TYPE),
    ("serialize", "unknown_type", WIRE_TYPE),
];
const UNKNOWN: &str = "prost drops fields that the schema does not know";
const ENTRIES: &str = "prost leaves zeros out of the entries of maps, which read the same";
const MINUS_ZERO: &str = "prost takes -0.0 for 0.0, and leaves it out where there is no presence";
const WIRE_TYPE: &str = "prost refuses a known number with another wire type";
/// The limits of bytes only: all that the schema knows is kept.
const LOSSLESS: &[&str] = &[UNKNOWN, ENTRIES];

/// Checks every vector.
pub fn check(folder: &Path, report: &mut Report) {
    let binary = folder.join("binary");
    for entry in manifest(folder) {
        check_valid(folder, &entry, "binpb", report);
    }
    for entry in manifest(&binary) {
        if entry["invalid"] == true {
            report.add(
                "reject",
                text(&entry["name"]),
                check_invalid(&binary, &entry),
            );
        } else {
            check_valid(&binary, &entry, "canonical.binpb", report);
        }
    }
}

fn check_valid(folder: &Path, entry: &Json, canonical: &str, report: &mut Report) {
    let name = text(&entry["name"]);
    let fields = read(folder, name, "fields.json");
    let parsed = parse(entry, &read(folder, name, "binpb"));
    let is_parsed = match &parsed {
        Ok(message) => check_fields(&**message, &fields),
        Err(reason) => Err(reason.clone()),
    };
    report_with_limits("parse", name, is_parsed, Ok(()), report);
    let written = parsed.map(|message| message.encode());
    let is_kept = written
        .clone()
        .and_then(|data| check_fields(&*parse(entry, &data)?, &fields));
    let is_same =
        written.and_then(|data| expect(&hex(&read(folder, name, canonical)), &hex(&data)));
    report_with_limits("serialize", name, is_same, is_kept, report);
}

/// Reports a case, unless it is a known limit that fails and nothing else does. If it is one and
/// does not fail, the limit is gone, and so should its line be.
fn report_with_limits(kind: &str, name: &str, result: Check, kept: Check, report: &mut Report) {
    let limit = LIMITS
        .iter()
        .find(|limit| (limit.0, limit.1) == (kind, name));
    match (limit, &result) {
        (None, _) => report.add(kind, name, result),
        (Some((_, _, reason)), Ok(())) => {
            report.add(kind, name, Err(format!("no longer a limit: {reason}")));
        }
        (Some((_, _, reason)), Err(_)) if kept.is_err() && LOSSLESS.contains(reason) => {
            report.add(kind, name, kept);
        }
        (Some((_, _, reason)), Err(_)) => report.limit(kind, name, reason),
    }
}

fn check_invalid(folder: &Path, entry: &Json) -> Check {
    match parse(entry, &read(folder, text(&entry["name"]), "binpb")) {
        Ok(_) => Err("it was parsed".into()),
        Err(_) => Ok(()),
    }
}

fn parse(entry: &Json, data: &[u8]) -> Result<Box<dyn Fields>, String> {
    decode(text(&entry["message_type"]), data).map_err(|error| error.to_string())
}

fn check_fields(message: &dyn Fields, assertions: &[u8]) -> Check {
    let assertions: Vec<(Vec<Json>, String, Json)> =
        serde_json::from_slice(assertions).expect("assertions");
    for (path, kind, wanted) in assertions {
        check_field(message, &path, &kind, &wanted)
            .map_err(|reason| format!("{} {kind}: {reason}", Json::from(path)))?;
    }
    Ok(())
}

fn check_field(message: &dyn Fields, path: &[Json], kind: &str, wanted: &Json) -> Check {
    let mut value = Value::Message(message);
    for step in path {
        value = below(value, step)?;
    }
    if let ("set" | "unset", Value::Message(message)) = (kind, &value) {
        for name in wanted.as_array().expect("names") {
            let field = message.get(text(name)).ok_or("there is no such field")?;
            if matches!(field, Value::Unset) != (kind == "unset") {
                return Err(format!("it is not so of {name}"));
            }
        }
        return Ok(());
    }
    let found = match (kind, value) {
        ("size", Value::List(items)) => items.len().into(),
        ("size", Value::Map(entries)) => entries.len().into(),
        ("string", Value::String(value)) => value.into(),
        ("bytes", Value::Bytes(value)) => BASE64_STANDARD.encode(value).into(),
        ("int", Value::Int(value)) => value.to_string().into(),
        ("enum", Value::Enum(value)) => value.into(),
        ("double", Value::Double(value)) => format!("{:016x}", value.to_bits()).into(),
        ("bool", Value::Bool(value)) => value.into(),
        _ => return Err("the field is unset, or of another type".into()),
    };
    expect(wanted, &found)
}

/// The field, element or entry of a value.
fn below<'a>(value: Value<'a>, step: &Json) -> Result<Value<'a>, String> {
    let found = match (value, step) {
        (Value::Message(message), Json::String(name)) => message.get(name),
        (Value::Map(mut entries), Json::String(key)) => entries.remove(key.as_str()),
        (Value::List(items), Json::Number(index)) => {
            let index = index.as_u64().expect("an index") as usize;
            items.into_iter().nth(index)
        }
        _ => None,
    };
    found.ok_or_else(|| format!("there is no {step}"))
}

pub fn expect<T: PartialEq + std::fmt::Display>(wanted: &T, found: &T) -> Check {
    if wanted == found {
        return Ok(());
    }
    Err(format!("expected {wanted}, got {found}"))
}

pub fn manifest(folder: &Path) -> Vec<Json> {
    serde_json::from_slice(&read(folder, "manifest", "json")).expect("a list of vectors")
}

pub fn read(folder: &Path, name: &str, ending: &str) -> Vec<u8> {
    let path = folder.join(format!("{name}.{ending}"));
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

pub fn text(value: &Json) -> &str {
    value.as_str().expect("a string")
}

pub fn hex(data: &[u8]) -> String {
    data.iter().map(|byte| format!("{byte:02x}")).collect()
}
