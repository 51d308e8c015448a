//! JSON text without repeated members: the last value of each, in the place of the first.

use std::ops::Range;

use crate::json::{Cursor, Names, check, put_normal};
use crate::{Declined, Nan};

/// The value that begins a text, and what follows it, without the members that a later one of the
/// same name replaces. Its parts stay as they are written.
pub fn without_repeats(text: &[u8], depth: usize, nan: Nan) -> Result<Vec<u8>, Declined> {
    let mut finder = Finder {
        json: Cursor::new(text, depth, nan),
        names: Vec::new(),
        edits: Vec::new(),
    };
    finder.value()?;
    let mut edits = finder.edits;
    edits.sort_unstable_by_key(|edit| edit.place.start);
    let mut out = Vec::with_capacity(text.len());
    put(text, &edits, 0..text.len(), &mut out);
    Ok(out)
}

/// A part of the text, and the part that takes its place.
struct Edit {
    place: Range<usize>,
    with: Range<usize>,
}

struct Finder<'a> {
    json: Cursor<'a>,
    /// The names of the objects that are being read, in their normal form.
    names: Vec<u8>,
    edits: Vec<Edit>,
}

impl Finder<'_> {
    fn value(&mut self) -> Result<(), Declined> {
        match self.json.next() {
            b'{' => self.object(),
            b'[' => {
                self.json.enter()?;
                let mut more = self.json.any(b']');
                while more {
                    self.value()?;
                    more = self.json.more(b']')?;
                }
                Ok(())
            }
            b'"' => check(self.json.string()?),
            _ => self.json.word_or_number(),
        }
    }

    fn object(&mut self) -> Result<(), Declined> {
        self.json.enter()?;
        let names_start = self.names.len();
        let mut names = Names::default();
        // Of each name, where its first value is, and its last one if there are several.
        let mut values: Vec<(Range<usize>, Option<Range<usize>>)> = Vec::new();
        let mut more = self.json.any(b'}');
        while more {
            let comma = self.json.at - 1; // of a member that is not the first
            self.json.skip_space();
            let name_start = self.names.len();
            put_normal(self.json.string()?, &mut self.names)?;
            let earlier = names.find_or_add(&self.names, name_start);
            self.json.expect(b':')?;
            self.json.skip_space();
            let start = self.json.at;
            self.value()?;
            let value = start..self.json.at;
            match earlier {
                None => values.push((value, None)),
                Some(place) => {
                    self.names.truncate(name_start);
                    let end = value.end;
                    values[place].1 = Some(value);
                    self.edits.push(Edit {
                        place: comma..end,
                        with: end..end,
                    });
                }
            }
            more = self.json.more(b'}')?;
        }
        for (place, last) in values {
            if let Some(with) = last {
                self.edits.push(Edit { place, with });
            }
        }
        self.names.truncate(names_start);
        Ok(())
    }
}

/// Appends a part of the text with the edits in it. No byte of the text is appended twice.
fn put(text: &[u8], edits: &[Edit], part: Range<usize>, out: &mut Vec<u8>) {
    let mut at = part.start;
    loop {
        // Those in a part that was replaced are skipped.
        let next = edits.partition_point(|edit| edit.place.start < at);
        match edits.get(next) {
            Some(edit) if edit.place.start < part.end => {
                out.extend_from_slice(&text[at..edit.place.start]);
                if !edit.with.is_empty() {
                    put(text, edits, edit.with.clone(), out);
                }
                at = edit.place.end;
            }
            _ => break,
        }
    }
    out.extend_from_slice(&text[at..part.end]);
}

#[cfg(test)]
mod tests {
    use super::without_repeats;
    use crate::Nan;

    fn check(expected: &str, text: &str) {
        let found = without_repeats(text.as_bytes(), 0, Nan::Refused).unwrap();
        assert_eq!(expected, String::from_utf8(found).unwrap(), "{text}");
    }

    #[test]
    fn the_last_value_is_in_the_place_of_the_first() {
        check(r#"{"a":3,"b":2}"#, r#"{"a":1,"b":2,"a":3}"#);
        check(r#"{"a":3 }"#, r#"{"a":1 , "a" : 2, "\u0061" :3}"#);
        check(
            "{ \"b\" :2 , \"a\":0}\n",
            "{ \"b\" :1 , \"a\":0, \"b\": 2}\n",
        );
        check(
            r#"[{"a":{"x":5}}]"#,
            r#"[{"a":{"x":1,"x":2},"a":{"x":3,"x":4,"x":5}}]"#,
        );
        check(
            r#"{"a":{"b":[{}],"c":1}}"#,
            r#"{"a":{"b":0},"a":{"b":0,"c":1,"b":[{}]}}"#,
        );
    }

    #[test]
    fn what_is_replaced_is_read_too() {
        for text in [
            r#"{"a":"\q","a":1}"#,
            r#"{"a":01,"a":1}"#,
            r#"{"a":NaN,"a":1}"#,
        ] {
            assert!(
                without_repeats(text.as_bytes(), 0, Nan::Refused).is_err(),
                "{text}"
            );
        }
        assert!(without_repeats(br#"{"a":NaN,"a":1}"#, 0, Nan::Allowed).is_ok());
    }

    #[test]
    fn each_byte_is_copied_once() {
        // At each level the value is replaced by one that is as long as itself.
        let mut text = String::from("1");
        for _ in 0..100 {
            text = format!(r#"{{"a":0,"a":{text}}}"#);
        }
        let expected = format!("{}1{}", r#"{"a":"#.repeat(100), "}".repeat(100));
        check(&expected, &text);
    }
}
