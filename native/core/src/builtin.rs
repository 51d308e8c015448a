//! The schema that the crate was built with.

use std::sync::LazyLock;

use prost_reflect::DescriptorPool;

use crate::Schema;

/// The descriptors of `chatpb.v1` with the custom options, as a serialized FileDescriptorSet.
pub static DESCRIPTOR_SET: &[u8] = include_bytes!("descriptor_set.binpb");

static POOL: LazyLock<DescriptorPool> =
    LazyLock::new(|| DescriptorPool::decode(DESCRIPTOR_SET).expect("the descriptors are whole"));
static SCHEMA: LazyLock<Schema> = LazyLock::new(|| Schema::of(&POOL).expect("the tables compile"));

/// The built-in schema, compiled once.
pub fn schema() -> &'static Schema {
    &SCHEMA
}

/// The descriptors of the built-in schema.
pub(crate) fn pool() -> &'static DescriptorPool {
    &POOL
}
