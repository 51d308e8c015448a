//! Texts: what is read is written as an equal JSON value, which is read as the same bytes again.
#![no_main]
#![forbid(unsafe_code)]

use chatpb_fuzz::{pick, same_value, start};
use libfuzzer_sys::fuzz_target;

fuzz_target!(init: start(), |input: &[u8]| {
    let Some((kind, json)) = pick(input) else {
        return;
    };
    let Some(binary) = kind.read(json) else {
        return;
    };
    let Some(written) = kind.write(&binary) else {
        return kind.must(false, "what was read can be written", &[json, &binary]);
    };
    let says = same_value(json, &written);
    kind.must(says, "what is written says the same", &[json, &written]);
    let Some(again) = kind.read(&written) else {
        return kind.must(false, "what was written can be read", &[&written]);
    };
    let shown = [&written[..], &binary, &again];
    kind.must(binary == again, "it is read as the same bytes", &shown);
});
