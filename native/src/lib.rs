//! The native implementation of chatpb's mapping, as a Python extension.
#![forbid(unsafe_code)]

mod table;

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

use chatpb::{
    ConversionError, DESCRIPTOR_SET, EventStream, Nan, Options, Schema, TooLong, find_error,
};
use memchr::memmem;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

/// What Python may call, with the types of all arguments and results.
const INTERFACE: &[u8] = include_bytes!("../../_chatpb.pyi");

/// Transcodes between JSON and the binary form, without a Python object in between.
///
/// What it returns is what the reference returns; of an error the reason, the path and the offset.
/// None means that a bug has panicked: then the reference is asked.
#[pyclass(frozen, module = "_chatpb")]
struct Transcoder {
    schema: Schema,
}

#[pymethods]
impl Transcoder {
    /// Compiles the tables from a serialized FileDescriptorSet with the custom options.
    #[new]
    fn new(descriptor_set: &[u8]) -> PyResult<Self> {
        let schema = Schema::new(descriptor_set).map_err(PyValueError::new_err)?;
        Ok(Self { schema })
    }

    /// The number of a message type, by its full name; None if it mirrors no JSON object.
    fn message_type(&self, name: &str) -> Option<usize> {
        self.schema.message_type(name)
    }

    /// Reads a JSON text into the binary form of a message.
    fn json_to_binary<'py>(
        &self,
        py: Python<'py>,
        data: &[u8],
        message_type: usize,
        allow_nan: bool,
    ) -> Option<Given<'py>> {
        let options = options(allow_nan, false);
        run(py, data.len(), |out| {
            self.schema.json_to_binary(data, message_type, options, out)
        })
    }

    /// The error of the first fault of a JSON text; None if there is none.
    fn find_error(&self, py: Python<'_>, data: &[u8], allow_nan: bool) -> Option<Refusal> {
        py.detach(|| find_error(data, Nan::from(allow_nan)))
            .map(refusal)
    }

    /// Writes the binary form of a message as JSON text: the bytes from `start` to `end`.
    #[pyo3(signature = (data, message_type, allow_nan, ignore_unknown_fields, start=0, end=None))]
    #[expect(clippy::too_many_arguments)]
    fn binary_to_json<'py>(
        &self,
        py: Python<'py>,
        data: &[u8],
        message_type: usize,
        allow_nan: bool,
        ignore_unknown_fields: bool,
        start: usize,
        end: Option<usize>,
    ) -> Option<Given<'py>> {
        let options = options(allow_nan, ignore_unknown_fields);
        let data = data.get(start..end.unwrap_or(data.len()))?;
        run(py, data.len(), |out| {
            self.schema.binary_to_json(data, message_type, options, out)
        })
    }

    /// How long the text is that `binary_to_json` writes; None if it writes none.
    fn json_size(
        &self,
        py: Python<'_>,
        data: &[u8],
        message_type: usize,
        allow_nan: bool,
        start: usize,
        end: usize,
    ) -> Option<usize> {
        let options = options(allow_nan, false);
        let data = data.get(start..end)?;
        let size = run_with(
            py,
            data.len(),
            |out| self.schema.binary_to_json(data, message_type, options, out),
            |out| out.len(),
        );
        size?.ok()
    }
}

fn options(allow_nan: bool, ignore_unknown_fields: bool) -> Options {
    Options {
        allow_nan,
        ignore_unknown_fields,
    }
}

/// The reason, the path and the offset of an error.
type Refusal = (String, String, Option<usize>);

fn refusal(error: ConversionError) -> Refusal {
    (error.reason, error.path, error.offset)
}

/// What a conversion gives.
#[derive(IntoPyObject)]
enum Given<'py> {
    Bytes(Bound<'py, PyBytes>),
    Refused(Refusal),
}

thread_local! {
    /// The output of the last call: memory that is new costs more than what is written to it.
    static BUFFER: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}
const MOST_KEPT: usize = 4 << 20;
/// How many bytes take longer to convert than to give the GIL away and to get it back.
const LONG: usize = 8 << 10;

/// Turns the bytes of an event stream, however they arrive, into chunks in binary form.
#[pyclass(module = "_chatpb")]
struct ChunkStream {
    transcoder: Py<Transcoder>,
    message_type: usize,
    allow_nan: bool,
    /// Data that has one of these is not transcoded here.
    suspects: Vec<Vec<u8>>,
    stream: EventStream,
}

/// A chunk in binary form, or the data and the name of an event that is for the reference.
#[derive(IntoPyObject)]
enum Item<'py> {
    Chunk(Bound<'py, PyBytes>),
    Event((Bound<'py, PyBytes>, String)),
}

enum Found {
    Chunk(Vec<u8>),
    Event(Vec<u8>, String),
}

#[pymethods]
impl ChunkStream {
    #[new]
    fn new(
        transcoder: Py<Transcoder>,
        message_type: usize,
        suspects: Vec<Vec<u8>>,
        max_event_bytes: usize,
        allow_nan: bool,
    ) -> Self {
        Self {
            transcoder,
            message_type,
            allow_nan,
            suspects,
            stream: EventStream::new(max_event_bytes),
        }
    }

    /// Gives what the next bytes complete, and whether an event is too long.
    fn feed<'py>(&mut self, py: Python<'py>, data: &[u8]) -> (Vec<Item<'py>>, bool) {
        self.run(py, |stream, each| stream.feed(data, each))
    }

    /// Gives what the end of the stream completes, and whether an event is too long.
    fn close<'py>(&mut self, py: Python<'py>) -> (Vec<Item<'py>>, bool) {
        self.run(py, |stream, each| stream.close(each))
    }
}

impl ChunkStream {
    fn run<'py>(
        &mut self,
        py: Python<'py>,
        work: impl FnOnce(&mut EventStream, &mut dyn FnMut(&[u8], &[u8])) -> Result<(), TooLong> + Send,
    ) -> (Vec<Item<'py>>, bool) {
        let schema = &self.transcoder.get().schema;
        let (message_type, options, suspects) = (
            self.message_type,
            options(self.allow_nan, false),
            &self.suspects,
        );
        let stream = &mut self.stream;
        let (found, too_long) = py.detach(|| {
            let mut found = Vec::new();
            let done = work(stream, &mut |data, name| {
                let is_plain = name.is_empty()
                    && !suspects
                        .iter()
                        .any(|suspect| memmem::find(data, suspect).is_some());
                let mut out = Vec::with_capacity(data.len());
                let mut transcode = || schema.json_to_binary(data, message_type, options, &mut out);
                let is_chunk = is_plain
                    && matches!(catch_unwind(AssertUnwindSafe(&mut transcode)), Ok(Ok(())));
                found.push(if is_chunk {
                    Found::Chunk(out)
                } else {
                    Found::Event(data.to_vec(), String::from_utf8_lossy(name).into_owned())
                });
            });
            (found, done.is_err())
        });
        let items = found.into_iter().map(|found| match found {
            Found::Chunk(chunk) => Item::Chunk(PyBytes::new(py, &chunk)),
            Found::Event(data, name) => Item::Event((PyBytes::new(py, &data), name)),
        });
        (items.collect(), too_long)
    }
}

/// Runs work, without the GIL if its input is long. None if a bug panics.
fn run<'py>(
    py: Python<'py>,
    size: usize,
    work: impl FnOnce(&mut Vec<u8>) -> Result<(), ConversionError> + Send,
) -> Option<Given<'py>> {
    let done = run_with(py, size, work, |out| PyBytes::new(py, out))?;
    Some(match done {
        Ok(bytes) => Given::Bytes(bytes),
        Err(error) => Given::Refused(refusal(error)),
    })
}

/// Runs work as `run` does, and gives what is made of its output.
fn run_with<T, E: Send>(
    py: Python<'_>,
    size: usize,
    work: impl FnOnce(&mut Vec<u8>) -> Result<(), E> + Send,
    take: impl FnOnce(&[u8]) -> T,
) -> Option<Result<T, E>> {
    let mut out = BUFFER.take();
    out.clear();
    let caught = || catch_unwind(AssertUnwindSafe(|| work(&mut out)));
    let done = if size < LONG {
        caught()
    } else {
        py.detach(caught)
    };
    let result = done.map(|done| done.map(|()| take(&out)));
    if out.capacity() <= MOST_KEPT {
        BUFFER.set(out);
    }
    result.ok()
}

#[pymodule]
fn _chatpb(module: &Bound<'_, PyModule>) -> PyResult<()> {
    // Of the schema that this extension is built for: another one is not used.
    module.add("DESCRIPTOR_SET", PyBytes::new(module.py(), DESCRIPTOR_SET))?;
    module.add("INTERFACE", PyBytes::new(module.py(), INTERFACE))?;
    module.add_class::<ChunkStream>()?;
    module.add_class::<table::Shredder>()?;
    module.add_class::<Transcoder>()
}
