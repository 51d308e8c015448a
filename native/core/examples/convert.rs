//! Reads the JSON of a completion from standard input, prints its text, and writes the JSON again.
//!
//!     cargo run --example convert < completion.json

use std::io::{Read, stdin};

use chatpb::v1::ChatCompletion;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut text = Vec::new();
    stdin().read_to_end(&mut text)?;
    let completion: ChatCompletion = chatpb::from_json(&text)?;
    for choice in &completion.choices {
        let message = choice.message.as_ref();
        println!("{}", message.map_or("", |message| message.content()));
    }
    println!("{}", chatpb::to_json(&completion)?);
    Ok(())
}
