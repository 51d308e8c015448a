//! The native implementation of chatpb's mapping, as a Python extension.
#![forbid(unsafe_code)]

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

use chatpb_transcoder::{Declined, Schema};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

/// Transcodes between JSON and the binary form, without a Python object in between.
///
/// What it returns is what the reference returns. It returns None for what it leaves to the
/// reference: errors, whose text and place the reference gives, and a few rare forms.
#[pyclass(frozen, module = "chatpb._native")]
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
    ) -> Option<Bound<'py, PyBytes>> {
        run(py, |out| {
            self.schema.json_to_binary(data, message_type, out)
        })
    }

    /// Writes the binary form of a message as JSON text.
    fn binary_to_json<'py>(
        &self,
        py: Python<'py>,
        data: &[u8],
        message_type: usize,
    ) -> Option<Bound<'py, PyBytes>> {
        run(py, |out| {
            self.schema.binary_to_json(data, message_type, out)
        })
    }
}

thread_local! {
    /// The output of the last call: memory that is new costs more than what is written to it.
    static BUFFER: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}
const MOST_KEPT: usize = 4 << 20;

/// Runs work without the GIL. A bug that panics is left to the reference, like all that is odd.
fn run<'py>(
    py: Python<'py>,
    work: impl FnOnce(&mut Vec<u8>) -> Result<(), Declined> + Send,
) -> Option<Bound<'py, PyBytes>> {
    let mut out = BUFFER.take();
    out.clear();
    let done = py.detach(|| catch_unwind(AssertUnwindSafe(|| work(&mut out))));
    let result = matches!(done, Ok(Ok(()))).then(|| PyBytes::new(py, &out));
    if out.capacity() <= MOST_KEPT {
        BUFFER.set(out);
    }
    result
}

#[pymodule]
fn _native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Transcoder>()
}
