//! Streams of chunks: folded, split, made compact and restored.

use chatpb_core::{Compacted, Compactor, Folder, Restorer, unfold};

use crate::border::{Input, Status, call, finish, free, make, step};
use crate::convert::options;
use crate::outcome::Outcome;

/// Joins the chunks of one stream into the completion that they make. Its memory is that of the
/// completion, however many chunks come.
pub struct FoldHandle(Option<Folder>);

/// Makes a folder. Free it with `chatpb_folder_free`.
///
/// @param flags 0, or `CHATPB_IGNORE_UNKNOWN_FIELDS`.
/// @return The folder; NULL if there is no such flag.
#[unsafe(no_mangle)]
pub extern "C" fn chatpb_folder_new(flags: u32) -> *mut FoldHandle {
    make(|| Ok(FoldHandle(Some(Folder::new(options(flags)?)))))
}

/// Takes the next chunk.
///
/// @param data A chatpb.v1.ChatCompletionChunk.
/// @param size How many bytes it has.
/// @param result Gets no piece; or the error.
/// @return `CHATPB_STATUS_OK`, or what is wrong. A chunk that is refused changes nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chatpb_folder_add(
    folder: *mut FoldHandle,
    data: *const u8,
    size: usize,
    result: *mut Outcome,
) -> Status {
    // SAFETY: by the contract of the header.
    let state = unsafe { folder.as_mut() }.map(|folder| &mut folder.0);
    let work = |folder: &mut Folder, data: &[u8], _: &mut Outcome| Ok(folder.add(data)?);
    // SAFETY: by the contract of the header.
    unsafe { step(state, result, Input { data, size }, work) }
}

/// Gives the completion that the chunks make. The folder is finished then, and only to be freed.
///
/// @param result Gets one piece, a chatpb.v1.ChatCompletion; or the error, such as that no chunk came.
/// @return `CHATPB_STATUS_OK`, or what is wrong.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chatpb_folder_finish(
    folder: *mut FoldHandle,
    result: *mut Outcome,
) -> Status {
    // SAFETY: by the contract of the header.
    let state = unsafe { folder.as_mut() }.map(|folder| &mut folder.0);
    let work = |folder: Folder, outcome: &mut Outcome| {
        outcome.give(folder.finish()?);
        Ok(())
    };
    // SAFETY: by the contract of the header.
    unsafe { finish(state, result, work) }
}

/// Frees a folder; NULL is allowed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chatpb_folder_free(folder: *mut FoldHandle) {
    // SAFETY: by the contract of the header.
    unsafe { free(folder) }
}

/// Splits a completion into the chunks of a stream, as api.openai.com would send it. Folded, they make
/// the same completion.
///
/// @param data A chatpb.v1.ChatCompletion.
/// @param size How many bytes it has.
/// @param flags 0, or `CHATPB_IGNORE_UNKNOWN_FIELDS`.
/// @param result Gets a piece for each chunk, a chatpb.v1.ChatCompletionChunk; or the error.
/// @return `CHATPB_STATUS_OK`, or what is wrong.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chatpb_unfold(
    data: *const u8,
    size: usize,
    flags: u32,
    result: *mut Outcome,
) -> Status {
    let work = |data: &[u8], outcome: &mut Outcome| {
        outcome.give_all(unfold(data, options(flags)?)?);
        Ok(())
    };
    // SAFETY: by the contract of the header.
    unsafe { call(result, Input { data, size }, work) }
}

/// Makes the chunks of one stream compact, where that makes them shorter.
pub struct CompactHandle(Option<Compactor>);

/// Makes a compactor. Free it with `chatpb_compactor_free`.
#[unsafe(no_mangle)]
pub extern "C" fn chatpb_compactor_new() -> *mut CompactHandle {
    make(|| Ok(CompactHandle(Some(Compactor::new()))))
}

/// Takes the next chunk.
///
/// @param data A chatpb.v1.ChatCompletionChunk.
/// @param size How many bytes it has.
/// @param result Gets one piece, the compact chunk; or none, if the chunk must be sent whole.
/// @return `CHATPB_STATUS_OK`, or what is wrong with the call. The data is not checked: what is not a
///     chunk is sent whole, or in a form that the reader refuses.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chatpb_compactor_add(
    compactor: *mut CompactHandle,
    data: *const u8,
    size: usize,
    result: *mut Outcome,
) -> Status {
    // SAFETY: by the contract of the header.
    let state = unsafe { compactor.as_mut() }.map(|compactor| &mut compactor.0);
    let work = |compactor: &mut Compactor, data: &[u8], outcome: &mut Outcome| {
        if let Compacted::Compact(compact) = compactor.add(data) {
            outcome.give(compact);
        }
        Ok(())
    };
    // SAFETY: by the contract of the header.
    unsafe { step(state, result, Input { data, size }, work) }
}

/// Frees a compactor; NULL is allowed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chatpb_compactor_free(compactor: *mut CompactHandle) {
    // SAFETY: by the contract of the header.
    unsafe { free(compactor) }
}

/// Restores the chunks of one stream, of which some are whole and some are compact: those in
/// `chunks` and in `compact_chunks` of each chatpb.v1.StreamChatCompletionResponse, in this order.
pub struct RestoreHandle(Option<Restorer>);

/// Makes a restorer. Free it with `chatpb_restorer_free`.
#[unsafe(no_mangle)]
pub extern "C" fn chatpb_restorer_new() -> *mut RestoreHandle {
    make(|| Ok(RestoreHandle(Some(Restorer::new()))))
}

/// Takes the next chunk, which is whole.
///
/// @param data A chatpb.v1.ChatCompletionChunk.
/// @param size How many bytes it has.
/// @param result Gets no piece.
/// @return `CHATPB_STATUS_OK`, or what is wrong with the call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chatpb_restorer_follow(
    restorer: *mut RestoreHandle,
    data: *const u8,
    size: usize,
    result: *mut Outcome,
) -> Status {
    // SAFETY: by the contract of the header.
    let state = unsafe { restorer.as_mut() }.map(|restorer| &mut restorer.0);
    let work = |restorer: &mut Restorer, data: &[u8], _: &mut Outcome| {
        restorer.follow(data);
        Ok(())
    };
    // SAFETY: by the contract of the header.
    unsafe { step(state, result, Input { data, size }, work) }
}

/// Takes the next chunk, which is compact.
///
/// @param data A chatpb.v1.ChatCompletionChunk.
/// @param size How many bytes it has.
/// @param result Gets one piece, the whole chunk; or the error, such as that no chunk came before.
/// @return `CHATPB_STATUS_OK`, or what is wrong.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chatpb_restorer_restore(
    restorer: *mut RestoreHandle,
    data: *const u8,
    size: usize,
    result: *mut Outcome,
) -> Status {
    // SAFETY: by the contract of the header.
    let state = unsafe { restorer.as_mut() }.map(|restorer| &mut restorer.0);
    let work = |restorer: &mut Restorer, data: &[u8], outcome: &mut Outcome| {
        outcome.give(restorer.restore(data)?);
        Ok(())
    };
    // SAFETY: by the contract of the header.
    unsafe { step(state, result, Input { data, size }, work) }
}

/// Frees a restorer; NULL is allowed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chatpb_restorer_free(restorer: *mut RestoreHandle) {
    // SAFETY: by the contract of the header.
    unsafe { free(restorer) }
}
