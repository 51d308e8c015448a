//! The schema that the crate was built with.

use std::sync::LazyLock;

use crate::Schema;

/// The descriptors of `chatpb.v1` with the custom options, as a serialized FileDescriptorSet.
pub static DESCRIPTOR_SET: &[u8] = include_bytes!("descriptor_set.binpb");

static SCHEMA: LazyLock<Schema> =
    LazyLock::new(|| Schema::new(DESCRIPTOR_SET).expect("the tables compile"));

/// The built-in schema, compiled once.
pub fn schema() -> &'static Schema {
    &SCHEMA
}
