//! A reason, and the place that grows on the way out.

use crate::error::{ConversionError, put_index, put_name};

/// Why a message is not written.
pub struct Refusal {
    reason: String,
    /// The steps to the place, the last one first.
    steps: Vec<Step>,
}

enum Step {
    Name(String),
    Index(usize),
}

impl Refusal {
    pub fn new(reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            steps: Vec::new(),
        }
    }

    /// The same refusal, as seen from the container of a member.
    pub fn below(mut self, name: &str) -> Self {
        self.steps.push(Step::Name(name.to_string()));
        self
    }

    /// The same refusal, as seen from the list of an element.
    pub fn at(mut self, index: usize) -> Self {
        self.steps.push(Step::Index(index));
        self
    }
}

impl From<Refusal> for ConversionError {
    fn from(refusal: Refusal) -> Self {
        let mut error = Self::new(refusal.reason);
        for step in refusal.steps.iter().rev() {
            match step {
                Step::Name(name) => put_name(name, &mut error.path),
                Step::Index(index) => put_index(*index, &mut error.path),
            }
        }
        error
    }
}
