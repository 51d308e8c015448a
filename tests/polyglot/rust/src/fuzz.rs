//! The results of inputs on which implementations are compared, as tests/vectors/README.md specifies
//! them.

use std::fs;
use std::io::{self, BufWriter, Write};

use chatpb::{
    ChunkDecoder, Compacted, Compactor, ConversionError, Options, Restorer, binary_to_json, fold,
    json_to_binary, unfold,
};

use crate::json::number;
use crate::streams::{field, restore};
use crate::vectors::hex;

const OPTIONS: Options = Options {
    allow_nan: false,
    ignore_unknown_fields: false,
};

/// Prints the result of each input of a file.
pub fn answer_all(path: &str) -> io::Result<()> {
    let mut out = BufWriter::new(io::stdout().lock());
    for line in fs::read_to_string(path)?.lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        writeln!(out, "{}", answer(fields[0], &fields[1..]).join("\t"))?;
    }
    out.flush()
}

fn answer(name: &str, fields: &[&str]) -> Vec<String> {
    let words = match name {
        "read" | "write" => 1,
        "sse" => 2,
        _ => 0,
    };
    let (words, parts) = fields.split_at(words);
    let parts: Vec<Vec<u8>> = parts.iter().map(|part| bytes(part)).collect();
    match name {
        "read" => match json_to_binary(&parts[0], number(words[0]), OPTIONS) {
            Ok(data) => vec!["ok".into(), hex(&data)],
            Err(error) => {
                let offset = error.offset.expect("an offset").to_string();
                vec!["refused".into(), hex(error.path.as_bytes()), offset]
            }
        },
        "write" => match binary_to_json(&parts[0], number(words[0]), OPTIONS) {
            Ok(text) => {
                let again = json_to_binary(&text, number(words[0]), OPTIONS);
                vec!["ok".into(), hex(&again.expect("what was written"))]
            }
            Err(_) => vec!["refused".into()],
        },
        "fold" => given(chunks_of(&parts).and_then(|chunks| Ok(vec![fold(chunks, OPTIONS)?]))),
        "unfold" => given(
            json_to_binary(&parts[0], number("chatpb.v1.ChatCompletion"), OPTIONS)
                .and_then(|completion| unfold(&completion, OPTIONS)),
        ),
        "compact" => given(chunks_of(&parts).map(|chunks| {
            let mut compactor = Compactor::new();
            let response = |chunk: &Vec<u8>| match compactor.add(chunk) {
                Compacted::Whole => field(1, chunk),
                Compacted::Compact(compact) => field(2, &compact),
            };
            chunks.iter().map(response).collect()
        })),
        "restore" => {
            let mut restorer = Restorer::new();
            let mut found = Vec::new();
            let restored = parts
                .iter()
                .try_for_each(|response| restore(response, &mut restorer, &mut found));
            said(restored.is_ok(), &[], &found)
        }
        "sse" => events(words, &parts[0]),
        _ => vec!["none".into()],
    }
}

fn chunks_of(texts: &[Vec<u8>]) -> Result<Vec<Vec<u8>>, ConversionError> {
    let kind = number("chatpb.v1.ChatCompletionChunk");
    let read = |text: &Vec<u8>| json_to_binary(text, kind, OPTIONS);
    texts.iter().map(read).collect()
}

fn events(words: &[&str], data: &[u8]) -> Vec<String> {
    let [most, size] = [0, 1].map(|at| words[at].parse().expect("a number"));
    let mut decoder = ChunkDecoder::new(most);
    let mut found = Vec::new();
    let mut decode = || -> Result<(), ConversionError> {
        for piece in data.chunks(size) {
            found.extend(decoder.feed(piece)?);
        }
        loop {
            let more = decoder.close()?;
            if more.is_empty() {
                return Ok(());
            }
            found.extend(more);
        }
    };
    let is_ok = decode().is_ok();
    let flags =
        [decoder.is_done(), decoder.is_error_of_choice()].map(|is| u8::from(is).to_string());
    let error = decoder.error().map_or("-".into(), hex);
    said(is_ok, &[flags.concat(), error], &found)
}

/// The result of what gives messages or is refused.
fn given(result: Result<Vec<Vec<u8>>, ConversionError>) -> Vec<String> {
    said(result.is_ok(), &[], &result.unwrap_or_default())
}

fn said(is_ok: bool, more: &[String], messages: &[Vec<u8>]) -> Vec<String> {
    let mut all = vec![if is_ok { "ok" } else { "refused" }.to_string()];
    all.extend_from_slice(more);
    all.extend(messages.iter().map(|message| hex(message)));
    all
}

/// The bytes that hexadecimal digits spell.
fn bytes(digits: &str) -> Vec<u8> {
    let byte = |at| u8::from_str_radix(&digits[at..at + 2], 16).expect("two digits");
    (0..digits.len()).step_by(2).map(byte).collect()
}
