//! JSON values, compared as tests/vectors/README.md specifies: objects without order, numbers by
//! their value, strings by their UTF-16, and the last one of repeated members.

use std::collections::BTreeMap;

#[derive(Debug)]
pub enum Value {
    Word(String),
    Number(String),
    String(Vec<u16>),
    Array(Vec<Value>),
    Object(BTreeMap<Vec<u16>, Value>),
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Word(one), Self::Word(two)) => one == two,
            (Self::Number(one), Self::Number(two)) => {
                one == two || !(is_integer(one) && is_integer(two)) && double(one) == double(two)
            }
            (Self::String(one), Self::String(two)) => one == two,
            (Self::Array(one), Self::Array(two)) => one == two,
            (Self::Object(one), Self::Object(two)) => one == two,
            _ => false,
        }
    }
}

fn is_integer(number: &str) -> bool {
    !number.contains(['.', 'e', 'E'])
}

fn double(number: &str) -> Option<f64> {
    number.parse().ok()
}

impl Value {
    /// Reads a text that is JSON, except that it may have NaN and infinities.
    pub fn read(text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok()?;
        let mut reader = Reader {
            rest: text.trim_start_matches('\u{feff}'),
        };
        let value = reader.value()?;
        reader.rest.trim_start().is_empty().then_some(value)
    }

    /// A member of an object.
    pub fn get(&self, name: &str) -> Option<&Self> {
        match self {
            Self::Object(members) => members.get(&name.encode_utf16().collect::<Vec<_>>()),
            _ => None,
        }
    }

    /// Whether it is an array with an object that has a member.
    pub fn any_has(&self, name: &str) -> bool {
        matches!(self, Self::Array(items) if items.iter().any(|item| item.get(name).is_some()))
    }

    /// Whether it is a string.
    pub fn is(&self, text: &str) -> bool {
        matches!(self, Self::String(units) if text.encode_utf16().eq(units.iter().copied()))
    }
}

struct Reader<'a> {
    rest: &'a str,
}

impl Reader<'_> {
    fn takes(&mut self, sign: char) -> bool {
        self.rest = self.rest.trim_start();
        let rest = self.rest.strip_prefix(sign);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn value(&mut self) -> Option<Value> {
        if self.takes('{') {
            let mut members = BTreeMap::new();
            while !self.takes('}') {
                self.takes(',');
                let name = self.takes('"').then(|| self.string())??;
                self.takes(':');
                members.insert(name, self.value()?);
            }
            return Some(Value::Object(members));
        }
        if self.takes('[') {
            let mut items = Vec::new();
            while !self.takes(']') {
                self.takes(',');
                items.push(self.value()?);
            }
            return Some(Value::Array(items));
        }
        if self.takes('"') {
            return Some(Value::String(self.string()?));
        }
        let is_part = |char: char| char.is_ascii_alphanumeric() || "+-.".contains(char);
        let end = self.rest.find(|char| !is_part(char));
        let (word, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        self.rest = rest;
        match word.chars().next()? {
            '-' | '0'..='9' => Some(Value::Number(word.into())),
            _ => Some(Value::Word(word.into())),
        }
    }

    /// Reads a string, whose opening quote was read.
    fn string(&mut self) -> Option<Vec<u16>> {
        let mut units = Vec::new();
        let mut chars = self.rest.chars();
        loop {
            match chars.next()? {
                '"' => break,
                '\\' => units.push(match chars.next()? {
                    'b' => 8,
                    'f' => 12,
                    'n' => 10,
                    'r' => 13,
                    't' => 9,
                    'u' => {
                        let (digits, rest) = chars.as_str().split_at_checked(4)?;
                        chars = rest.chars();
                        u16::from_str_radix(digits, 16).ok()?
                    }
                    other => other as u16,
                }),
                char => units.extend_from_slice(char.encode_utf16(&mut [0; 2])),
            }
        }
        self.rest = chars.as_str();
        Some(units)
    }
}
