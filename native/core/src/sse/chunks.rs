//! From the bytes of an event stream to chunks in binary form: what `chatpb.sse.ChunkDecoder` does.

use std::sync::LazyLock;

use super::found::find_error;
use super::{DONE, EventStream, TooLong};
use crate::{ConversionError, Options, json_to_binary, schema};

static CHUNK: LazyLock<usize> = LazyLock::new(|| type_named("ChatCompletionChunk"));
static ERROR: LazyLock<usize> = LazyLock::new(|| type_named("ErrorResponse"));

fn type_named(name: &str) -> usize {
    let found = schema().message_type(&format!("chatpb.v1.{name}"));
    found.expect("the schema has the types of a stream")
}

/// Turns the bytes of an event stream, however they arrive, into chunks in binary form.
///
/// An event named `error`, or whose data is an error wherever servers put one, is not a chunk: it
/// is in [`error`](Self::error). A chunk that has an error next to its choices is given, and its
/// error is in [`error`](Self::error) too, as is that of a choice. Chunks that follow are still
/// given.
///
/// Servers do not keep to the standard of event streams, and what they send is accepted: a last
/// event without a blank line after it, texts without one between them, white space around
/// `[DONE]`, and comments that were sent as data.
///
/// ```
/// # fn main() -> Result<(), chatpb::ConversionError> {
/// let mut decoder = chatpb::ChunkDecoder::default();
/// assert!(decoder.feed(b"data: {\"id\":\"a\",\"cho")?.is_empty());
/// let chunks = decoder.feed(b"ices\":[]}\n\ndata: [DONE]\n\n")?;
/// let message_type = chatpb::schema().message_type("chatpb.v1.ChatCompletionChunk").unwrap();
/// let text = chatpb::binary_to_json(&chunks[0], message_type, Default::default())?;
/// assert_eq!(br#"{"id":"a","choices":[]}"#, &text[..]);
/// assert!(decoder.is_done() && decoder.error().is_none());
/// # Ok(())
/// # }
/// ```
pub struct ChunkDecoder {
    events: EventStream,
    state: State,
}

struct State {
    most: usize,
    options: Options,
    chunks: Vec<Vec<u8>>,
    error: Option<Vec<u8>>,
    is_error_of_choice: bool,
    is_error_in_chunk: bool,
    is_done: bool,
    /// What the calls to come fail with.
    failure: Option<ConversionError>,
}

impl Default for ChunkDecoder {
    /// A decoder of events of up to [`MAX_EVENT_BYTES`](Self::MAX_EVENT_BYTES).
    fn default() -> Self {
        Self::new(Self::MAX_EVENT_BYTES)
    }
}

impl ChunkDecoder {
    /// The most bytes that one event may have, if nothing else is given: 64 MiB.
    pub const MAX_EVENT_BYTES: usize = 64 << 20;

    /// A decoder of one stream.
    ///
    /// * `max_event_bytes`: the most bytes that one event may have.
    pub fn new(max_event_bytes: usize) -> Self {
        Self::with_options(max_event_bytes, Options::default())
    }

    /// The same, with options: `allow_nan` counts.
    pub fn with_options(max_event_bytes: usize, options: Options) -> Self {
        Self {
            events: EventStream::new(max_event_bytes),
            state: State {
                most: max_event_bytes,
                options,
                chunks: Vec::new(),
                error: None,
                is_error_of_choice: false,
                is_error_in_chunk: false,
                is_done: false,
                failure: None,
            },
        }
    }

    /// Takes the next bytes and gives the chunks that they complete, each as
    /// [`json_to_binary`] gives it.
    ///
    /// # Errors
    ///
    /// An event is longer than it may be, or its data is not a JSON object. The chunks before it are
    /// given first: then the next call fails. All calls after that fail too.
    pub fn feed(&mut self, data: &[u8]) -> Result<Vec<Vec<u8>>, ConversionError> {
        self.run(|events, each| events.feed(data, each))
    }

    /// Gives the chunks that the end of the stream completes. Call it until it gives none: the call
    /// after the chunks may fail.
    ///
    /// # Errors
    ///
    /// As for [`feed`](Self::feed).
    pub fn close(&mut self) -> Result<Vec<Vec<u8>>, ConversionError> {
        self.run(|events, each| events.close(each))
    }

    /// The first error event, or else the first error in a chunk, as an `ErrorResponse` in binary
    /// form; None without one.
    pub fn error(&self) -> Option<&[u8]> {
        self.state.error.as_deref()
    }

    /// Whether [`error`](Self::error) is that of one choice of a chunk, so that others go on.
    pub fn is_error_of_choice(&self) -> bool {
        self.state.is_error_of_choice
    }

    /// Whether the event that ends a stream has come. Some servers never send it.
    pub fn is_done(&self) -> bool {
        self.state.is_done
    }

    fn run(
        &mut self,
        work: impl FnOnce(&mut EventStream, &mut dyn FnMut(&[u8], &[u8])) -> Result<(), TooLong>,
    ) -> Result<Vec<Vec<u8>>, ConversionError> {
        let state = &mut self.state;
        if let Some(failure) = &state.failure {
            return Err(failure.clone());
        }
        let done = work(&mut self.events, &mut |data, name| {
            if state.failure.is_none()
                && let Err(error) = state.take(data, name)
            {
                state.failure = Some(error);
            }
        });
        if state.failure.is_none() && done == Err(TooLong) {
            let reason = format!("an event of the stream is longer than {} bytes", state.most);
            state.failure = Some(ConversionError::new(reason));
        }
        match &state.failure {
            Some(failure) if state.chunks.is_empty() => Err(failure.clone()),
            _ => Ok(std::mem::take(&mut state.chunks)),
        }
    }
}

impl State {
    /// Takes an event.
    fn take(&mut self, data: &[u8], name: &[u8]) -> Result<(), ConversionError> {
        if data == DONE {
            self.is_done = true;
            return Ok(());
        }
        let found = find_error(data)?;
        let is_alone = name == b"error" || found.as_ref().is_some_and(|found| found.is_alone);
        let needs_error = self.error.is_none() || self.is_error_in_chunk;
        let mut error = None;
        if needs_error && (is_alone || found.is_some()) {
            let text = found.as_ref().and_then(|found| found.text.as_deref());
            let options = Options {
                allow_nan: true,
                ..self.options
            };
            error = Some(json_to_binary(text.unwrap_or(data), *ERROR, options)?);
        }
        if !is_alone {
            self.chunks
                .push(json_to_binary(data, *CHUNK, self.options)?);
        }
        if let Some(error) = error {
            let is_of_choice = !is_alone && found.is_some_and(|found| found.is_of_choice);
            let replaces = is_alone || self.is_error_of_choice && !is_of_choice;
            if self.error.is_none() || replaces {
                self.error = Some(error);
                self.is_error_of_choice = is_of_choice;
            }
            self.is_error_in_chunk = !is_alone;
        }
        Ok(())
    }
}
