//! The native implementation of chatpb's mapping, as a Python extension.
#![forbid(unsafe_code)]

mod batch;
mod dicts;
mod table;

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

use chatpb::{ChunkDecoder, ConversionError, DESCRIPTOR_SET, Nan, Options, Schema, find_error};
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
struct ChunkStream(ChunkDecoder);

/// The chunks that a call gives.
#[derive(IntoPyObject)]
enum Chunks<'py> {
    Given(Vec<Bound<'py, PyBytes>>),
    Refused(Refusal),
}

#[pymethods]
impl ChunkStream {
    #[new]
    fn new(max_event_bytes: usize, allow_nan: bool) -> Self {
        let options = options(allow_nan, false);
        Self(ChunkDecoder::with_options(max_event_bytes, options))
    }

    /// Gives the chunks that the next bytes complete, or an error.
    fn feed<'py>(&mut self, py: Python<'py>, data: &[u8]) -> Chunks<'py> {
        self.run(py, |decoder| decoder.feed(data))
    }

    /// Gives the chunks that the end of the stream completes, or an error.
    fn close<'py>(&mut self, py: Python<'py>) -> Chunks<'py> {
        self.run(py, ChunkDecoder::close)
    }

    /// The error so far, whether it is that of one choice, and whether the end has come.
    fn state<'py>(&self, py: Python<'py>) -> (Option<Bound<'py, PyBytes>>, bool, bool) {
        let error = self.0.error().map(|error| PyBytes::new(py, error));
        (error, self.0.is_error_of_choice(), self.0.is_done())
    }
}

impl ChunkStream {
    fn run<'py>(
        &mut self,
        py: Python<'py>,
        work: impl FnOnce(&mut ChunkDecoder) -> Result<Vec<Vec<u8>>, ConversionError> + Send,
    ) -> Chunks<'py> {
        let decoder = &mut self.0;
        let caught = py.detach(|| catch_unwind(AssertUnwindSafe(|| work(decoder))));
        match caught {
            Ok(Ok(chunks)) => {
                let chunks = chunks.iter().map(|chunk| PyBytes::new(py, chunk));
                Chunks::Given(chunks.collect())
            }
            Ok(Err(error)) => Chunks::Refused(refusal(error)),
            Err(_) => Chunks::Refused((
                "a bug of chatpb: it panicked".to_string(),
                "$".to_string(),
                None,
            )),
        }
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
    module.add_class::<batch::Batches>()?;
    module.add_class::<batch::Chain>()?;
    module.add_class::<ChunkStream>()?;
    module.add_class::<dicts::Dicts>()?;
    module.add_class::<table::Shredder>()?;
    module.add_class::<Transcoder>()
}
