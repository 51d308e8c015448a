//! OpenAI's JSON: the vectors, what is refused, and recordings.

use std::path::{Path, PathBuf};
use std::{env, fs};

use chatpb::{ConversionError, Options, binary_to_json, json_to_binary, schema};
use serde_json::Value as Json;

use crate::value::Value;
use crate::vectors::{expect, hex, manifest, read, text};
use crate::{Check, Report};

const BOM: &[u8] = b"\xef\xbb\xbf";

/// Checks every vector, and the recordings if there are any.
pub fn check(folder: &Path, report: &mut Report) {
    for entry in manifest(folder) {
        report.add("json", text(&entry["name"]), valid(folder, &entry));
    }
    let folder = folder.join("invalid");
    for entry in manifest(&folder) {
        let name = format!("invalid/{}", text(&entry["name"]));
        report.add("json", &name, invalid(&folder, &entry));
    }
    if let Ok(corpus) = env::var("CHATPB_CORPUS") {
        check_corpus(Path::new(&corpus), report);
    }
}

/// The number of a message type.
pub fn number(name: &str) -> usize {
    let number = schema().message_type(name);
    number.unwrap_or_else(|| panic!("{name} mirrors no JSON object"))
}

fn valid(folder: &Path, entry: &Json) -> Check {
    let name = text(&entry["name"]);
    let message_type = number(text(&entry["message_type"]));
    let json = read(folder, name, "json");
    let json = json.strip_prefix(BOM).unwrap_or(&json);
    let binary = read(folder, name, "binpb");
    for text in [json, &[BOM, json].concat(), &spaced(json)] {
        let found = json_to_binary(text, message_type, Options::default()).map_err(told)?;
        expect(&hex(&binary), &hex(&found))?;
    }
    let written = binary_to_json(&binary, message_type, Options::default()).map_err(told)?;
    is_same(json, &written)
}

/// The text with white space around its tokens.
fn spaced(json: &[u8]) -> Vec<u8> {
    let (mut out, mut in_string, mut escaped) = (Vec::new(), false, false);
    for &byte in json {
        let is_quote = byte == b'"' && !escaped;
        let is_sign = !in_string && b"{}[]:,".contains(&byte);
        escaped = in_string && byte == b'\\' && !escaped;
        if is_sign || is_quote && !in_string {
            out.extend_from_slice(b" \r\n");
        }
        out.push(byte);
        if is_sign || is_quote && in_string {
            out.extend_from_slice(b"\t ");
        }
        in_string ^= is_quote;
    }
    out
}

fn is_same(wanted: &[u8], found: &[u8]) -> Check {
    if Value::read(wanted).is_some_and(|wanted| Value::read(found) == Some(wanted)) {
        return Ok(());
    }
    let [wanted, found] = [wanted, found].map(String::from_utf8_lossy);
    Err(format!("expected {wanted}, got {found}"))
}

fn invalid(folder: &Path, entry: &Json) -> Check {
    let name = text(&entry["name"]);
    let message_type = number(text(&entry["message_type"]));
    let result = if entry["form"] == "json" {
        json_to_binary(
            &read(folder, name, "json"),
            message_type,
            Options::default(),
        )
    } else {
        binary_to_json(
            &read(folder, name, "binpb"),
            message_type,
            Options::default(),
        )
    };
    is_refused(entry, result.map(drop))
}

/// Whether the error is the one that the manifest has.
pub fn is_refused<T>(entry: &Json, result: Result<T, ConversionError>) -> Check {
    let Err(error) = result else {
        return Err("it was not refused".into());
    };
    let offset = entry["offset"].as_u64().map(|offset| offset as usize);
    let is_one = error.path == text(&entry["path"])
        && error.offset == offset
        && error.reason.starts_with(text(&entry["reason"]));
    if is_one {
        return Ok(());
    }
    Err(format!("expected {entry}, got {error}"))
}

pub fn told(error: ConversionError) -> String {
    error.to_string()
}

/// A recorded JSON text.
struct Recorded {
    name: String,
    text: Vec<u8>,
    event: String,
    in_stream: bool,
}

fn check_corpus(folder: &Path, report: &mut Report) {
    let mut files = Vec::new();
    find_files(folder, &mut files);
    files.sort();
    for file in files {
        let data = fs::read(&file).expect("a recording");
        let name = file.strip_prefix(folder).unwrap_or(&file).to_string_lossy();
        for (place, mut recorded) in recorded(&name, &data).into_iter().enumerate() {
            recorded.name = format!("{}:{}", recorded.name, place + 1);
            report.add("corpus", &recorded.name, check_recorded(&recorded));
        }
    }
}

fn find_files(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder of recordings") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            find_files(&path, files);
        } else {
            files.push(path);
        }
    }
}

fn recorded(name: &str, data: &[u8]) -> Vec<Recorded> {
    let one = |text: &[u8], event: &str, in_stream| Recorded {
        name: name.into(),
        text: text.to_vec(),
        event: event.into(),
        in_stream,
    };
    let ending = name.rsplit('.').next().unwrap_or_default();
    let lossy = String::from_utf8_lossy(data).replace("\r\n", "\n");
    match ending {
        "json" => vec![one(data, "", false)],
        "jsonl" => {
            let lines = lossy.lines().filter(|line| !line.trim().is_empty());
            lines.map(|line| one(line.as_bytes(), "", true)).collect()
        }
        "sse" => {
            let events = lossy.split("\n\n").map(|block| {
                let fields = block.lines().filter_map(|line| line.split_once(':'));
                let fields =
                    fields.map(|(name, value)| (name, value.strip_prefix(' ').unwrap_or(value)));
                let of = |wanted: &'static str| {
                    let found = fields.clone().filter(move |field| field.0 == wanted);
                    found.map(|field| field.1).collect::<Vec<_>>()
                };
                (of("data").join("\n"), of("event").concat())
            });
            let events = events.filter(|(data, _)| !data.is_empty() && data != "[DONE]");
            let events = events.map(|(data, event)| one(data.as_bytes(), &event, true));
            events.collect()
        }
        _ => Vec::new(),
    }
}

fn check_recorded(recorded: &Recorded) -> Check {
    let message_type = number(&format!("chatpb.v1.{}", type_of(recorded)?));
    let binary = json_to_binary(&recorded.text, message_type, Options::default()).map_err(told)?;
    let written = binary_to_json(&binary, message_type, Options::default()).map_err(told)?;
    is_same(&recorded.text, &written)
}

/// The type as which the command line of chatpb reads the text.
fn type_of(recorded: &Recorded) -> Result<&'static str, String> {
    let value = Value::read(&recorded.text).ok_or("not JSON")?;
    let has = |name| value.get(name).is_some();
    let any = |list, name| value.get(list).is_some_and(|list| list.any_has(name));
    let is_null = |name| matches!(value.get(name), Some(Value::Word(word)) if word == "null");
    let object = |word| value.get("object").is_some_and(|object| object.is(word));
    let has_delta = any("choices", "delta");
    let is_filled = matches!(value.get("data"), Some(Value::Array(items)) if !items.is_empty());
    Ok(match () {
        () if recorded.in_stream && has_delta => "ChatCompletionChunk",
        () if object("chat.completion") => "ChatCompletion",
        () if object("chat.completion.chunk") => "ChatCompletionChunk",
        () if object("chat.completion.deleted") => "ChatCompletionDeleted",
        () if object("error") => "ErrorResponse",
        () if object("list") && is_filled && !any("data", "choices") => {
            "ChatCompletionStoreMessageList"
        }
        () if object("list") => "ChatCompletionList",
        () if has("choices") && !(has("error") && is_null("choices")) => {
            let is_chunk = !any("choices", "message") && (has_delta || recorded.in_stream);
            if is_chunk {
                "ChatCompletionChunk"
            } else {
                "ChatCompletion"
            }
        }
        () if has("error") => "ErrorResponse",
        () if has("messages") => "ChatCompletionRequest",
        () if !has("id") && (has("message") || has("detail")) => "ErrorResponse",
        () if recorded.event == "error" => "ErrorResponse",
        () if recorded.name.contains(".request.json:") => "ChatCompletionRequest",
        () if recorded.name.contains(".error.json:") => "ErrorResponse",
        () if recorded.in_stream => "ChatCompletionChunk",
        () => "ChatCompletion",
    })
}
