//! Where a JSON text stops being one: what `chatpb/_mapping/fault.py` finds, at the speed of reading.

use std::ops::Range;

use crate::json::{BOM, Cursor, special};
use crate::{MAX_DEPTH, Nan};

/// The first fault of a text.
#[derive(Debug, PartialEq, Eq)]
pub struct Fault {
    pub kind: &'static str,
    /// The place in the document.
    pub path: Vec<Step>,
    /// The place in the text.
    pub at: usize,
}

/// A step of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Where the name of a member is in the text, with its quotes.
    Name(Range<usize>),
    Index(usize),
    /// None, where a name or a comma of an object is expected.
    Around,
}

/// The first fault of a text, or None if there is none. Whether the text is UTF-8 is checked first.
pub fn find_fault(data: &[u8], nan: Nan) -> Option<Fault> {
    let valid = match simdutf8::compat::from_utf8(data) {
        Ok(_) => data.len(),
        Err(error) => error.valid_up_to(),
    };
    let text = &data[..valid];
    let mut scanner = Scanner {
        json: Cursor::new(text, 0, nan),
        stack: Vec::new(),
        is_object: Vec::new(),
    };
    scanner.json.at = if text.starts_with(BOM) { BOM.len() } else { 0 };
    let scanned = scanner.document();
    let (kind, at) = match (valid < data.len(), scanned) {
        (true, _) => ("utf8", valid),
        (false, Err(kind)) => (kind, scanner.json.at),
        (false, Ok(())) => return None,
    };
    Some(Fault {
        kind,
        path: scanner.stack,
        at,
    })
}

struct Scanner<'a> {
    json: Cursor<'a>,
    stack: Vec<Step>,
    /// Whether the containers around the place are objects.
    is_object: Vec<bool>,
}

/// What is read next.
enum Next {
    Value,
    /// The first value of an array or name of an object, or its end.
    First,
    Name,
    /// A comma, the end of a container, or that of the text.
    After,
}

impl Scanner<'_> {
    /// Reads to the first fault and gives its kind. It is without recursion, since the text may be
    /// deeper than is allowed.
    fn document(&mut self) -> Result<(), &'static str> {
        let mut next = Next::Value;
        loop {
            let byte = self.json.next();
            next = match next {
                Next::Value => self.value(byte)?,
                Next::First if self.is_closing(byte) => self.close(),
                Next::First if self.is_object.last() == Some(&false) => self.value(byte)?,
                Next::First | Next::Name => self.name(byte)?,
                Next::After if self.stack.is_empty() => {
                    return match self.json.at < self.json.data.len() {
                        true => Err("end"),
                        false => Ok(()),
                    };
                }
                Next::After if self.is_closing(byte) => self.close(),
                Next::After => self.comma(byte)?,
            }
        }
    }

    fn is_closing(&self, byte: u8) -> bool {
        byte == if self.is_object.last() == Some(&true) {
            b'}'
        } else {
            b']'
        }
    }

    fn close(&mut self) -> Next {
        self.json.at += 1;
        self.stack.pop();
        self.is_object.pop();
        Next::After
    }

    fn comma(&mut self, byte: u8) -> Result<Next, &'static str> {
        if byte != b',' {
            let in_object = self.is_object.last() == Some(&true);
            self.set(Step::Around);
            return Err(if in_object {
                "comma or }"
            } else {
                "comma or ]"
            });
        }
        self.json.at += 1;
        if let Some(Step::Index(index)) = self.stack.last_mut() {
            *index += 1;
            return Ok(Next::Value);
        }
        Ok(Next::Name)
    }

    fn set(&mut self, step: Step) {
        if let Some(last) = self.stack.last_mut() {
            *last = step;
        }
    }

    fn name(&mut self, byte: u8) -> Result<Next, &'static str> {
        self.set(Step::Around);
        if byte != b'"' {
            return Err("name");
        }
        let start = self.json.at;
        self.string()?;
        let name = start..self.json.at;
        if self.json.next() != b':' {
            return Err("colon");
        }
        self.json.at += 1;
        self.set(Step::Name(name));
        Ok(Next::Value)
    }

    /// Reads a value, or the opening bracket of one.
    fn value(&mut self, byte: u8) -> Result<Next, &'static str> {
        let start = self.json.at;
        match byte {
            b'{' | b'[' => {
                if self.stack.len() >= MAX_DEPTH {
                    return Err("depth");
                }
                self.json.at += 1;
                self.is_object.push(byte == b'{');
                self.stack.push(if byte == b'{' {
                    Step::Around
                } else {
                    Step::Index(0)
                });
                return Ok(Next::First);
            }
            b'"' => self.string()?,
            b'-' | b'0'..=b'9' if self.number() => {}
            _ => {
                self.json.at = start;
                let nan = std::mem::replace(&mut self.json.nan, Nan::Allowed);
                let is_constant = self.json.constant().is_ok();
                self.json.nan = nan;
                if is_constant && nan == Nan::Refused {
                    self.json.at = start;
                    return Err("constant");
                }
                let words: [&[u8]; 3] = [b"true", b"false", b"null"];
                if !is_constant && !words.iter().any(|word| self.json.literal(word).is_ok()) {
                    return Err("value");
                }
            }
        }
        Ok(Next::After)
    }

    /// Reads as much as is a number; false if nothing is.
    fn number(&mut self) -> bool {
        let data = self.json.data;
        let byte = |at: usize| *data.get(at).unwrap_or(&0);
        let digits = |at: usize| {
            let rest = data.get(at..).unwrap_or_default();
            at + rest.iter().take_while(|byte| byte.is_ascii_digit()).count()
        };
        let start = self.json.at + usize::from(self.json.peek() == b'-');
        let mut end = if byte(start) == b'0' {
            start + 1
        } else {
            digits(start)
        };
        if end == start {
            return false;
        }
        if byte(end) == b'.' && byte(end + 1).is_ascii_digit() {
            end = digits(end + 1);
        }
        if matches!(byte(end), b'e' | b'E') {
            let first = end + 1 + usize::from(matches!(byte(end + 1), b'+' | b'-'));
            if byte(first).is_ascii_digit() {
                end = digits(first);
            }
        }
        self.json.at = end;
        true
    }

    /// Reads a string, whose opening quote is here, to its end or to its fault.
    fn string(&mut self) -> Result<(), &'static str> {
        let data = self.json.data;
        self.json.at += 1;
        loop {
            self.json.at = special(data, self.json.at);
            let at = self.json.at;
            self.json.at += match data.get(at) {
                None => return Err("string"),
                Some(b'"') => 1,
                Some(b'\\') => match data.get(at + 1) {
                    Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => 2,
                    Some(b'u') if is_hex4(data.get(at + 2..at + 6)) => 6,
                    _ => return Err("escape"),
                },
                Some(_) => return Err("control"),
            };
            if data[at] == b'"' {
                return Ok(());
            }
        }
    }
}

fn is_hex4(digits: Option<&[u8]>) -> bool {
    digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
}
