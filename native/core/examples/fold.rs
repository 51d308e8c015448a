//! Reads the event stream of a model from standard input, prints its text as it comes, and then
//! the JSON of the completion that its chunks make.
//!
//!     curl -sN https://api.openai.com/v1/chat/completions -H "Authorization: Bearer $OPENAI_API_KEY" \
//!       -H 'Content-Type: application/json' \
//!       -d '{"model": "gpt-4o-mini", "stream": true, "messages": [{"role": "user", "content": "Hi"}]}' |
//!       cargo run --example fold

use std::io::{Read, Write, stdin, stdout};

use chatpb::{ChunkDecoder, Folder};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut decoder = ChunkDecoder::default();
    let mut folder = Folder::default();
    let mut buffer = [0; 4096];
    loop {
        let size = stdin().read(&mut buffer)?;
        let chunks = match size {
            0 => decoder.close_messages()?,
            _ => decoder.feed_messages(&buffer[..size])?,
        };
        for chunk in chunks {
            for choice in &chunk.choices {
                let delta = choice.delta.as_ref();
                print!("{}", delta.map_or("", |delta| delta.content()));
            }
            stdout().flush()?;
            folder.add_message(&chunk)?;
        }
        if size == 0 {
            break;
        }
    }
    if let Some(error) = decoder.error_message() {
        return Err(chatpb::to_json(&error)?.into());
    }
    println!("\n{}", chatpb::to_json(&folder.finish_message()?)?);
    Ok(())
}
