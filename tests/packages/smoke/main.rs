//! What a user of the crate does first: `smoke FOLDER`.

use chatpb::{Folder, Options, binary_to_json, json_to_binary, schema};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = std::path::PathBuf::from(std::env::args_os().nth(1).ok_or("no folder")?);
    let read = |name: &str| std::fs::read(folder.join(name));
    let options = Options::default();
    let completion = schema().message_type("chatpb.v1.ChatCompletion").ok_or("no type")?;
    let chunk = schema().message_type("chatpb.v1.ChatCompletionChunk").ok_or("no type")?;

    let binary = read("completion.binpb")?;
    assert_eq!(binary, json_to_binary(&read("completion.json")?, completion, options)?);
    let text = binary_to_json(&binary, completion, options)?;
    assert_eq!(binary, json_to_binary(&text, completion, options)?);

    let mut folded = Folder::new(options);
    for line in String::from_utf8(read("stream.jsonl")?)?.lines() {
        folded.add(&json_to_binary(line.as_bytes(), chunk, options)?)?;
    }
    assert_eq!(read("folded.binpb")?, folded.finish()?);

    let error = json_to_binary(br#"{"choices": [tru]}"#, completion, options).unwrap_err();
    assert_eq!("$.choices[0]", error.path);
    println!("passed");
    Ok(())
}
