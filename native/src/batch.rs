//! Many documents at once, without the GIL, in threads that end with the call.
//!
//! So nothing is left of them for a fork to copy, and a signal waits for one batch at most.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use chatpb::{Options, Schema};
use pyo3::exceptions::{PyException, PyValueError};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::pybacked::{PyBackedBytes, PyBackedStr};
use pyo3::types::{PyBytes, PyIterator, PyMemoryView, PyString};

use crate::{LONG, MOST_KEPT, Transcoder, options};

/// The bytes of documents that a thread takes at once.
const BLOCK: usize = 64 << 10;
/// The bytes for each of several threads, without which fewer are started: to start one takes as
/// long as to convert a fourth of them.
const WORTH_A_THREAD: usize = 128 << 10;
/// The bytes for each of several threads that are enough for a batch of several documents, and those
/// that end a batch of any number.
const ENOUGH: usize = 256 << 10;
const MOST: usize = 4 << 20;
/// What a document counts in addition to its bytes: the objects that hold it and its result.
const OBJECTS: usize = 128;
/// More threads do not help, because the objects of results are made by one.
const MOST_THREADS: usize = 8;
const BOM: &[u8] = b"\xef\xbb\xbf";

/// Converts documents, batch by batch.
#[pyclass(module = "_chatpb")]
pub struct Batches {
    transcoder: Py<Transcoder>,
    conversion: Conversion,
    threads: usize,
    /// Whether the iterator of documents ended, and is not to be asked again.
    ended: bool,
    /// The results of the blocks of a batch, whose memory is used again.
    parts: Vec<Mutex<Part>>,
}

/// The results, in which a document that is not converted has its own place; the places of these,
/// each with the number of documents before it; how many documents there were; and the error with
/// which the iterator ended, or the place after the last line.
type Batch<'py, End> = (Vec<Bound<'py, PyAny>>, Vec<(usize, usize)>, usize, End);

#[pymethods]
impl Batches {
    /// Zero threads are as many as there are processors.
    #[new]
    fn new(
        transcoder: Py<Transcoder>,
        message_type: usize,
        to_json: bool,
        allow_nan: bool,
        ignore_unknown_fields: bool,
        threads: usize,
    ) -> Self {
        let available = || thread::available_parallelism().map_or(1, |count| count.get());
        Self {
            transcoder,
            conversion: Conversion {
                message_type,
                to_json,
                options: options(allow_nan, ignore_unknown_fields),
            },
            threads: match threads {
                0 => available().min(MOST_THREADS),
                _ => threads,
            },
            ended: false,
            parts: Vec::new(),
        }
    }

    /// Converts the next documents of an iterator, which give a batch early if they take longer
    /// than that many seconds to come.
    fn take<'py>(
        &mut self,
        py: Python<'py>,
        items: &Bound<'py, PyIterator>,
        patience: Option<f64>,
    ) -> PyResult<Batch<'py, Option<PyErr>>> {
        let mut documents = Vec::new();
        let (mut blocks, mut size, mut block_size) = (Vec::new(), 0, 0);
        let (mut first, mut failure) = (0, None);
        let patience = patience.map(|seconds| (Instant::now(), Duration::from_secs_f64(seconds)));
        let mut items = items.clone();
        while !self.ended {
            let Some(item) = items.next() else {
                self.ended = true;
                break;
            };
            match item {
                Ok(item) => documents.push(Document::of(item, self.conversion.to_json)),
                Err(error) if error.is_instance_of::<PyException>(py) => {
                    failure = Some(error); // after what came before it
                    break;
                }
                Err(error) => return Err(error),
            }
            block_size += documents.last().map_or(0, Document::size);
            if block_size >= BLOCK {
                blocks.push(first..documents.len());
                first = documents.len();
                size += block_size;
                block_size = 0;
                let is_shared = blocks.len() >= 4 * self.threads || size >= MOST * self.threads;
                if self.threads == 1 || is_shared && size >= self.enough() {
                    break;
                }
            }
            if patience.is_some_and(|(begin, most)| begin.elapsed() >= most) {
                break;
            }
        }
        if first < documents.len() {
            blocks.push(first..documents.len());
        }
        self.run(
            py,
            &Source::Documents(&documents),
            &blocks,
            size + block_size,
        );
        let (mut results, mut refused) = (Vec::with_capacity(documents.len()), Vec::new());
        for (part, block) in self.parts.iter_mut().zip(&blocks) {
            let part = part.get_mut().unwrap_or_else(PoisonError::into_inner);
            for (place, result) in block.clone().zip(part.results(py)) {
                match result {
                    Found::Result(bytes) => results.push(bytes.into_any()),
                    Found::Blank => {}
                    Found::Refused => {
                        refused.push((results.len(), place));
                        results.push(documents[place].object(py)?);
                    }
                }
            }
        }
        Ok((results, refused, documents.len(), failure))
    }

    /// Converts the next lines of a text, from that byte on.
    fn split<'py>(
        &mut self,
        py: Python<'py>,
        text: PyBackedBytes,
        start: usize,
    ) -> Batch<'py, usize> {
        let (mut blocks, mut end) = (Vec::new(), start);
        while end < text.len() && end - start < self.enough() {
            let behind = memchr::memchr(b'\n', text.get(end + BLOCK..).unwrap_or_default());
            let next = behind.map_or(text.len(), |place| end + BLOCK + place + 1);
            blocks.push(end..next);
            end = next;
        }
        self.run(py, &Source::Lines(&text), &blocks, end - start);
        let (mut results, mut refused, mut before) = (Vec::new(), Vec::new(), 0);
        for (part, block) in self.parts.iter_mut().zip(&blocks) {
            let part = part.get_mut().unwrap_or_else(PoisonError::into_inner);
            results.reserve(part.ends.len());
            for (result, line) in part.results(py).zip(lines(&text[block.clone()])) {
                match result {
                    Found::Result(bytes) => results.push(bytes.into_any()),
                    Found::Blank => {}
                    Found::Refused => {
                        refused.push((results.len(), before));
                        results.push(PyBytes::new(py, line).into_any());
                    }
                }
                before += 1;
            }
        }
        (results, refused, before, end)
    }
}

impl Batches {
    /// The bytes that are enough for a batch. One thread has nobody to share a larger one with: its
    /// results would take new memory instead of what the last ones gave back.
    fn enough(&self) -> usize {
        match self.threads {
            1 => BLOCK,
            threads => ENOUGH * threads,
        }
    }

    /// Converts blocks of documents: the part of each gets their results.
    fn run(&mut self, py: Python<'_>, source: &Source<'_>, blocks: &[Range<usize>], size: usize) {
        let missing = blocks.len().saturating_sub(self.parts.len());
        self.parts.extend((0..missing).map(|_| Mutex::default()));
        let (conversion, schema) = (self.conversion, &self.transcoder.get().schema);
        let (parts, next) = (&self.parts, AtomicUsize::new(0));
        let work = || {
            loop {
                let place = next.fetch_add(1, Ordering::Relaxed);
                let Some(block) = blocks.get(place) else {
                    return;
                };
                let part = parts[place].lock();
                let part = &mut *part.unwrap_or_else(PoisonError::into_inner);
                part.clear();
                source.each(block.clone(), |text| conversion.run(schema, text, part));
            }
        };
        if size < LONG {
            return work();
        }
        let most = self.threads.min(size / WORTH_A_THREAD);
        let others = most.min(blocks.len()).saturating_sub(1);
        py.detach(|| {
            thread::scope(|scope| {
                for _ in 0..others {
                    // If there can be no more threads, the others do the work.
                    if thread::Builder::new().spawn_scoped(scope, work).is_err() {
                        break;
                    }
                }
                work();
            })
        })
    }
}

/// The items of iterables, one iterable after the other, as `itertools.chain.from_iterable` has them.
///
/// If another thread or the source itself asks that one for an item while the source runs, it drops
/// the source: items are lost, or freed memory is used. Here the other one gets an error.
#[pyclass(module = "_chatpb")]
pub struct Chain {
    source: Py<PyIterator>,
    active: Option<Py<PyIterator>>,
}

#[pymethods]
impl Chain {
    #[new]
    fn new(source: Py<PyIterator>) -> Self {
        Self {
            source,
            active: None,
        }
    }

    fn __iter__(this: Bound<'_, Self>) -> Bound<'_, Self> {
        this
    }

    fn __next__<'py>(this: &Bound<'py, Self>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let py = this.py();
        let Ok(mut this) = this.try_borrow_mut() else {
            return Err(PyValueError::new_err("iterator already executing"));
        };
        loop {
            if let Some(active) = &this.active {
                match active.bind(py).clone().next() {
                    Some(item) => return item.map(Some),
                    None => this.active = None,
                }
            }
            match this.source.bind(py).clone().next() {
                Some(iterable) => this.active = Some(iterable?.try_iter()?.unbind()),
                None => return Ok(None),
            }
        }
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.source)?;
        visit.call(&self.active)
    }
}

/// A document, and the object that holds it.
enum Document {
    Bytes(PyBackedBytes),
    Text(PyBackedStr),
    /// What the reference takes, or refuses.
    Other(Py<PyAny>),
}

impl Document {
    fn of(item: Bound<'_, PyAny>, is_binary: bool) -> Self {
        let item = match item.cast_into::<PyBytes>() {
            Ok(bytes) => return Self::Bytes(bytes.into()),
            Err(error) => error.into_inner(),
        };
        if let Ok(text) = item.cast::<PyString>() {
            // A text with a lone surrogate has no UTF-8.
            return match PyBackedStr::try_from(text.clone()) {
                Ok(text) if !is_binary => Self::Text(text),
                _ => Self::Other(item.unbind()),
            };
        }
        // The iterator may use a buffer again for its next document.
        let copy = PyMemoryView::from(&item).and_then(|view| view.call_method0("tobytes"));
        match copy.map(Bound::cast_into::<PyBytes>) {
            Ok(Ok(bytes)) => Self::Bytes(bytes.into()),
            _ => Self::Other(item.unbind()),
        }
    }

    fn text(&self) -> Option<&[u8]> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            Self::Text(text) => Some(text.as_bytes()),
            Self::Other(_) => None,
        }
    }

    fn size(&self) -> usize {
        self.text().map_or(0, <[u8]>::len) + OBJECTS
    }

    fn object<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        Ok(match self {
            Self::Bytes(bytes) => bytes.into_pyobject(py)?.into_any(),
            Self::Text(text) => text.into_pyobject(py)?.into_any(),
            Self::Other(object) => object.bind(py).clone(),
        })
    }
}

/// What blocks are ranges of.
enum Source<'a> {
    Documents(&'a [Document]),
    Lines(&'a [u8]),
}

impl Source<'_> {
    /// Calls with each document of a block; with None for one that the reference converts.
    fn each(&self, block: Range<usize>, mut call: impl FnMut(Option<&[u8]>)) {
        match self {
            Self::Documents(documents) => documents[block]
                .iter()
                .for_each(|document| call(document.text())),
            Self::Lines(text) => lines(&text[block]).for_each(|line| call(Some(line))),
        }
    }
}

/// The lines of a text, without their line feeds.
fn lines(mut text: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        if text.is_empty() {
            return None;
        }
        let end = memchr::memchr(b'\n', text);
        let (line, rest) = text.split_at(end.unwrap_or(text.len()));
        text = rest.get(1..).unwrap_or_default();
        Some(line)
    })
}

/// The results of the documents of a block.
#[derive(Default)]
struct Part {
    out: Vec<u8>,
    ends: Vec<End>,
}

/// What became of a document.
enum End {
    /// The result goes up to this byte of all results.
    At(usize),
    /// It is a line without a document.
    Blank,
    /// The reference is asked, which gives the error.
    Refused,
}

/// What there is in place of a document.
enum Found<'py> {
    Result(Bound<'py, PyBytes>),
    Blank,
    Refused,
}

impl Part {
    fn clear(&mut self) {
        self.ends.clear();
        self.out.clear();
        self.out.shrink_to(MOST_KEPT);
    }

    fn results<'a, 'py>(
        &'a self,
        py: Python<'py>,
    ) -> impl Iterator<Item = Found<'py>> + use<'a, 'py> {
        let mut start = 0;
        self.ends.iter().map(move |end| match *end {
            End::At(end) => {
                let bytes = PyBytes::new(py, &self.out[start..end]);
                start = end;
                Found::Result(bytes)
            }
            End::Blank => Found::Blank,
            End::Refused => Found::Refused,
        })
    }
}

#[derive(Clone, Copy)]
struct Conversion {
    message_type: usize,
    to_json: bool,
    options: Options,
}

impl Conversion {
    fn run(self, schema: &Schema, document: Option<&[u8]>, part: &mut Part) {
        let Self {
            message_type,
            to_json,
            options,
        } = self;
        let Some(text) = document else {
            return part.ends.push(End::Refused);
        };
        if !to_json && is_blank(text) {
            return part.ends.push(End::Blank);
        }
        let (start, out) = (part.out.len(), &mut part.out);
        let convert = || match to_json {
            true => schema.binary_to_json(text, message_type, options, out),
            false => schema.json_to_binary(text, message_type, options, out),
        };
        match catch_unwind(AssertUnwindSafe(convert)) {
            Ok(Ok(())) => part.ends.push(End::At(part.out.len())),
            Ok(Err(_)) => {
                part.out.truncate(start);
                part.ends.push(End::Refused);
            }
            // A bug, which may have lost the results so far.
            Err(_) => {
                part.out.clear();
                let made = |end: &&mut End| matches!(end, End::At(_));
                part.ends
                    .iter_mut()
                    .filter(made)
                    .for_each(|end| *end = End::Refused);
                part.ends.push(End::Refused);
            }
        }
    }
}

/// Whether a line has white space only, apart from a byte order mark.
fn is_blank(line: &[u8]) -> bool {
    let line = line.strip_prefix(BOM).unwrap_or(line);
    line.iter().all(|byte| b" \t\n\r".contains(byte))
}
