//! Python's dicts to messages, and messages to the JSON that dicts are made of.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

use chatpb::{MAX_DEPTH, put_double, put_integer, put_quoted};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple};

use crate::{MOST_KEPT, Transcoder, options, run_with};

/// How many digits an integer has at least that may be beyond 64 bits.
const LONG_INTEGER: usize = 19;

thread_local! {
    /// The text between a dict and a message.
    static TEXT: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Converts dicts of the types that JSON parsers give. Everything else is left to the reference.
#[pyclass(frozen, module = "_chatpb")]
pub struct Dicts {
    transcoder: Py<Transcoder>,
}

#[pymethods]
impl Dicts {
    #[new]
    fn new(transcoder: Py<Transcoder>) -> Self {
        Self { transcoder }
    }

    /// Reads a dict into the binary form of a message; None if the reference must read it.
    fn to_binary<'py>(
        &self,
        py: Python<'py>,
        members: &Bound<'py, PyAny>,
        message_type: usize,
        allow_nan: bool,
    ) -> Option<Bound<'py, PyBytes>> {
        let dict = members.cast_exact::<PyDict>().ok()?;
        let mut tree = Tree {
            text: TEXT.take(),
            allow_nan,
        };
        tree.text.clear();
        let schema = &self.transcoder.get().schema;
        let read = catch_unwind(AssertUnwindSafe(|| tree.object(dict, 0)));
        let binary = read.ok().flatten().and_then(|()| {
            let (text, options) = (&tree.text, options(allow_nan, false));
            run_with(
                py,
                text.len(),
                |out| schema.json_to_binary(text, message_type, options, out),
                |out| PyBytes::new(py, out),
            )
        });
        if tree.text.capacity() <= MOST_KEPT {
            TEXT.set(tree.text);
        }
        binary?.ok()
    }

    /// Writes the binary form of a message as JSON text whose integers every parser reads; None if
    /// the reference must write it.
    fn plain_json<'py>(
        &self,
        py: Python<'py>,
        data: &[u8],
        message_type: usize,
        allow_nan: bool,
        ignore_unknown_fields: bool,
    ) -> Option<Bound<'py, PyBytes>> {
        let schema = &self.transcoder.get().schema;
        let options = options(allow_nan, ignore_unknown_fields);
        let written = run_with(
            py,
            data.len(),
            |out| schema.binary_to_json(data, message_type, options, out),
            |out| (!has_long_integer(out)).then(|| PyBytes::new(py, out)),
        );
        written?.ok()?
    }
}

/// The JSON text of Python's values. None stands for a value that the reference must read.
struct Tree {
    text: Vec<u8>,
    allow_nan: bool,
}

impl Tree {
    fn value(&mut self, value: &Bound<'_, PyAny>, depth: usize) -> Option<()> {
        if let Ok(string) = value.cast_exact::<PyString>() {
            return self.string(string);
        }
        if let Ok(members) = value.cast_exact::<PyDict>() {
            return self.object(members, depth);
        }
        if let Ok(integer) = value.cast_exact::<PyInt>() {
            let integer: i64 = integer.extract().ok()?;
            put_integer(integer, &mut self.text);
        } else if let Ok(items) = value.cast_exact::<PyList>() {
            return self.array(items.iter(), depth);
        } else if let Ok(float) = value.cast_exact::<PyFloat>() {
            let float = float.value();
            if !float.is_finite() && !self.allow_nan {
                return None;
            }
            put_double(float, &mut self.text);
        } else if value.is_none() {
            self.text.extend_from_slice(b"null");
        } else if let Ok(boolean) = value.cast_exact::<PyBool>() {
            let word: &[u8] = if boolean.is_true() { b"true" } else { b"false" };
            self.text.extend_from_slice(word);
        } else {
            let items = value.cast_exact::<PyTuple>().ok()?;
            return self.array(items.iter(), depth);
        }
        Some(())
    }

    fn string(&mut self, string: &Bound<'_, PyString>) -> Option<()> {
        put_quoted(string.to_str().ok()?.as_bytes(), &mut self.text);
        Some(())
    }

    fn object(&mut self, members: &Bound<'_, PyDict>, depth: usize) -> Option<()> {
        if depth >= MAX_DEPTH {
            return None;
        }
        self.text.push(b'{');
        for (place, (name, value)) in members.iter().enumerate() {
            if place > 0 {
                self.text.push(b',');
            }
            self.string(name.cast_exact::<PyString>().ok()?)?;
            self.text.push(b':');
            self.value(&value, depth + 1)?;
        }
        self.text.push(b'}');
        Some(())
    }

    fn array<'py>(
        &mut self,
        items: impl Iterator<Item = Bound<'py, PyAny>>,
        depth: usize,
    ) -> Option<()> {
        if depth >= MAX_DEPTH {
            return None;
        }
        self.text.push(b'[');
        for (place, item) in items.enumerate() {
            if place > 0 {
                self.text.push(b',');
            }
            self.value(&item, depth + 1)?;
        }
        self.text.push(b']');
        Some(())
    }
}

/// Whether a text may have an integer of that many digits.
fn has_long_integer(text: &[u8]) -> bool {
    let digits =
        |part: &mut dyn Iterator<Item = &u8>| part.take_while(|byte| byte.is_ascii_digit()).count();
    let mut at = LONG_INTEGER - 1;
    while let Some(byte) = text.get(at) {
        if byte.is_ascii_digit() {
            let start = at - digits(&mut text[..at].iter().rev());
            let end = at + digits(&mut text[at..].iter());
            let is_fraction = start > 0 && text[start - 1] == b'.';
            if end - start >= LONG_INTEGER && !is_fraction {
                return true;
            }
            at = end;
        }
        at += LONG_INTEGER;
    }
    false
}
