//! Messages as the columns of a table, and back: what the Python extension alone needs.
//!
//! The interface may change in any release.

mod assemble;
mod columns;
mod lines;
mod lines_in;
pub mod plan;
mod rows;
mod shred;
mod source;
mod spelling;
mod token_rows;
mod tokens;
mod values;

pub use assemble::assemble;
pub use columns::Buffers;
pub use lines::assemble_lines;
pub use lines_in::{Kind as RecordKind, Member, RecordField, Run, Shapes, Worth, shred_lines};
pub use shred::{shred, shred_json};
