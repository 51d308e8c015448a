//! Streams: fold, unfold, compact streams, event streams.

use std::path::Path;

use chatpb::v1::StreamChatCompletionResponse;
use chatpb::{
    ChunkDecoder, Compacted, Compactor, ConversionError, Options, Restorer, fold, json_to_binary,
    unfold,
};
use prost::Message;
use serde_json::Value as Json;

use crate::json::{is_refused, number, told};
use crate::vectors::{expect, hex, manifest, read, text};
use crate::{Check, Report};

/// Checks every vector.
pub fn check(folder: &Path, report: &mut Report) {
    let folder = &folder.join("stream");
    for entry in manifest(folder) {
        let kind = text(&entry["kind"]);
        let result = match kind {
            "fold" => check_fold(folder, &entry),
            "unfold" => check_unfold(folder, &entry),
            "compact" => check_compact(folder, &entry),
            "sse" => check_events(folder, &entry),
            _ => continue,
        };
        report.add(kind, text(&entry["name"]), result);
    }
}

/// The chunks of a vector, from their JSON.
fn chunks_of(folder: &Path, entry: &Json) -> Result<Vec<Vec<u8>>, String> {
    let message_type = number("chatpb.v1.ChatCompletionChunk");
    let lines = read(folder, text(&entry["name"]), "jsonl");
    let lines = lines
        .split(|&byte| byte == b'\n')
        .filter(|line| !line.is_empty());
    let chunk = |line| json_to_binary(line, message_type, options(entry)).map_err(told);
    lines.map(chunk).collect()
}

fn options(entry: &Json) -> Options {
    Options {
        allow_nan: entry["allow_nan"] == true,
        ..Options::default()
    }
}

fn check_fold(folder: &Path, entry: &Json) -> Check {
    let chunks = chunks_of(folder, entry)?;
    let wanted = read(folder, text(&entry["name"]), "binpb");
    let folded = fold(&chunks, Options::default()).map_err(told)?;
    expect(&hex(&wanted), &hex(&folded))?;
    let chunks = unfold(&folded, Options::default()).map_err(told)?;
    let again = fold(&chunks, Options::default()).map_err(told)?;
    expect(&hex(&wanted), &hex(&again))
}

fn check_unfold(folder: &Path, entry: &Json) -> Check {
    let name = text(&entry["name"]);
    let message_type = number("chatpb.v1.ChatCompletion");
    let completion = json_to_binary(&read(folder, name, "json"), message_type, options(entry));
    let found = unfold(&completion.map_err(told)?, Options::default()).map_err(told)?;
    expect_all(&delimited(&read(folder, name, "binpbs"))?, &found)
}

fn check_compact(folder: &Path, entry: &Json) -> Check {
    let name = text(&entry["name"]);
    let responses = delimited(&read(folder, name, "binpbs"))?;
    let wanted = delimited(&read(folder, name, "chunks.binpbs"))?;
    let mut restorer = Restorer::new();
    let mut found = Vec::new();
    let restored = responses
        .iter()
        .try_for_each(|response| restore(response, &mut restorer, &mut found));
    expect_all(&wanted, &found)?;
    match (entry["reason"].as_str(), restored) {
        (None, result) => result.map_err(told)?,
        (Some(reason), Err(error)) => expect(&reason, &&*error.reason)?,
        (Some(_), Ok(())) => return Err("it was not refused".into()),
    }
    if !folder.join(format!("{name}.jsonl")).exists() {
        return Ok(());
    }
    let mut compactor = Compactor::new();
    let chunks = chunks_of(folder, entry)?;
    let made = chunks.iter().map(|chunk| match compactor.add(chunk) {
        Compacted::Whole => field(1, chunk),
        Compacted::Compact(compact) => field(2, &compact),
    });
    expect_all(&responses, &made.collect::<Vec<_>>())
}

/// The chunks of a response; those before one that is refused count.
pub fn restore(
    response: &[u8],
    restorer: &mut Restorer,
    found: &mut Vec<Vec<u8>>,
) -> Result<(), ConversionError> {
    // prost would drop what the schema does not know.
    for (number, chunk) in fields(response) {
        if number == 1 {
            restorer.follow(chunk);
            found.push(chunk.to_vec());
        } else {
            found.push(restorer.restore(chunk)?);
        }
    }
    Ok(())
}

fn check_events(folder: &Path, entry: &Json) -> Check {
    let stream = read(folder, text(&entry["name"]), "sse");
    for size in [stream.len().max(1), 1, 7] {
        check_pieces(&stream, size, entry)
            .map_err(|reason| format!("by {size} bytes: {reason}"))?;
    }
    Ok(())
}

fn check_pieces(stream: &[u8], size: usize, entry: &Json) -> Check {
    let most = entry["max_event_bytes"].as_u64().expect("a number") as usize;
    let mut decoder = ChunkDecoder::new(most);
    let mut found = Vec::new();
    let mut decode = || {
        for piece in stream.chunks(size) {
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
    let decoded = decode();
    let found: Vec<_> = found.iter().map(|chunk| hex(chunk)).collect();
    expect(&entry["chunks"], &found.into())?;
    expect(&entry["error"], &decoder.error().map(hex).into())?;
    expect(
        &entry["is_error_of_choice"],
        &decoder.is_error_of_choice().into(),
    )?;
    expect(&entry["is_done"], &decoder.is_done().into())?;
    match entry["reason"].is_null() {
        true => decoded.map_err(told),
        false => is_refused(entry, decoded),
    }
}

/// The fields of a response: `chunks` and `compact_chunks`.
fn fields(mut data: &[u8]) -> Vec<(u32, &[u8])> {
    let response = StreamChatCompletionResponse::decode(data).expect("a response");
    let mut all = Vec::new();
    for _ in 0..response.chunks.len() + response.compact_chunks.len() {
        let tag = data[0];
        data = &data[1..];
        let size = prost::decode_length_delimiter(data).expect("a length");
        data = &data[prost::length_delimiter_len(size)..];
        all.push((u32::from(tag >> 3), &data[..size]));
        data = &data[size..];
    }
    all
}

/// A response with one chunk.
pub fn field(number: u8, chunk: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2];
    prost::encode_length_delimiter(chunk.len(), &mut out).expect("room");
    out.extend_from_slice(chunk);
    out
}

/// Messages after their lengths.
fn delimited(mut data: &[u8]) -> Result<Vec<Vec<u8>>, String> {
    let mut all = Vec::new();
    while !data.is_empty() {
        let size = prost::decode_length_delimiter(data).map_err(|error| error.to_string())?;
        data = &data[prost::length_delimiter_len(size)..];
        all.push(data[..size].to_vec());
        data = &data[size..];
    }
    Ok(all)
}

fn expect_all(wanted: &[Vec<u8>], found: &[Vec<u8>]) -> Check {
    let [wanted, found] =
        [wanted, found].map(|all| all.iter().map(|one| hex(one)).collect::<Vec<_>>());
    expect(&wanted.join(" "), &found.join(" "))
}
