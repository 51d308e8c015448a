//! Compact chunks to whole ones.

use crate::error::ConversionError;
use crate::stream::normal::{Held, Parsed};
use crate::stream::plan::{CHUNK, Carried, Type, types};

/// The most bytes that a reader restores.
const MAX_RESTORED_BYTES: usize = 64 * 1024;

/// Restores the chunks of one stream, of which some are whole and some are compact.
///
/// The rule is section 10 of `docs/mapping.md`. A response of the service has whole chunks, and
/// after them compact ones: call [`follow`](Self::follow) with each of the first (the last is
/// enough), and [`restore`](Self::restore) with each of the others, in their order.
///
/// # Examples
///
/// ```
/// # fn main() -> Result<(), chatpb::ConversionError> {
/// use chatpb::{Compacted, Compactor, Restorer};
///
/// let message_type = chatpb::schema().message_type("chatpb.v1.ChatCompletionChunk").unwrap();
/// let (mut compactor, mut restorer) = (Compactor::new(), Restorer::new());
/// for token in ["Hel", "lo!"] {
///     let text = format!(r#"{{"id":"chatcmpl-1","choices":[{{"delta":{{"content":"{token}"}}}}]}}"#);
///     let chunk = chatpb::json_to_binary(text.as_bytes(), message_type, Default::default())?;
///     let restored = match compactor.add(&chunk) {
///         Compacted::Whole => {
///             restorer.follow(&chunk);
///             chunk.clone()
///         }
///         Compacted::Compact(compact) => restorer.restore(&compact)?,
///     };
///     assert_eq!(chunk, restored);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct Restorer {
    before: Option<Vec<u8>>,
}

impl Restorer {
    /// Begins a stream.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next chunk, which is whole, in binary form.
    pub fn follow(&mut self, whole: &[u8]) {
        self.before = Some(whole.to_vec());
    }

    /// Takes the next chunk, which is compact, and gives it whole, in binary form.
    ///
    /// # Errors
    ///
    /// There is no chunk before it, it leaves out more than 64 KiB, or it is not the binary form of
    /// a chunk. The chunk counts as not taken.
    pub fn restore(&mut self, compact: &[u8]) -> Result<Vec<u8>, ConversionError> {
        let Some(before) = &self.before else {
            let reason = "a compact chunk has no chunk before it";
            return Err(ConversionError::new(reason));
        };
        let mapped = types().chunk();
        let read = |data| {
            let not_one = |_| ConversionError::new(format!("not the binary form of a {CHUNK}"));
            Parsed::read(data, mapped).map_err(not_one)
        };
        let mut chunk = read(compact)?;
        let size = chunk.to_bytes(mapped).len();
        restore(&mut chunk, &read(before)?, mapped);
        let restored = chunk.to_bytes(mapped);
        if restored.len() > size + MAX_RESTORED_BYTES {
            let reason = format!("a compact chunk leaves out more than {MAX_RESTORED_BYTES} bytes");
            return Err(ConversionError::new(reason));
        }
        self.before = Some(restored.clone());
        Ok(restored)
    }
}

/// Sets the fields of a message that were left out.
fn restore<'a>(message: &mut Parsed<'a>, before: &Parsed<'a>, mapped: &'static Type) {
    for (number, field) in &mapped.fields {
        let old = before.fields.get(number);
        if let Some(inner) = field.inner() {
            match (message.fields.get_mut(number), old) {
                (Some(Held::Message(new)), Some(Held::Message(old))) => restore(new, old, inner),
                (Some(Held::Messages(new)), Some(Held::Messages(old))) => {
                    new.iter_mut()
                        .zip(old)
                        .for_each(|(new, old)| restore(new, old, inner));
                }
                _ => {}
            }
            continue;
        }
        let Some(carried) = field.carried else {
            continue;
        };
        match (message.fields.get(number), carried) {
            // Only a compact chunk says in this way that a field is unset.
            (Some(Held::Number(0)), Carried::Enum) => {
                message.fields.remove(number);
            }
            (Some(Held::Message(new)), Carried::Message) if new.is_empty() => {
                message.fields.remove(number);
            }
            (None, _) if matches!((old, carried), (Some(Held::Number(0)), Carried::Enum)) => {}
            (None, _) => {
                if let Some(old) = old {
                    message.fields.insert(*number, old.clone());
                }
            }
            _ => {}
        }
    }
}
