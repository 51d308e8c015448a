//! Bytes: what is written is read as the normal form, which has the same JSON and does not change again.
#![no_main]
#![forbid(unsafe_code)]

use chatpb_fuzz::{pick, same_value, start};
use libfuzzer_sys::fuzz_target;

fuzz_target!(init: start(), |input: &[u8]| {
    let Some((kind, binary)) = pick(input) else {
        return;
    };
    let Some(json) = kind.write(binary) else {
        return;
    };
    let Some(normal) = kind.read(&json) else {
        return kind.must(false, "what was written can be read", &[binary, &json]);
    };
    let Some(written) = kind.write(&normal) else {
        return kind.must(false, "the normal form can be written", &[&json, &normal]);
    };
    // A known member that stood in free JSON moves to its field, and one that its field cannot hold
    // moves to the residue: then its place in the text and the spelling of its value may be others.
    let is_same = json == written || same_value(&json, &written);
    kind.must(is_same, "the normal form says the same", &[&json, &written]);
    let again = kind.read(&written).unwrap_or_default();
    let shown = [&written[..], &normal, &again];
    kind.must(normal == again, "the normal form stays", &shown);
});
