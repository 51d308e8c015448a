//! The golden vectors of `tests/vectors`, which are the contract of every language.

use std::fs;
use std::path::PathBuf;

use chatpb::{ChunkDecoder, ConversionError, Options, binary_to_json, json_to_binary, schema};
use serde_json::Value;

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/vectors")
        .join(name)
}

fn read(name: &str) -> Vec<u8> {
    fs::read(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The vectors of a manifest, each with its name.
fn vectors(folder: &str) -> Vec<(String, Value)> {
    let manifest: Vec<Value> =
        serde_json::from_slice(&read(&format!("{folder}manifest.json"))).unwrap();
    assert!(!manifest.is_empty());
    manifest
        .into_iter()
        .map(|vector| (vector["name"].as_str().unwrap().to_string(), vector))
        .collect()
}

/// The number of the message type of a vector; None if it mirrors no JSON object.
fn message_type(vector: &Value) -> Option<usize> {
    schema().message_type(vector["message_type"].as_str().unwrap())
}

/// The value with all numbers as doubles.
fn doubles(value: Value) -> Value {
    match value {
        Value::Number(number) => Value::from(number.as_f64()),
        Value::Array(items) => items.into_iter().map(doubles).collect(),
        Value::Object(members) => members
            .into_iter()
            .map(|(name, value)| (name, doubles(value)))
            .collect(),
        other => other,
    }
}

/// White space around each token outside strings.
fn spaced(text: &[u8]) -> Vec<u8> {
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let mut out = Vec::new();
    let (mut in_string, mut escaped) = (false, false);
    for &byte in text {
        let is_sign = !in_string && b"[]{},:".contains(&byte);
        out.extend_from_slice(if is_sign { b" \r\n" } else { b"" });
        out.push(byte);
        out.extend_from_slice(if is_sign { b"\t " } else { b"" });
        in_string ^= byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
    }
    out
}

#[test]
fn json_gives_the_bytes_and_bytes_give_the_json() {
    let options = Options::default();
    for (name, vector) in vectors("") {
        let kind = message_type(&vector).unwrap();
        let (json, binary) = (
            read(&format!("{name}.json")),
            read(&format!("{name}.binpb")),
        );
        assert_eq!(
            Ok(&binary),
            json_to_binary(&json, kind, options).as_ref(),
            "{name}"
        );
        let found = json_to_binary(&spaced(&json), kind, options);
        assert_eq!(Ok(&binary), found.as_ref(), "{name}");
        let written = binary_to_json(&binary, kind, options).unwrap();
        let again = json_to_binary(&written, kind, options);
        assert_eq!(Ok(&binary), again.as_ref(), "{name}");
        // The parser refuses lone surrogates and numbers beyond doubles.
        if let Ok(expected) = serde_json::from_slice(&json) {
            let found = serde_json::from_slice(&written).unwrap();
            assert_eq!(doubles(expected), doubles(found), "{name}");
        }
    }
}

#[test]
fn what_must_be_refused_is() {
    for (name, vector) in vectors("invalid/") {
        let kind = message_type(&vector).unwrap();
        let convert = |allow_nan| {
            let options = Options {
                allow_nan,
                ..Options::default()
            };
            if vector["form"] == "json" {
                json_to_binary(&read(&format!("invalid/{name}.json")), kind, options)
            } else {
                binary_to_json(&read(&format!("invalid/{name}.binpb")), kind, options)
            }
        };
        let Err(ConversionError {
            path,
            reason,
            offset,
            ..
        }) = convert(false)
        else {
            panic!("{name}: it was converted");
        };
        assert_eq!(vector["path"], path, "{name}");
        assert_eq!(
            vector["offset"].as_u64(),
            offset.map(|at| at as u64),
            "{name}"
        );
        let whole = vector["reason"].as_str().unwrap();
        let rest = reason
            .strip_prefix(whole)
            .unwrap_or_else(|| panic!("{name}: {reason}"));
        let may_follow = ["; ", ": ", ", got "];
        let is_whole = rest.is_empty() || may_follow.iter().any(|may| rest.starts_with(may));
        assert!(is_whole, "{name}: {reason}");
        if reason.contains("pass allow_nan=True") {
            assert!(convert(true).is_ok(), "{name}");
        }
    }
}

#[test]
fn bytes_of_any_form_are_what_their_canonical_form_is() {
    let options = Options {
        ignore_unknown_fields: true,
        ..Options::default()
    };
    let mut count = 0;
    for (name, vector) in vectors("binary/") {
        let Some(kind) = message_type(&vector) else {
            continue; // it has no JSON
        };
        count += 1;
        let found = binary_to_json(&read(&format!("binary/{name}.binpb")), kind, options);
        if vector["invalid"] == true {
            let error = found.unwrap_err();
            assert!(
                error.reason.starts_with("not the binary form of a "),
                "{name}: {error}"
            );
            continue;
        }
        let canonical = read(&format!("binary/{name}.canonical.binpb"));
        assert_eq!(binary_to_json(&canonical, kind, options), found, "{name}");
    }
    assert!(count > 10, "{count}");
}

#[test]
fn texts_nest_200_levels() {
    let kind = schema().message_type("chatpb.v1.ChatCompletion").unwrap();
    let nested = |levels: usize| {
        let (open, close) = ("[".repeat(levels - 1), "]".repeat(levels - 1));
        format!("{{\"x\":{open}{close}}}").into_bytes()
    };
    let binary = json_to_binary(&nested(200), kind, Options::default()).unwrap();
    assert_eq!(
        Ok(nested(200)),
        binary_to_json(&binary, kind, Options::default())
    );
    for levels in [201, 100_000] {
        let error = json_to_binary(&nested(levels), kind, Options::default()).unwrap_err();
        assert_eq!("nested deeper than 200 levels", error.reason);
        assert_eq!(format!("$.x{}", "[0]".repeat(199)), error.path);
        assert_eq!(Some(5 + 199), error.offset);
    }
}

/// Feeds a stream in pieces. Gives the chunks, and what it fails with.
fn decoded(
    decoder: &mut ChunkDecoder,
    pieces: &mut dyn Iterator<Item = &[u8]>,
) -> (Vec<Vec<u8>>, Option<ConversionError>) {
    let mut chunks = Vec::new();
    for piece in pieces {
        match decoder.feed(piece) {
            Ok(found) => chunks.extend(found),
            Err(error) => return (chunks, Some(error)),
        }
    }
    loop {
        match decoder.close() {
            Ok(found) if found.is_empty() => return (chunks, None),
            Ok(found) => chunks.extend(found),
            Err(error) => return (chunks, Some(error)),
        }
    }
}

#[test]
fn streams_of_events_give_chunks() {
    let hex = |value: &Value| {
        let text = value.as_str().unwrap().as_bytes();
        let digits = |pair: &[u8]| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap();
        text.chunks(2).map(digits).collect::<Vec<_>>()
    };
    let mut count = 0;
    for (name, vector) in vectors("stream/") {
        if vector["kind"] != "sse" {
            continue;
        }
        count += 1;
        let data = read(&format!("stream/{name}.sse"));
        let most = usize::try_from(vector["max_event_bytes"].as_u64().unwrap()).unwrap();
        let options = Options {
            allow_nan: vector["allow_nan"] == true,
            ..Options::default()
        };
        for size in [data.len().max(1), 1, 7] {
            let mut decoder = ChunkDecoder::with_options(most, options);
            let (chunks, failure) = decoded(&mut decoder, &mut data.chunks(size));
            let expected: Vec<_> = vector["chunks"]
                .as_array()
                .unwrap()
                .iter()
                .map(hex)
                .collect();
            assert_eq!(expected, chunks, "{name}");
            let error = (!vector["error"].is_null()).then(|| hex(&vector["error"]));
            assert_eq!(error.as_deref(), decoder.error(), "{name}");
            assert_eq!(
                vector["is_error_of_choice"],
                decoder.is_error_of_choice(),
                "{name}"
            );
            assert_eq!(vector["is_done"], decoder.is_done(), "{name}");
            match failure {
                None => assert!(vector["reason"].is_null(), "{name}"),
                Some(failure) => {
                    assert_eq!(vector["reason"], failure.reason, "{name}");
                    assert_eq!(vector["path"], failure.path, "{name}");
                    let offset = failure.offset.map(|at| at as u64);
                    assert_eq!(vector["offset"].as_u64(), offset, "{name}");
                    assert!(decoder.feed(b"data: {}\n\n").is_err(), "{name}");
                }
            }
        }
    }
    assert!(count > 20, "{count}");
}
