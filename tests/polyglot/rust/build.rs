//! Generates code that reads the typed fields of the stubs by the names in the schema.
//!
//! prost's messages know nothing of their fields at run time. So each gets a function, from the
//! descriptors, that gives the field of a name.

use std::fmt::{self, Write};
use std::path::Path;
use std::{env, fs};

use prost::Message;
use prost_types::field_descriptor_proto::Type;
use prost_types::{DescriptorProto, FieldDescriptorProto, FileDescriptorSet};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = "../../../chatpb/v1/descriptor_set.binpb";
    println!("cargo::rerun-if-changed={path}");
    let set = FileDescriptorSet::decode(&*fs::read(path)?)?;
    let messages: Vec<_> = set
        .file
        .iter()
        .filter(|file| file.package() == "chatpb.v1")
        .flat_map(|file| &file.message_type)
        .collect();
    let mut out = String::new();
    decoder(&mut out, &messages)?;
    for message in messages {
        fields(&mut out, message)?;
    }
    fs::write(Path::new(&env::var("OUT_DIR")?).join("fields.rs"), out)?;
    Ok(())
}

/// The function that parses a message of any type.
fn decoder(out: &mut String, messages: &[&DescriptorProto]) -> fmt::Result {
    writeln!(
        out,
        "pub fn decode(name: &str, data: &[u8]) -> Result<Box<dyn Fields>, prost::DecodeError> {{
            Ok(match name {{"
    )?;
    for message in messages {
        let name = message.name();
        writeln!(
            out,
            "\"chatpb.v1.{name}\" => Box::new(<v1::{name} as prost::Message>::decode(data)?),"
        )?;
    }
    writeln!(
        out,
        "_ => panic!(\"there is no message type {{name}}\"), }}) }}"
    )
}

/// How the fields of a message are read.
fn fields(out: &mut String, message: &DescriptorProto) -> fmt::Result {
    let name = message.name();
    writeln!(
        out,
        "impl Fields for v1::{name} {{
            fn encode(&self) -> Vec<u8> {{ prost::Message::encode_to_vec(self) }}
            fn get(&self, name: &str) -> Option<Value<'_>> {{
                Some(match name {{"
    )?;
    for field in &message.field {
        writeln!(out, "{:?} => {},", field.name(), value(message, field))?;
    }
    writeln!(out, "_ => return None, }}) }} }}")
}

/// The expression for the value of a field.
fn value(message: &DescriptorProto, field: &FieldDescriptorProto) -> String {
    let read = |place: &str| match field.r#type() {
        Type::Enum => format!("{place}.read().of_enum()"),
        _ => format!("{place}.read()"),
    };
    match field.oneof_index {
        Some(index) if !field.proto3_optional() => {
            let oneof = message.oneof_decl[index as usize].name();
            let variant = format!(
                "v1::{}::{}::{}",
                snake(message.name()),
                camel(oneof),
                camel(field.name())
            );
            let value = read("value");
            format!(
                "match &self.{oneof} {{ Some({variant}(value)) => {value}, _ => Value::Unset }}"
            )
        }
        _ => read(&format!("self.r#{}", field.name())),
    }
}

/// `tool_choice` as `ToolChoice`.
fn camel(name: &str) -> String {
    let words = name.split('_');
    words
        .map(|word| word[..1].to_uppercase() + &word[1..])
        .collect()
}

/// `ToolChoice` as `tool_choice`.
fn snake(name: &str) -> String {
    let mut out = String::new();
    for (index, letter) in name.char_indices() {
        if letter.is_uppercase() && index > 0 {
            out.push('_');
        }
        out.extend(letter.to_lowercase());
    }
    out
}
