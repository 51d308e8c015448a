//! The conversions on prost's messages.

use std::borrow::Borrow;
use std::cell::Cell;
use std::collections::HashMap;
use std::sync::LazyLock;

use foldhash::fast::FixedState;
use prost::{Message, Name};

use crate::error::ConversionError;
use crate::{ChunkDecoder, Folder, Options, Restorer, binary_to_json, schema, unfold, v1};

const PACKAGE: &str = "chatpb.v1";

thread_local! {
    /// Memory for the binary form between JSON and a message, kept for the next call.
    static BINARY: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}
/// The most memory that is kept.
const MOST_KEPT: usize = 1 << 20;

/// Reads a JSON text into a message.
///
/// The law: [`to_json`] of the message is the same JSON value, except what prost cannot hold: see
/// [`v1`]. What the typed fields cannot represent is in the residues of the message.
///
/// `text` is a JSON object in UTF-8; white space and a byte order mark may surround it. If a member
/// is repeated, the last one wins. The message type is one that mirrors a JSON object, such as
/// [`v1::ChatCompletion`], [`v1::ChatCompletionChunk`] or [`v1::ChatCompletionRequest`].
///
/// # Errors
///
/// The text is not one JSON object, is not UTF-8, or nests deeper than 200 levels; or the message
/// type mirrors no JSON object.
///
/// # Examples
///
/// ```
/// use chatpb::v1::ChatCompletion;
///
/// # fn main() -> Result<(), chatpb::ConversionError> {
/// let text = r#"{"id":"chatcmpl-1","choices":[{"index":0,"message":{"content":"Hi"}}],"new":1}"#;
/// let completion: ChatCompletion = chatpb::from_json(text)?;
/// assert_eq!("Hi", completion.choices[0].message.as_ref().unwrap().content());
/// assert_eq!(text, chatpb::to_json(&completion)?);
///
/// let error = chatpb::from_json::<ChatCompletion>("{").unwrap_err();
/// assert_eq!(Some(1), error.offset);
/// # Ok(())
/// # }
/// ```
pub fn from_json<M: Name + Default>(text: impl AsRef<[u8]>) -> Result<M, ConversionError> {
    from_json_with(text, Options::default())
}

/// Reads a JSON text as [`from_json`] does; `allow_nan` of the options counts.
///
/// # Errors
///
/// As for [`from_json`].
pub fn from_json_with<M: Name + Default>(
    text: impl AsRef<[u8]>,
    options: Options,
) -> Result<M, ConversionError> {
    let number = number::<M>()?;
    with_buffer(|binary| {
        schema().json_to_binary(text.as_ref(), number, options, binary)?;
        decode(binary)
    })
}

/// Writes a message as JSON text.
///
/// The text is compact: documented members in the order in which api.openai.com sends them, then
/// the others.
///
/// # Errors
///
/// The message has an enum value that the schema does not know, numbers that are not finite, or
/// text that is not JSON where JSON is expected; or the message type mirrors no JSON object.
pub fn to_json<M: Name>(message: &M) -> Result<String, ConversionError> {
    to_json_with(message, Options::default())
}

/// Writes a message as [`to_json`] does, with options.
///
/// # Errors
///
/// As for [`to_json`].
pub fn to_json_with<M: Name>(message: &M, options: Options) -> Result<String, ConversionError> {
    let number = number::<M>()?;
    let text = with_buffer(|binary| {
        let encoded = message.encode(binary);
        encoded.map_err(|error| ConversionError::new(error.to_string()))?;
        binary_to_json(binary, number, options)
    })?;
    String::from_utf8(text).map_err(|_| ConversionError::new("not UTF-8"))
}

/// Assembles the chunks of one stream into the completion that they make, as
/// [`fold`](crate::fold()) does.
///
/// # Errors
///
/// There is no chunk, or one cannot be written as JSON: see [`to_json`].
///
/// # Examples
///
/// ```
/// use chatpb::v1::ChatCompletionChunk;
///
/// # fn main() -> Result<(), chatpb::ConversionError> {
/// let chunks = ["Hel", "lo!"].map(|token| {
///     let text = format!(r#"{{"choices":[{{"index":0,"delta":{{"content":"{token}"}}}}]}}"#);
///     chatpb::from_json::<ChatCompletionChunk>(text).unwrap()
/// });
/// let completion = chatpb::fold_messages(&chunks)?;
/// assert_eq!("Hello!", completion.choices[0].message.as_ref().unwrap().content());
/// # Ok(())
/// # }
/// ```
pub fn fold_messages<I>(chunks: I) -> Result<v1::ChatCompletion, ConversionError>
where
    I: IntoIterator,
    I::Item: Borrow<v1::ChatCompletionChunk>,
{
    let mut folder = Folder::new(Options::default());
    for chunk in chunks {
        folder.add_message(chunk.borrow())?;
    }
    folder.finish_message()
}

/// Splits a completion into the chunks of a stream, as [`unfold`](crate::unfold()) does.
///
/// The law: `fold_messages(unfold_message(c)) == c`, except what prost cannot hold: see [`v1`].
///
/// # Errors
///
/// The completion cannot be written as JSON: see [`to_json`].
pub fn unfold_message(
    completion: &v1::ChatCompletion,
) -> Result<Vec<v1::ChatCompletionChunk>, ConversionError> {
    let chunks = unfold(&completion.encode_to_vec(), Options::default())?;
    chunks.iter().map(|chunk| decode(chunk)).collect()
}

impl Folder {
    /// Joins the next chunk, as [`add`](Self::add) does.
    ///
    /// # Errors
    ///
    /// As for [`add`](Self::add).
    pub fn add_message(&mut self, chunk: &v1::ChatCompletionChunk) -> Result<(), ConversionError> {
        self.add(&chunk.encode_to_vec())
    }

    /// The completion that the chunks make.
    ///
    /// # Errors
    ///
    /// As for [`finish`](Self::finish).
    pub fn finish_message(self) -> Result<v1::ChatCompletion, ConversionError> {
        decode(&self.finish()?)
    }
}

impl Restorer {
    /// The chunks of the next response of a compact stream, all of them whole.
    ///
    /// # Errors
    ///
    /// As for [`restore`](Self::restore).
    pub fn add(
        &mut self,
        response: &v1::StreamChatCompletionResponse,
    ) -> Result<Vec<v1::ChatCompletionChunk>, ConversionError> {
        let mut chunks = response.chunks.clone();
        if let Some(last) = chunks.last() {
            self.follow(&last.encode_to_vec());
        }
        for compact in &response.compact_chunks {
            chunks.push(decode(&self.restore(&compact.encode_to_vec())?)?);
        }
        Ok(chunks)
    }
}

impl ChunkDecoder {
    /// Takes the next bytes as [`feed`](Self::feed) does, and gives the chunks that they complete.
    ///
    /// # Errors
    ///
    /// As for [`feed`](Self::feed).
    pub fn feed_messages(
        &mut self,
        data: &[u8],
    ) -> Result<Vec<v1::ChatCompletionChunk>, ConversionError> {
        self.feed(data)?.iter().map(|chunk| decode(chunk)).collect()
    }

    /// Gives the chunks that the end of the stream completes, all at once.
    ///
    /// # Errors
    ///
    /// As for [`feed`](Self::feed).
    pub fn close_messages(&mut self) -> Result<Vec<v1::ChatCompletionChunk>, ConversionError> {
        let mut chunks = Vec::new();
        loop {
            let more = self.close()?;
            if more.is_empty() {
                return Ok(chunks);
            }
            for chunk in more {
                chunks.push(decode(&chunk)?);
            }
        }
    }

    /// The error of the stream, as [`error`](Self::error) has it.
    pub fn error_message(&self) -> Option<v1::ErrorResponse> {
        self.error().and_then(|error| decode(error).ok())
    }
}

/// Calls with an empty buffer, whose memory is that of the last call.
fn with_buffer<T>(work: impl FnOnce(&mut Vec<u8>) -> T) -> T {
    let mut buffer = BINARY.take();
    buffer.clear();
    let result = work(&mut buffer);
    if buffer.capacity() <= MOST_KEPT {
        BINARY.set(buffer);
    }
    result
}

/// The numbers of the message types by their names in their package.
static NUMBERS: LazyLock<HashMap<&'static str, usize, FixedState>> = LazyLock::new(|| {
    let messages = schema().messages.iter().enumerate();
    let named = messages.filter_map(|(number, mapped)| {
        schema().message_type(&mapped.name)?;
        Some((mapped.name.rsplit('.').next()?, number))
    });
    named.collect()
});

/// The number of a message type that mirrors a JSON object.
fn number<M: Name>() -> Result<usize, ConversionError> {
    let number = NUMBERS.get(M::NAME).filter(|_| M::PACKAGE == PACKAGE);
    let refused = || format!("{} does not mirror a JSON object", M::full_name());
    number
        .copied()
        .ok_or_else(|| ConversionError::new(refused()))
}

fn decode<M: Name + Default>(data: &[u8]) -> Result<M, ConversionError> {
    M::decode(data).map_err(|error| ConversionError::new(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_without_json_are_refused() {
        let error = from_json::<v1::StreamChatCompletionResponse>("{}").unwrap_err();
        let reason = "chatpb.v1.StreamChatCompletionResponse does not mirror a JSON object";
        assert_eq!(reason, error.reason);
    }

    #[test]
    fn every_part_of_a_stream_goes_there_and_back() {
        let text =
            r#"{"choices":[{"index":0,"message":{"role":"assistant","content":"Hi"}}],"x":[1]}"#;
        let completion: v1::ChatCompletion = from_json(text).unwrap();
        let chunks = unfold_message(&completion).unwrap();
        assert_eq!(completion, fold_messages(&chunks).unwrap());
        assert_eq!(text, to_json(&completion).unwrap());
    }
}
