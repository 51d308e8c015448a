//! The C functions, called as C calls them. Small enough for Miri; `make test-c` has all vectors.

use std::ffi::CStr;
use std::ptr::null_mut;

use crate::border::Status;
use crate::convert::*;
use crate::memory::*;
use crate::outcome::*;

fn message_type() -> i32 {
    let name = "chatpb.v1.ChatCompletion";
    // SAFETY: the pointer and the size are of one text.
    unsafe { chatpb_message_type(name.as_ptr().cast(), name.len()) }
}

/// Reads a text, and gives the status with the output or the message.
fn read(text: &[u8], result: *mut Outcome) -> (Status, Vec<u8>) {
    // SAFETY: the pointer and the size are of one slice, and the result is of this test.
    unsafe {
        let (data, size) = (text.as_ptr(), text.len());
        let status = chatpb_json_to_binary(data, size, message_type(), 0, result);
        if status != Status::Ok {
            let message = CStr::from_ptr(chatpb_result_message(result));
            return (status, message.to_bytes().to_vec());
        }
        let (data, size) = (chatpb_result_data(result, 0), chatpb_result_size(result, 0));
        (status, std::slice::from_raw_parts(data, size).to_vec())
    }
}

#[test]
#[cfg_attr(miri, ignore = "Miri takes too long to compile the schema")]
fn a_result_is_used_again() {
    let result = chatpb_result_new();
    let (status, output) = read(br#"{"id":"a"}"#, result);
    assert_eq!(Status::Ok, status);
    assert!(output.starts_with(b"\n\x01a"));
    let (status, message) = read(br#"{"id":"#, result);
    assert_eq!(Status::Refused, status);
    let expected = "$.id (byte 6): expected a value, got the end of the text";
    assert_eq!(expected.as_bytes(), message);
    assert_eq!(output, read(br#"{"id":"a"}"#, result).1);
    // SAFETY: the result is of this test, and used no more.
    unsafe { chatpb_result_free(result) };
}

#[test]
fn memory_is_given_back() {
    for size in [0, 1, 100] {
        let memory = chatpb_allocate(size);
        assert!(!memory.is_null());
        // SAFETY: as the functions require.
        unsafe {
            memory.write_bytes(1, size);
            chatpb_deallocate(memory, size);
            chatpb_deallocate(null_mut(), size);
        }
    }
    assert!(chatpb_allocate(usize::MAX).is_null());
}

#[test]
#[cfg_attr(miri, ignore = "Miri takes too long to compile the schema")]
fn wrong_calls_are_reported() {
    let result = chatpb_result_new();
    // SAFETY: what is wrong here is what the header allows to be wrong.
    unsafe {
        let read = |data, size, number, flags, result| {
            chatpb_json_to_binary(data, size, number, flags, result)
        };
        let (text, number) = (b"{}".as_ptr(), message_type());
        assert_eq!(Status::Usage, read(text, 2, number, 0, null_mut()));
        assert_eq!(Status::Usage, read(null_mut(), 2, number, 0, result));
        assert_eq!(Status::Usage, read(text, usize::MAX, number, 0, result));
        assert_eq!(Status::Usage, read(text, 2, -1, 0, result));
        assert_eq!(Status::Usage, read(text, 2, number, 4, result));
        assert_eq!(Status::Ok, read(text, 2, number, 0, result));
        let own = (chatpb_result_data(result, 0), chatpb_result_size(result, 0));
        assert_eq!(Status::Usage, read(own.0, own.1, number, 0, result));
        assert_eq!(0, chatpb_result_count(result));
        chatpb_result_free(result);
        chatpb_result_free(null_mut());
    }
}

#[test]
fn pieces_are_read() {
    use crate::border::{Input, call};
    let result = chatpb_result_new();
    let text = *b"two";
    let (data, size) = (text.as_ptr(), text.len());
    // SAFETY: the input is a local variable, and the result is of this test.
    unsafe {
        let status = call(result, Input { data, size }, |data, outcome| {
            outcome.give_all(vec![b"one".to_vec(), data.to_vec()]);
            Ok(())
        });
        assert_eq!((Status::Ok, 2), (status, chatpb_result_count(result)));
        let second = (chatpb_result_data(result, 1), chatpb_result_size(result, 1));
        assert_eq!(text, std::slice::from_raw_parts(second.0, second.1));
        assert!(chatpb_result_data(result, 2).is_null());
        let own = (chatpb_result_data(result, 0), chatpb_result_size(result, 0));
        let (data, size) = own;
        let status = call(result, Input { data, size }, |_, _| Ok(()));
        assert_eq!((Status::Usage, 0), (status, chatpb_result_count(result)));
        chatpb_result_free(result);
    }
}

#[test]
fn a_panic_is_a_status() {
    use crate::border::{NOTHING, call, step};
    let mut outcome = Outcome::default();
    let mut state = Some(1);
    // SAFETY: the result is a local variable.
    unsafe {
        let status = call(&raw mut outcome, NOTHING, |_, _| panic!("a bug"));
        assert_eq!(Status::Panic, status);
        let bug = |_: &mut i32, _: &[u8], _: &mut Outcome| panic!("a bug");
        assert_eq!(
            Status::Panic,
            step(Some(&mut state), &raw mut outcome, NOTHING, bug)
        );
        let fine = |_: &mut i32, _: &[u8], _: &mut Outcome| Ok(());
        assert_eq!(
            Status::Usage,
            step(Some(&mut state), &raw mut outcome, NOTHING, fine)
        );
    }
}

#[test]
fn handles_move_between_threads() {
    fn is_send<T: Send>() {}
    is_send::<Outcome>();
    is_send::<crate::stream::FoldHandle>();
    is_send::<crate::stream::CompactHandle>();
    is_send::<crate::stream::RestoreHandle>();
    is_send::<crate::sse::DecodeHandle>();
}
