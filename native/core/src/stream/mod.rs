//! Chunks to the completion that they make, and back.
//!
//! Chunks are joined as JSON trees, member by member, by the rules that the schema gives for each
//! field and for members that it does not know. `docs/mapping.md` has the rules.

mod compact;
mod elements;
mod fold;
mod normal;
mod pieces;
mod plan;
mod restore;
mod rules;
pub mod tree;
mod unfold;

use std::sync::LazyLock;

use crate::error::ConversionError;
use crate::fault::find_fault;
use crate::json::put_escaped_surrogates;
use crate::{Nan, Options, binary_to_json, json_to_binary, schema};
pub use compact::{Compacted, Compactor};
use fold::{finish_members, join_chunk};
pub use restore::Restorer;
use rules::rules;
use tree::{Members, Node, parse};
pub use unfold::unfold;

static CHUNK: LazyLock<usize> = LazyLock::new(|| type_named("ChatCompletionChunk"));
static COMPLETION: LazyLock<usize> = LazyLock::new(|| type_named("ChatCompletion"));

fn type_named(name: &str) -> usize {
    let found = schema().message_type(&format!("chatpb.v1.{name}"));
    found.expect("the schema has the types of a stream")
}

/// The number of the message type of chunks.
fn chunk_type() -> usize {
    *CHUNK
}

/// The number of the message type of completions.
fn completion_type() -> usize {
    *COMPLETION
}

/// Trees are read as they were written: with numbers that are not finite.
fn lossless() -> Options {
    Options {
        allow_nan: true,
        ..Options::default()
    }
}

/// A message as a JSON tree.
fn object_of(
    data: &[u8],
    message_type: usize,
    options: Options,
) -> Result<Members, ConversionError> {
    let options = Options {
        allow_nan: true,
        ..options
    };
    match parse(&binary_to_json(data, message_type, options)?) {
        Ok(Node::Object(members)) => Ok(members),
        _ => Err(ConversionError::new("nested deeper than 200 levels")),
    }
}

/// Assembles the chunks of one stream into the completion that they make.
///
/// Content, refusal, reasoning, arguments, audio and log probabilities are appended; choices are
/// told apart by their index, tool calls by their index or, without one, by their id. The first id,
/// creation time and model that are not empty win. A later chunk where a member is null or missing
/// does not erase it. The completion has just the members that the chunks had, including those
/// that the schema does not know.
///
/// The law: `fold(unfold(c)) == c`.
///
/// * `chunks`: `ChatCompletionChunk`s in binary form, in the order in which they came.
/// * `options`: `ignore_unknown_fields` counts; numbers that are not finite are always kept.
///
/// Gives a `ChatCompletion` in binary form, which is canonical.
///
/// # Errors
///
/// There is no chunk, or a chunk cannot be read: see [`binary_to_json`](crate::binary_to_json).
///
/// # Examples
///
/// ```
/// # fn main() -> Result<(), chatpb::ConversionError> {
/// let chunk = chatpb::schema().message_type("chatpb.v1.ChatCompletionChunk").unwrap();
/// let completion = chatpb::schema().message_type("chatpb.v1.ChatCompletion").unwrap();
/// let chunks = [
///     br#"{"id":"chatcmpl-1","choices":[{"index":0,"delta":{"content":"Hel"}}]}"#,
///     br#"{"id":"chatcmpl-1","choices":[{"index":0,"delta":{"content":"lo!"}}]}"#,
/// ];
/// let chunks = chunks.map(|text| chatpb::json_to_binary(text, chunk, Default::default()).unwrap());
/// let folded = chatpb::fold(&chunks, Default::default())?;
/// let text = chatpb::binary_to_json(&folded, completion, Default::default())?;
/// assert_eq!(
///     r#"{"id":"chatcmpl-1","choices":[{"index":0,"message":{"content":"Hello!"}}]}"#,
///     String::from_utf8_lossy(&text),
/// );
/// # Ok(())
/// # }
/// ```
pub fn fold<I>(chunks: I, options: Options) -> Result<Vec<u8>, ConversionError>
where
    I: IntoIterator,
    I::Item: AsRef<[u8]>,
{
    let mut folder = Folder::new(options);
    for chunk in chunks {
        folder.add(chunk.as_ref())?;
    }
    folder.finish()
}

/// Does what [`fold`] does, chunk by chunk.
///
/// It keeps what the completion has, not the chunks.
#[derive(Clone, Debug, Default)]
pub struct Folder {
    options: Options,
    folded: Members,
    /// The completion that a chunk had whole.
    whole: Option<Members>,
    has_chunk: bool,
}

impl Folder {
    /// Begins a completion; `options` is as for [`fold`].
    pub fn new(options: Options) -> Self {
        Self {
            options,
            ..Self::default()
        }
    }

    /// Joins the next chunk, in binary form.
    ///
    /// # Errors
    ///
    /// The chunk cannot be read: see [`binary_to_json`](crate::binary_to_json). Then it is as if it
    /// had not been added.
    pub fn add(&mut self, chunk: &[u8]) -> Result<(), ConversionError> {
        let tree = object_of(chunk, chunk_type(), self.options)?;
        if let Some(Node::String(text)) = tree.get(&rules().chunk().whole) {
            self.whole = whole_completion(text).or(self.whole.take());
        }
        join_chunk(&mut self.folded, tree);
        self.has_chunk = true;
        Ok(())
    }

    /// The completion that the chunks make, in binary form.
    ///
    /// # Errors
    ///
    /// No chunk was added.
    pub fn finish(self) -> Result<Vec<u8>, ConversionError> {
        if !self.has_chunk {
            let reason = "expected at least one chunk, got none";
            return Err(ConversionError::new(reason));
        }
        let tree = match self.whole {
            Some(whole) => whole,
            None => finish_members(self.folded),
        };
        json_to_binary(&tree.to_text(), completion_type(), lossless())
    }
}

/// The completion that a chunk holds as JSON text, as `unfold` writes it.
fn whole_completion(text: &[u8]) -> Option<Members> {
    let mut utf8 = Vec::with_capacity(text.len());
    put_escaped_surrogates(text, &mut utf8);
    if find_fault(&utf8, Nan::Allowed).is_some() {
        return None;
    }
    let text = utf8.strip_prefix(crate::json::BOM).unwrap_or(&utf8);
    match parse(text) {
        Ok(Node::Object(members)) if !members.is_empty() => Some(members),
        _ => None,
    }
}
