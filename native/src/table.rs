//! Records to the columns of a table and back, with no Python object for a token.

use std::panic::{AssertUnwindSafe, catch_unwind};

use chatpb::Declined;
use chatpb::table::plan::{ColumnPlan, Kind, Leaf, Node, Part, Plan, TokenFields, TokenList};
use chatpb::table::{Buffers, Member, RecordField, RecordKind, Shapes, Worth};
use chatpb::table::{assemble, assemble_lines, shred, shred_json, shred_lines};
use numpy::{IntoPyArray, PyArray1, PyReadonlyArray1};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::PyBytes;

use crate::{Transcoder, run_with};

/// The kind of a column, the place of the list around it, and the numbers of its words.
type ColumnArgs = (String, i64, Vec<i32>);
/// The leaves, branches, lists, lists of tokens and the owner of a message type.
type NodeArgs = (
    Vec<(u32, usize, bool, i32)>,
    Vec<(u32, usize)>,
    Vec<(u32, usize, usize)>,
    Vec<(u32, i32)>,
    u32,
);
type TokenArgs = (u32, u32, u32, u32, u32);
/// The message type, by its number, of completions or requests, and the field of the record.
type MemberArgs = (usize, u32);
/// Completions, the field with their kind and its name; requests, the name of the member that each
/// has; errors, the name of their only member; the field of labels; the names of the members of
/// exchanges, and of HTTP messages; the names of other members that no request has; the fields of a
/// record; and what no completion has anywhere.
type ShapeArgs = (
    MemberArgs,
    (u32, Vec<u8>),
    MemberArgs,
    Vec<u8>,
    MemberArgs,
    Vec<u8>,
    u32,
    (Vec<u8>, Vec<u8>),
    Vec<u8>,
    Vec<Vec<u8>>,
    Vec<RecordFieldArgs>,
    Vec<Vec<u8>>,
);
/// The name, number and kind of a field of a record, the type of its message, by its number, and
/// its words.
type RecordFieldArgs = (Vec<u8>, u32, String, usize, Vec<(Vec<u8>, i32)>);
/// Buffers as arrays of bytes, which are not copied.
type BufferArgs<'py> = Vec<Option<PyReadonlyArray1<'py, u8>>>;

type PyBuffers<'py> = Vec<Option<Bound<'py, PyArray1<u8>>>>;
/// See `Shredder::shred_lines`.
type RunOfLines<'py> = (Option<PyBuffers<'py>>, usize, usize, usize, usize);

/// Moves the values of records to columns and back, as the reference does.
///
/// What it declines, such as bytes that are not a record, it leaves to the reference.
#[pyclass(frozen, module = "_chatpb")]
pub struct Shredder {
    plan: Plan,
}

#[pymethods]
impl Shredder {
    /// Takes what the reference has compiled from the descriptors.
    #[new]
    fn new(
        columns: Vec<ColumnArgs>,
        nodes: Vec<NodeArgs>,
        token: TokenArgs,
        alternative: TokenArgs,
        repeats: bool,
        folded: u32,
    ) -> PyResult<Self> {
        let count = columns.len();
        let columns: Option<Vec<_>> = columns
            .into_iter()
            .map(|each| column(each, count))
            .collect();
        let plan = columns.and_then(|columns| {
            let nodes = nodes.into_iter().map(|each| node(each, &columns).ok());
            let nodes: Vec<_> = nodes.collect::<Option<_>>()?;
            let (token, alternative) = (token_fields(token), token_fields(alternative));
            Plan::new(columns, nodes, token, alternative, repeats, folded).ok()
        });
        let refused = || PyValueError::new_err("the plan of the columns is not known");
        plan.map(|plan| Self { plan }).ok_or_else(refused)
    }

    /// Records, each with the completion that its chunks make, to the buffers of their columns; or
    /// the place of a record that is declined.
    fn shred<'py>(
        &self,
        py: Python<'py>,
        records: Vec<(PyBackedBytes, Option<PyBackedBytes>)>,
    ) -> Shredded<'py> {
        let plan = &self.plan;
        shredded(py, || {
            let slices: Vec<(&[u8], Option<&[u8]>)> = records
                .iter()
                .map(|(record, folded)| (&record[..], folded.as_deref()))
                .collect();
            shred(plan, &slices)
        })
    }

    /// JSON texts to the buffers of the columns of records that hold nothing but their messages, in
    /// this field; or the place of a text that is declined.
    fn shred_json<'py>(
        &self,
        py: Python<'py>,
        transcoder: &Bound<'py, Transcoder>,
        message_type: usize,
        field: u32,
        texts: Vec<PyBackedBytes>,
    ) -> Shredded<'py> {
        let (plan, schema) = (&self.plan, &transcoder.get().schema);
        shredded(py, || {
            let slices: Vec<&[u8]> = texts.iter().map(|text| &text[..]).collect();
            shred_json(plan, schema, message_type, field, &slices)
        })
    }

    /// The lines of a text to the buffers of the columns of their records: of each run of lines the
    /// buffers, or None for lines that are declined, how many rows they have and of how many bytes
    /// these were made, the place of the first line after them, and that of its first byte. A run
    /// with fewer rows and fewer bytes than these is declined. White space around lines is no part
    /// of them.
    fn shred_lines<'py>(
        &self,
        py: Python<'py>,
        transcoder: &Bound<'py, Transcoder>,
        shapes: ShapeArgs,
        text: PyBackedBytes,
        rows: usize,
        size: usize,
    ) -> Vec<RunOfLines<'py>> {
        let (plan, schema) = (&self.plan, &transcoder.get().schema);
        let (shapes, worth) = (shapes_of(shapes), Worth { rows, bytes: size });
        let shred = || shred_lines(plan, schema, &shapes, &text, &worth);
        let Ok(runs) = py.detach(|| catch_unwind(AssertUnwindSafe(shred))) else {
            let count = text.iter().filter(|&&byte| byte == b'\n').count() + 1;
            return vec![(None, 0, 0, count, text.len())];
        };
        let runs = runs.into_iter().map(|run| {
            let buffers = run.buffers.map(|buffers| arrays_of(py, buffers));
            (buffers, run.rows, run.size, run.stop, run.end)
        });
        runs.collect()
    }

    /// The buffers of that many rows to records; None if they are declined.
    fn assemble<'py>(
        &self,
        py: Python<'py>,
        rows: usize,
        buffers: BufferArgs<'py>,
    ) -> Option<Vec<Bound<'py, PyBytes>>> {
        let plan = &self.plan;
        let (mut data, mut places) = (Vec::new(), Vec::with_capacity(rows));
        let slices = slices_of(&buffers)?;
        let done = py.detach(|| {
            catch_unwind(AssertUnwindSafe(|| {
                assemble(plan, rows, &slices, |record| {
                    if record.len() >= LONG {
                        places.push(Assembled::Alone(std::mem::take(record)));
                    } else {
                        data.extend_from_slice(record);
                        places.push(Assembled::UpTo(data.len()));
                    }
                })
            }))
        });
        if !matches!(done, Ok(Ok(()))) {
            return None;
        }
        let mut start = 0;
        let records = places.into_iter().map(|place| match place {
            Assembled::Alone(record) => PyBytes::new(py, &record),
            Assembled::UpTo(end) => {
                let record = PyBytes::new(py, &data[start..end]);
                start = end;
                record
            }
        });
        Some(records.collect())
    }

    /// The buffers of that many rows to the JSON of the message in this field of each record that has
    /// it, as lines; None if they are declined.
    fn assemble_lines<'py>(
        &self,
        py: Python<'py>,
        transcoder: &Bound<'py, Transcoder>,
        message_type: usize,
        field: u32,
        rows: usize,
        buffers: BufferArgs<'py>,
    ) -> Option<Bound<'py, PyBytes>> {
        let (plan, schema) = (&self.plan, &transcoder.get().schema);
        let slices = slices_of(&buffers)?;
        run_with(
            py,
            usize::MAX,
            |lines| assemble_lines(plan, schema, message_type, field, rows, &slices, lines),
            |lines| PyBytes::new(py, lines),
        )?
        .ok()
    }
}

/// Shreds without the GIL. A bug that panics is left to the reference.
fn shredded(py: Python<'_>, work: impl FnOnce() -> Result<Buffers, usize> + Send) -> Shredded<'_> {
    match py.detach(|| catch_unwind(AssertUnwindSafe(work))) {
        Ok(Ok(buffers)) => Shredded::Buffers(arrays_of(py, buffers)),
        Ok(Err(index)) => Shredded::Declined(index),
        Err(_) => Shredded::Declined(0),
    }
}

fn arrays_of(py: Python<'_>, buffers: Buffers) -> PyBuffers<'_> {
    let buffers = buffers.0.into_iter();
    buffers
        .map(|buffer| buffer.map(|bytes| bytes.into_pyarray(py)))
        .collect()
}

/// The bytes of a record that is not copied to those of the others.
const LONG: usize = 1 << 20;

/// A record: where its bytes end among those of the others, or its own bytes.
enum Assembled {
    UpTo(usize),
    Alone(Vec<u8>),
}

/// The buffers of columns, or the place of a record that was declined.
#[derive(IntoPyObject)]
enum Shredded<'py> {
    Buffers(PyBuffers<'py>),
    Declined(usize),
}

/// The bytes of buffers; None if one is not contiguous.
fn slices_of<'a>(buffers: &'a BufferArgs<'_>) -> Option<Vec<Option<&'a [u8]>>> {
    let slices = buffers.iter().map(|buffer| match buffer {
        None => Some(None),
        Some(buffer) => buffer.as_slice().ok().map(Some),
    });
    slices.collect()
}

fn column((kind, parent, words): ColumnArgs, count: usize) -> Option<ColumnPlan> {
    let kind = match kind.as_str() {
        "bool" => Kind::Bool,
        "int32" => Kind::Int32,
        "int64" => Kind::Int64,
        "double" => Kind::Double,
        "string" => Kind::String,
        "word" => Kind::Word,
        "int32_list" => Kind::Int32List,
        "int64_list" => Kind::Int64List,
        "string_list" => Kind::StringList,
        "map" => Kind::Pairs,
        "list" => Kind::List,
        _ => return None,
    };
    Some(ColumnPlan {
        kind,
        words,
        parent: usize::try_from(parent).unwrap_or(count),
    })
}

fn node(args: NodeArgs, columns: &[ColumnPlan]) -> Result<Node, Declined> {
    let (leaves, branches, lists, tokens, owner) = args;
    let leaves = leaves.into_iter().map(|(number, column, implicit, unset)| {
        let words = &columns.get(column).ok_or(Declined)?.words;
        let place = words.iter().position(|&word| word == unset);
        Ok(Leaf {
            number,
            column,
            implicit,
            unset: place.filter(|_| unset != 0).map(|place| place as i32),
        })
    });
    let mut parts: Vec<_> = branches
        .into_iter()
        .map(|(number, node)| Part {
            number,
            node,
            list: None,
        })
        .collect();
    parts.extend(lists.into_iter().map(|(number, list, node)| Part {
        number,
        node,
        list: Some(list),
    }));
    let tokens = tokens.into_iter();
    Node::new(
        leaves.collect::<Result<_, _>>()?,
        parts,
        tokens
            .map(|(number, source)| TokenList { number, source })
            .collect(),
        (owner != 0).then_some(owner),
    )
}

fn token_fields((token, logprob, data, id, list): TokenArgs) -> TokenFields {
    TokenFields {
        token,
        logprob,
        data,
        id,
        list,
    }
}

fn shapes_of(
    (
        completion,
        kind,
        request,
        messages,
        error,
        failure,
        labels,
        around,
        body,
        others,
        fields,
        suspects,
    ): ShapeArgs,
) -> Shapes {
    let member = |(message_type, field): MemberArgs| Member {
        message_type,
        field,
    };
    Shapes {
        completion: member(completion),
        kind,
        request: member(request),
        messages,
        error: member(error),
        failure,
        labels,
        around,
        body,
        others,
        fields: fields.into_iter().map(record_field).collect(),
        suspects,
    }
}

fn record_field((name, number, kind, message_type, words): RecordFieldArgs) -> RecordField {
    let kind = match kind.as_str() {
        "message" => RecordKind::Message(message_type),
        "string" => RecordKind::Text,
        "int32" => RecordKind::Number(i64::from(i32::MIN), i64::from(i32::MAX)),
        "int64" => RecordKind::Number(i64::MIN, i64::MAX),
        "word" => RecordKind::Word(words),
        "map" => RecordKind::Texts,
        _ => RecordKind::Other,
    };
    RecordField { name, number, kind }
}
