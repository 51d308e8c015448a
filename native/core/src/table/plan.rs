//! What is moved to the columns of a table, and from where.
//!
//! The plan is compiled from the descriptors by the reference (`chatpb/table/_rows/columns.py`) and given here
//! as numbers: of fields, and of columns. Nothing is named.

use crate::Declined;

/// The most lists of tokens that a message has.
pub const MOST_LISTS: usize = 4;

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
    /// Each value is a list.
    Int32List,
    Int64List,
    StringList,
    /// Each value is a list of pairs of strings, which was a map.
    Pairs,
    /// Each value is a list of structs, whose members are columns too.
    List,
}

impl Kind {
    /// Whether a value is made of several fields on the wire.
    pub fn is_many(self) -> bool {
        matches!(
            self,
            Self::Int32List | Self::Int64List | Self::StringList | Self::Pairs
        )
    }
}

/// A column, or a member of the structs in one.
pub struct ColumnPlan {
    pub kind: Kind,
    /// The numbers of the words of an enum, in the order of their places.
    pub words: Vec<i32>,
    /// The column with the list of structs that this is a member of; `Plan::root` for a column of
    /// the table.
    pub parent: usize,
}

impl ColumnPlan {
    /// Whether its values are fixed numbers of 64 bits on the wire.
    pub fn is_fixed(&self) -> bool {
        self.kind == Kind::Double
    }
}

/// A field whose values are moved.
pub struct Leaf {
    pub number: u32,
    pub column: usize,
    /// Whether an unset field has its zero value.
    pub implicit: bool,
    /// The place of the word that the column has while the field is unset. A field that is set to
    /// it stays where it is.
    pub unset: Option<i32>,
}

/// A field with messages in which there are more columns.
pub struct Part {
    pub number: u32,
    pub node: usize,
    /// If the field is repeated, the column with the list that its elements are in.
    pub list: Option<usize>,
}

/// A field with a list of tokens.
pub struct TokenList {
    pub number: u32,
    /// The place of its name among the sources.
    pub source: i32,
}

/// A message type at one place below the record.
pub struct Node {
    pub leaves: Vec<Leaf>,
    pub parts: Vec<Part>,
    /// By their numbers, ascending.
    pub tokens: Vec<TokenList>,
    /// The field of the integer that tokens inside have as their choice.
    pub key: Option<u32>,
    /// The places of the leaves whose columns have a value while they are unset.
    pub defaults: Vec<usize>,
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
        tokens: Vec<TokenList>,
        key: Option<u32>,
    ) -> Result<Self, Declined> {
        let moved = leaves.iter().map(|leaf| leaf.number);
        let moved = moved.chain(parts.iter().map(|part| part.number));
        let moved = moved.chain(tokens.iter().map(|list| list.number));
        let most = moved.max().unwrap_or(0);
        if most > 1 << 12 || leaves.len().max(parts.len()) > 32 || tokens.len() > MOST_LISTS {
            return Err(Declined);
        }
        let mut actions = vec![Action::Keep; most as usize + 1];
        for (index, leaf) in leaves.iter().enumerate() {
            actions[leaf.number as usize] = Action::Leaf(index as u8);
        }
        for (index, part) in parts.iter().enumerate() {
            actions[part.number as usize] = Action::Part(index as u8);
        }
        for (index, list) in tokens.iter().enumerate() {
            actions[list.number as usize] = Action::Tokens(index as u8);
        }
        let leaf_inserts = leaves.iter().enumerate();
        let lists = tokens.iter().map(|list| list.number);
        let mut inserts: Vec<_> = leaf_inserts
            .map(|(index, leaf)| (leaf.number, Insert::Leaf(index)))
            .chain(lists.map(|number| (number, Insert::Tokens(number))))
            .collect();
        inserts.sort_by_key(|insert| insert.0);
        let has_default = |leaf: &Leaf| leaf.implicit || leaf.unset.is_some();
        let defaults = leaves.iter().enumerate();
        let defaults = defaults.filter(|(_, leaf)| has_default(leaf));
        Ok(Self {
            defaults: defaults.map(|(index, _)| index).collect(),
            leaves,
            parts,
            tokens,
            key,
            inserts,
            actions,
        })
    }

    #[inline]
    pub fn action(&self, number: u32) -> Action {
        let action = self.actions.get(number as usize);
        *action.unwrap_or(&Action::Keep)
    }
}

/// The fields of a message that represents a token.
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
    /// In the order of the schema, depth first.
    pub columns: Vec<ColumnPlan>,
    pub nodes: Vec<Node>,
    pub token: TokenFields,
    pub alternative: TokenFields,
    /// Whether one of the alternatives may repeat the token itself.
    pub repeats: bool,
    /// The field of the record that has a completion, whose values are copied from what chunks make.
    pub folded: u32,
}

impl Plan {
    /// Checks that all parts of the plan refer to parts that there are.
    pub fn new(
        columns: Vec<ColumnPlan>,
        nodes: Vec<Node>,
        token: TokenFields,
        alternative: TokenFields,
        repeats: bool,
        folded: u32,
    ) -> Result<Self, Declined> {
        let plan = Self {
            columns,
            nodes,
            token,
            alternative,
            repeats,
            folded,
        };
        let is_list = |column: usize| {
            let column = plan.columns.get(column);
            column.is_some_and(|column| column.kind == Kind::List)
        };
        let columns_fit = plan.columns.iter().enumerate().all(|(index, column)| {
            column.parent == plan.root() || column.parent < index && is_list(column.parent)
        });
        let nodes_fit = plan.nodes.iter().enumerate().all(|(index, node)| {
            let leaf_fits = |leaf: &Leaf| leaf.column < plan.columns.len() && !is_list(leaf.column);
            let part_fits = |part: &Part| {
                part.node > index && part.node < plan.nodes.len() && part.list.is_none_or(is_list)
            };
            node.leaves.iter().all(leaf_fits) && node.parts.iter().all(part_fits)
        });
        let is_whole = columns_fit && nodes_fit && !plan.nodes.is_empty();
        is_whole.then_some(plan).ok_or(Declined)
    }

    /// What the columns of the table itself have as their parent.
    pub fn root(&self) -> usize {
        self.columns.len()
    }
}
