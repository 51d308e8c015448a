//! Compares the crate chatpb with serde_json, which reads the same text into a tree and writes it.
//!
//!     bench-rust [--seconds S] FILE...
//!
//! benchmarks/polyglot/compare.py has the form of what it prints.

use std::error::Error;
use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};
use std::{env, fs};

use chatpb::v1::ChatCompletion;
use serde_json::Value;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1).peekable();
    let mut seconds = 1.0;
    if arguments
        .next_if(|argument| argument == "--seconds")
        .is_some()
    {
        seconds = arguments
            .next()
            .ok_or("--seconds needs a number")?
            .parse()?;
    }
    for file in arguments {
        measure(Path::new(&file), Duration::from_secs_f64(seconds))?;
    }
    Ok(())
}

fn measure(file: &Path, time: Duration) -> Result<(), Box<dyn Error>> {
    let options = chatpb::Options::default();
    let message_type = chatpb::schema().message_type("chatpb.v1.ChatCompletion");
    let message_type = message_type.ok_or("no such type")?;
    let text = fs::read(file)?;
    let binary = chatpb::json_to_binary(&text, message_type, options)?;
    let message: ChatCompletion = chatpb::from_json(&text)?;
    let value: Value = serde_json::from_slice(&text)?;

    let stem = file.file_stem().unwrap_or_default().to_string_lossy();
    let each = |operation: &str, ours: &mut dyn FnMut(), peer: &mut dyn FnMut()| {
        let (ours, peer) = least(time, ours, peer);
        println!("{stem}\t{operation}\tserde_json\t{ours}\t{peer}");
    };
    let read = &mut || {
        black_box(serde_json::from_slice::<Value>(black_box(&text)).is_ok());
    };
    let write = &mut || {
        black_box(serde_json::to_vec(black_box(&value)).is_ok());
    };
    let to_binary = &mut || {
        black_box(chatpb::json_to_binary(black_box(&text), message_type, options).is_ok());
    };
    each("json_to_binary", to_binary, read);
    let from_json = &mut || {
        black_box(chatpb::from_json::<ChatCompletion>(black_box(&text)).is_ok());
    };
    each("from_json", from_json, read);
    let to_text = &mut || {
        black_box(chatpb::binary_to_json(black_box(&binary), message_type, options).is_ok());
    };
    each("binary_to_json", to_text, write);
    let to_json = &mut || {
        black_box(chatpb::to_json(black_box(&message)).is_ok());
    };
    each("to_json", to_json, write);
    Ok(())
}

/// The least time of a round of each, in nanoseconds for one call. The rounds alternate.
fn least(time: Duration, ours: &mut dyn FnMut(), peer: &mut dyn FnMut()) -> (f64, f64) {
    let calls = 1 + (Duration::from_millis(2).as_nanos() / round(1, ours).max(1.0) as u128) as u32;
    let (mut best, start) = ((f64::MAX, f64::MAX), Instant::now());
    while start.elapsed() < time {
        best.0 = best.0.min(round(calls, ours));
        best.1 = best.1.min(round(calls, peer));
    }
    best
}

/// The time of one call, in nanoseconds.
fn round(calls: u32, work: &mut dyn FnMut()) -> f64 {
    let start = Instant::now();
    for _ in 0..calls {
        work();
    }
    start.elapsed().as_nanos() as f64 / f64::from(calls)
}
