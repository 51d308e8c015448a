//! Server-sent events, as OpenAI-compatible servers send them: what `chatpb.sse.Decoder` does.

mod chunks;
mod found;

use memchr::memchr2;

use crate::json::BOM;
pub use chunks::ChunkDecoder;

const DONE: &[u8] = b"[DONE]";

/// An event is longer than it may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooLong;

/// Cuts the bytes of an event stream, however they arrive, into events.
pub struct EventStream {
    most: usize,
    line: Vec<u8>,
    /// The lines of data of the event so far, with line feeds between them.
    data: Vec<u8>,
    has_data: bool,
    /// Whether the data has more than white space.
    has_text: bool,
    /// Whether the data ends with "}", white space aside.
    ends_object: bool,
    name: Vec<u8>,
    after_cr: bool,
    started: bool,
    failed: bool,
}

impl EventStream {
    /// `most` is the most bytes that one event may have.
    pub fn new(most: usize) -> Self {
        Self {
            most,
            line: Vec::new(),
            data: Vec::new(),
            has_data: false,
            has_text: false,
            ends_object: false,
            name: Vec::new(),
            after_cr: false,
            started: false,
            failed: false,
        }
    }

    /// Takes the next bytes and calls `each` with the data and the name of each event that they
    /// complete. An event that is too long fails this call and all later ones.
    pub fn feed(
        &mut self,
        mut input: &[u8],
        each: &mut dyn FnMut(&[u8], &[u8]),
    ) -> Result<(), TooLong> {
        if self.failed {
            return Err(TooLong);
        }
        if self.after_cr
            && let Some(rest) = input.strip_prefix(b"\n")
        {
            input = rest;
            self.after_cr = false;
        }
        let Some(&last) = input.last() else {
            return Ok(());
        };
        self.after_cr = last == b'\r';
        while let Some(end) = memchr2(b'\n', b'\r', input) {
            if self.data.len() + self.line.len() + end > self.most {
                break; // as if the line had come in pieces
            }
            if self.line.is_empty() {
                self.take(&input[..end], each);
            } else {
                let mut line = std::mem::take(&mut self.line);
                line.extend_from_slice(&input[..end]);
                self.take(&line, each);
                line.clear();
                self.line = line;
            }
            let crlf = input[end..].starts_with(b"\r\n");
            input = &input[end + 1 + usize::from(crlf)..];
        }
        self.failed = self.data.len() + self.line.len() + input.len() > self.most;
        if !self.failed {
            self.line.extend_from_slice(input);
        }
        if self.failed { Err(TooLong) } else { Ok(()) }
    }

    /// Calls `each` with the event that the end of the stream completes, if there is one.
    pub fn close(&mut self, each: &mut dyn FnMut(&[u8], &[u8])) -> Result<(), TooLong> {
        if self.failed {
            return Err(TooLong);
        }
        let line = std::mem::take(&mut self.line);
        self.take(&line, each);
        self.dispatch(each);
        Ok(())
    }

    fn take(&mut self, mut line: &[u8], each: &mut dyn FnMut(&[u8], &[u8])) {
        if !self.started {
            self.started = true;
            line = line.strip_prefix(BOM).unwrap_or(line);
        }
        if line.is_empty() {
            self.dispatch(each);
            return;
        }
        let colon = line.iter().position(|&byte| byte == b':');
        let (name, value) = line.split_at(colon.unwrap_or(line.len()));
        let value = value.strip_prefix(b":").unwrap_or(value);
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match name {
            b"event" => {
                self.name.clear();
                self.name.extend_from_slice(value);
            }
            b"data" => {
                let text = without_space(value);
                if text.starts_with(b":") && !self.has_text {
                    return; // a comment: no JSON text begins with a colon
                }
                // No JSON text goes on with a bracket after "}": a new text begins.
                if self.ends_object && matches!(text.first(), Some(b'{' | b'[')) {
                    self.dispatch(each);
                }
                if !text.is_empty() {
                    self.has_text = true;
                    self.ends_object = text.ends_with(b"}");
                }
                if self.has_data {
                    self.data.push(b'\n');
                }
                self.data.extend_from_slice(value);
                self.has_data = true;
            }
            _ => {}
        }
    }

    fn dispatch(&mut self, each: &mut dyn FnMut(&[u8], &[u8])) {
        if self.has_text {
            let is_done = without_space(&self.data) == DONE;
            each(if is_done { DONE } else { &self.data }, &self.name);
        }
        self.data.clear();
        self.has_data = false;
        self.has_text = false;
        self.ends_object = false;
        self.name.clear();
    }
}

/// Text without the white space of JSON around it.
fn without_space(text: &[u8]) -> &[u8] {
    let is_ink = |byte: &u8| !matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
    let Some(start) = text.iter().position(is_ink) else {
        return &[];
    };
    let end = text.iter().rposition(is_ink).map_or(start, |last| last + 1);
    &text[start..end]
}
