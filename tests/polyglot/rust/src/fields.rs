//! Typed messages, read by the names of their fields.

use std::collections::BTreeMap;

use chatpb::v1;

/// A message of any type.
pub trait Fields {
    /// Its binary form.
    fn encode(&self) -> Vec<u8>;
    /// The field of a name; None if the type has none.
    fn get(&self, name: &str) -> Option<Value<'_>>;
}

/// What a field holds.
pub enum Value<'a> {
    Unset,
    Bool(bool),
    Int(i64),
    Enum(i64),
    Double(f64),
    String(&'a str),
    Bytes(&'a [u8]),
    Message(&'a dyn Fields),
    List(Vec<Value<'a>>),
    Map(BTreeMap<&'a str, Value<'a>>),
}

impl Value<'_> {
    /// The numbers of an enum, which prost keeps as integers.
    fn of_enum(self) -> Self {
        match self {
            Self::Int(number) => Self::Enum(number),
            Self::List(items) => Self::List(items.into_iter().map(Self::of_enum).collect()),
            other => other,
        }
    }
}

/// What a field may be in Rust.
trait Read {
    fn read(&self) -> Value<'_>;
}

macro_rules! read {
    ($($type:ty, $this:ident => $value:expr;)*) => {
        $(impl Read for $type {
            fn read(&self) -> Value<'_> {
                let $this = self;
                $value
            }
        })*
    };
}

read! {
    bool, this => Value::Bool(*this);
    i32, this => Value::Int((*this).into());
    u32, this => Value::Int((*this).into());
    i64, this => Value::Int(*this);
    f64, this => Value::Double(*this);
    String, this => Value::String(this);
    Vec<u8>, this => Value::Bytes(this);
}

impl<T: Fields> Read for T {
    fn read(&self) -> Value<'_> {
        Value::Message(self)
    }
}

impl<T: Read> Read for Option<T> {
    fn read(&self) -> Value<'_> {
        self.as_ref().map_or(Value::Unset, Read::read)
    }
}

impl<T: Read> Read for Vec<T> {
    fn read(&self) -> Value<'_> {
        Value::List(self.iter().map(Read::read).collect())
    }
}

impl<T: Read> Read for BTreeMap<String, T> {
    fn read(&self) -> Value<'_> {
        let entries = self.iter();
        Value::Map(
            entries
                .map(|(key, value)| (key.as_str(), value.read()))
                .collect(),
        )
    }
}

#[allow(unreachable_code)] // of messages without fields
mod generated {
    use super::*;
    include!(concat!(env!("OUT_DIR"), "/fields.rs"));
}
pub use generated::decode;
