//! What is moved to the columns of a table, and where it stands.
//!
//! The plan is compiled from the descriptors by the reference (`chatpb/_columns.py`) and given here
//! as numbers: of fields, and of columns. Nothing is named.

use crate::Declined;

/// What the values of a column are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Bool,
    Int32,
    Int64,
    Double,
    String,
    /// A word of an enum, by its place among the words.
    Word,
    /// A list of int64 in each row.
    Integers,
    /// A map from string to string in each row.
    Map,
}

pub struct ColumnPlan {
    pub kind: Kind,
    pub is_list: bool,
    /// The numbers of the words of an enum, in the order of their places.
    pub words: Vec<i32>,
}

/// A field whose values are moved.
pub struct Leaf {
    pub number: u32,
    pub column: usize,
    /// Whether an unset field has its zero value.
    pub implicit: bool,
}

/// A field with messages in which there are more columns.
pub struct Part {
    pub number: u32,
    pub is_list: bool,
    pub node: usize,
}

/// A text that may be made of tokens: numbers of fields.
pub struct TextRule {
    pub holder: u32,
    pub text: u32,
    pub tokens_holder: u32,
    pub tokens: u32,
}

/// A message type at one place below the record.
pub struct Node {
    pub leaves: Vec<Leaf>,
    pub parts: Vec<Part>,
    /// The fields that are lists of tokens, ascending.
    pub tokens: Vec<u32>,
    pub texts: Vec<TextRule>,
    /// For an element of a list, and for the record: the columns with one value for it.
    pub scope: Vec<usize>,
    /// What is put into the message again, by the numbers of the fields.
    pub inserts: Vec<(u32, Insert)>,
    actions: Vec<Action>,
}

/// What is put into a message beside what was left of it.
#[derive(Clone, Copy)]
pub enum Insert {
    /// The value of a leaf, by its place.
    Leaf(usize),
    /// The next list of tokens, in this field.
    Tokens(u32),
}

/// What is done with a field.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Action {
    Keep,
    Leaf(u8),
    Part(u8),
    Tokens(u8),
}

impl Node {
    pub fn new(
        leaves: Vec<Leaf>,
        parts: Vec<Part>,
        tokens: Vec<u32>,
        texts: Vec<TextRule>,
        scope: Vec<usize>,
    ) -> Result<Self, Declined> {
        let moved = leaves.iter().map(|leaf| leaf.number);
        let moved = moved.chain(parts.iter().map(|part| part.number));
        let most = moved.chain(tokens.iter().copied()).max().unwrap_or(0);
        if most > 1 << 12 || leaves.len().max(parts.len()).max(tokens.len()) > 32 {
            return Err(Declined);
        }
        let mut actions = vec![Action::Keep; most as usize + 1];
        for (index, leaf) in leaves.iter().enumerate() {
            actions[leaf.number as usize] = Action::Leaf(index as u8);
        }
        for (index, part) in parts.iter().enumerate() {
            actions[part.number as usize] = Action::Part(index as u8);
        }
        for (index, number) in tokens.iter().enumerate() {
            actions[*number as usize] = Action::Tokens(index as u8);
        }
        let leaf_inserts = leaves.iter().enumerate();
        let mut inserts: Vec<_> = leaf_inserts
            .map(|(index, leaf)| (leaf.number, Insert::Leaf(index)))
            .chain(
                tokens
                    .iter()
                    .map(|&number| (number, Insert::Tokens(number))),
            )
            .collect();
        inserts.sort_by_key(|insert| insert.0);
        Ok(Self {
            inserts,
            leaves,
            parts,
            tokens,
            texts,
            scope,
            actions,
        })
    }

    #[inline]
    pub fn action(&self, number: u32) -> Action {
        let action = self.actions.get(number as usize);
        *action.unwrap_or(&Action::Keep)
    }
}

/// The fields of a message that stands for a token.
#[derive(Clone, Copy)]
pub struct TokenFields {
    pub token: u32,
    pub logprob: u32,
    pub data: u32,
    /// The field of the alternatives; 0 for an alternative.
    pub list: u32,
}

/// All of it. The root is the first node.
pub struct Plan {
    pub columns: Vec<ColumnPlan>,
    pub nodes: Vec<Node>,
    pub token: TokenFields,
    pub alternative: TokenFields,
    /// Whether one of the alternatives may repeat the token itself.
    pub repeats: bool,
    /// The field of the record that has a completion, whose values are copied from what chunks make.
    pub folded: u32,
}

/// The magnitudes that float32 has with all its digits; zero aside.
const LEAST: f64 = f32::MIN_POSITIVE as f64;
const MOST: f64 = f32::MAX as f64;

/// Whether a number is zero, or of a size that float32 has with all its digits.
#[inline]
pub fn is_spelled(value: f64) -> bool {
    let size = value.abs();
    size == 0.0 || (LEAST..=MOST).contains(&size)
}

/// The double that the shortest decimal of a float32 names.
#[inline]
pub fn decimal(value: f32) -> f64 {
    let mut buffer = zmij::Buffer::new();
    fast_float2::parse(buffer.format_finite(value)).unwrap_or(f64::NAN)
}
