//! Records to the columns of a table and back, with no Python object for a token.

use std::panic::{AssertUnwindSafe, catch_unwind};

use chatpb_transcoder::plan::{ColumnPlan, Kind, Leaf, Node, Part, Plan, TextRule, TokenFields};
use chatpb_transcoder::{Buffers, assemble, assemble_lines, shred, shred_json};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::PyBytes;

use crate::{Transcoder, run};

/// The kind of a column, whether it has lists, and the numbers of its words.
type ColumnArgs = (String, bool, Vec<i32>);
/// The leaves, parts, lists of tokens, texts and columns of a message type.
type NodeArgs = (
    Vec<(u32, usize, bool)>,
    Vec<(u32, bool, usize)>,
    Vec<u32>,
    Vec<(u32, u32, u32, u32)>,
    Vec<usize>,
);
type TokenArgs = (u32, u32, u32, u32, u32);

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
        let refused = || PyValueError::new_err("the plan of the columns is not known");
        let columns = columns
            .into_iter()
            .map(|(kind, is_list, words)| {
                let kind = kind_of(&kind)?;
                Some(ColumnPlan {
                    kind,
                    is_list,
                    words,
                })
            })
            .collect::<Option<Vec<_>>>()
            .ok_or_else(refused)?;
        let count = nodes.len();
        let nodes = nodes
            .into_iter()
            .map(|(leaves, parts, tokens, texts, scope)| {
                let is_known = leaves.iter().all(|leaf| leaf.1 < columns.len())
                    && scope.iter().all(|&column| column < columns.len())
                    && parts.iter().all(|part| part.2 < count);
                if !is_known {
                    return None;
                }
                Node::new(
                    leaves.into_iter().map(leaf).collect(),
                    parts.into_iter().map(part).collect(),
                    tokens,
                    texts.into_iter().map(text).collect(),
                    scope,
                )
                .ok()
            })
            .collect::<Option<Vec<_>>>()
            .filter(|nodes| !nodes.is_empty())
            .ok_or_else(refused)?;
        Ok(Self {
            plan: Plan {
                columns,
                nodes,
                token: token_fields(token),
                alternative: token_fields(alternative),
                repeats,
                folded,
            },
        })
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

    /// The buffers of that many rows to records; None if they are declined.
    fn assemble<'py>(
        &self,
        py: Python<'py>,
        rows: usize,
        buffers: Vec<Option<PyBackedBytes>>,
    ) -> Option<Vec<Bound<'py, PyBytes>>> {
        let plan = &self.plan;
        let (mut data, mut ends) = (Vec::new(), Vec::with_capacity(rows));
        let done = py.detach(|| {
            let slices: Vec<_> = buffers.iter().map(|each| each.as_deref()).collect();
            catch_unwind(AssertUnwindSafe(|| {
                assemble(plan, rows, &slices, |record| {
                    data.extend_from_slice(record);
                    ends.push(data.len());
                })
            }))
        });
        if !matches!(done, Ok(Ok(()))) {
            return None;
        }
        let mut start = 0;
        let records = ends.into_iter().map(|end| {
            let record = PyBytes::new(py, &data[start..end]);
            start = end;
            record
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
        buffers: Vec<Option<PyBackedBytes>>,
    ) -> Option<Bound<'py, PyBytes>> {
        let (plan, schema) = (&self.plan, &transcoder.get().schema);
        run(py, usize::MAX, |lines| {
            let slices: Vec<_> = buffers.iter().map(|each| each.as_deref()).collect();
            assemble_lines(plan, schema, message_type, field, rows, &slices, lines)
        })
    }
}

/// Shreds without the GIL. A bug that panics is left to the reference.
fn shredded(py: Python<'_>, work: impl FnOnce() -> Result<Buffers, usize> + Send) -> Shredded<'_> {
    match py.detach(|| catch_unwind(AssertUnwindSafe(work))) {
        Ok(Ok(buffers)) => {
            let buffers = buffers.0.into_iter();
            Shredded::Buffers(
                buffers
                    .map(|buffer| buffer.map(|bytes| PyBytes::new(py, &bytes)))
                    .collect(),
            )
        }
        Ok(Err(index)) => Shredded::Declined(index),
        Err(_) => Shredded::Declined(0),
    }
}

/// The buffers of columns, or the place of a record that was declined.
#[derive(IntoPyObject)]
enum Shredded<'py> {
    Buffers(Vec<Option<Bound<'py, PyBytes>>>),
    Declined(usize),
}

fn kind_of(name: &str) -> Option<Kind> {
    Some(match name {
        "bool" => Kind::Bool,
        "int32" => Kind::Int32,
        "int64" => Kind::Int64,
        "double" => Kind::Double,
        "string" => Kind::String,
        "word" => Kind::Word,
        "int32_list" => Kind::Int32List,
        "int64_list" => Kind::Int64List,
        "map" => Kind::Map,
        _ => return None,
    })
}

fn leaf((number, column, implicit): (u32, usize, bool)) -> Leaf {
    Leaf {
        number,
        column,
        implicit,
    }
}

fn part((number, is_list, node): (u32, bool, usize)) -> Part {
    Part {
        number,
        is_list,
        node,
    }
}

fn text((holder, text, tokens_holder, tokens): (u32, u32, u32, u32)) -> TextRule {
    TextRule {
        holder,
        text,
        tokens_holder,
        tokens,
    }
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
