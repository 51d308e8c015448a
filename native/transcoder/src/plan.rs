//! What is moved to the columns of a table, and from where.
//!
//! The plan is compiled from the descriptors by the reference (`chatpb/table/_columns.py`) and given here
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
    /// A list for each value.
    Int32List,
    Int64List,
    /// A map from string to string in each row.
    Map,
}

impl Kind {
    /// Whether a value is made of several fields on the wire.
    pub fn is_many(self) -> bool {
        matches!(self, Self::Int32List | Self::Int64List | Self::Map)
    }
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

/// What is put into a message in addition to what was left of it.
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
    /// The field of the number, which usually follows from the text.
    pub id: u32,
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

/// The double that the shortest decimal of a float32 names: of those the closest, of two the one
/// with the even digit.
#[inline]
pub fn decimal(value: f32) -> f64 {
    let mut buffer = zmij::Buffer::new();
    fast_float2::parse(buffer.format_finite(value)).unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::{decimal, is_spelled};

    /// The standard library's shortest decimals are as close; of two it does not take the even one.
    fn check(value: f32) {
        let standard = format!("{value:e}");
        let mut buffer = zmij::Buffer::new();
        let text = buffer.format_finite(value);
        let said = decimal(value);
        assert_eq!(value.to_bits(), (said as f32).to_bits());
        let other: f64 = standard.parse().unwrap();
        if said.to_bits() == other.to_bits() {
            return;
        }
        let exact = f64::from(value);
        let distance = (other - exact).abs(); // except for the rounding of the decimals
        assert!(
            ((said - exact).abs() - distance).abs() < distance * 1e-6,
            "{value:e}"
        );
        let digits = text.split('e').next().unwrap().trim_end_matches(".0");
        assert!(matches!(
            digits.as_bytes().last(),
            Some(b'0' | b'2' | b'4' | b'6' | b'8')
        ));
    }

    #[test]
    fn decimals_are_the_shortest() {
        let mut bits = 1u32;
        for _ in 0..2_000_000 {
            bits = bits.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let value = f32::from_bits(bits);
            if value.is_finite() {
                check(value);
            }
        }
        for exponent in 0..255u32 {
            for mantissa in [0, 1, 2, 0x3f_ffff, 0x40_0000, 0x7f_fffe, 0x7f_ffff] {
                check(f32::from_bits(exponent << 23 | mantissa));
            }
        }
        for quarters in (1 << 22..1 << 23).step_by(7) {
            check(quarters as f32 / 4.0);
        }
    }

    #[test]
    fn corrections_fit() {
        let mut bits = 1u64;
        for _ in 0..2_000_000 {
            bits = bits.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            // Of the exponents only those around the range of float32 are of interest.
            let exponent = 1023 - 130 + (bits >> 20) % 262;
            let value = f64::from_bits(bits & !(0x7ff << 52) | exponent << 52);
            if is_spelled(value) {
                let single = value as f32;
                for said in [f64::from(single), decimal(single)] {
                    let correction = value.to_bits() as i64 - said.to_bits() as i64;
                    assert!(i32::try_from(correction).is_ok(), "{value:e}");
                }
            }
        }
    }
}
