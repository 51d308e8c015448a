//! Event streams to chunks.

use chatpb_core::ChunkDecoder;

use crate::border::{Input, NOTHING, Status, free, make, step};
use crate::convert::options;
use crate::outcome::Outcome;

/// Turns the bytes of an event stream, however they arrive, into chunks.
///
/// An event that is an error, wherever servers put one, is not a chunk: `chatpb_chunk_decoder_error`
/// gives it. Chunks that follow are still given.
pub struct DecodeHandle(Option<ChunkDecoder>);

/// Makes a decoder. Free it with `chatpb_chunk_decoder_free`.
///
/// @param max_event_bytes The most bytes that one event may have; 0 means 64 MiB.
/// @param flags 0, or `CHATPB_ALLOW_NAN`.
/// @return The decoder; NULL if there is no such flag.
#[unsafe(no_mangle)]
pub extern "C" fn chatpb_chunk_decoder_new(
    max_event_bytes: usize,
    flags: u32,
) -> *mut DecodeHandle {
    const MOST: usize = 64 << 20;
    let most = if max_event_bytes == 0 {
        MOST
    } else {
        max_event_bytes
    };
    make(|| {
        let decoder = ChunkDecoder::with_options(most, options(flags)?);
        Ok(DecodeHandle(Some(decoder)))
    })
}

/// Takes the next bytes of the stream.
///
/// @param data The bytes, cut anywhere.
/// @param size How many.
/// @param result Gets a piece for each chunk that they complete, a chatpb.v1.ChatCompletionChunk; or
///     the error, if an event is too long or its data is not a JSON object. Chunks before it are given
///     first, and then the next call gives the error.
/// @return `CHATPB_STATUS_OK`, or what is wrong.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chatpb_chunk_decoder_feed(
    decoder: *mut DecodeHandle,
    data: *const u8,
    size: usize,
    result: *mut Outcome,
) -> Status {
    // SAFETY: by the contract of the header.
    let state = unsafe { decoder.as_mut() }.map(|decoder| &mut decoder.0);
    let work = |decoder: &mut ChunkDecoder, data: &[u8], outcome: &mut Outcome| {
        outcome.give_all(decoder.feed(data)?);
        Ok(())
    };
    // SAFETY: by the contract of the header.
    unsafe { step(state, result, Input { data, size }, work) }
}

/// Takes that the stream has ended. Call it until it gives no chunk.
///
/// @param result Gets a piece for each chunk that the end completes; or the error, as for
///     `chatpb_chunk_decoder_feed`.
/// @return `CHATPB_STATUS_OK`, or what is wrong.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chatpb_chunk_decoder_close(
    decoder: *mut DecodeHandle,
    result: *mut Outcome,
) -> Status {
    // SAFETY: by the contract of the header.
    let state = unsafe { decoder.as_mut() }.map(|decoder| &mut decoder.0);
    let work = |decoder: &mut ChunkDecoder, _: &[u8], outcome: &mut Outcome| {
        outcome.give_all(decoder.close()?);
        Ok(())
    };
    // SAFETY: by the contract of the header.
    unsafe { step(state, result, NOTHING, work) }
}

/// Gives the first error event, or else the first error in a chunk.
///
/// @param result Gets one piece, a chatpb.v1.ErrorResponse; or none, if no error has come.
/// @return `CHATPB_STATUS_OK`, or what is wrong with the call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chatpb_chunk_decoder_error(
    decoder: *mut DecodeHandle,
    result: *mut Outcome,
) -> Status {
    // SAFETY: by the contract of the header.
    let state = unsafe { decoder.as_mut() }.map(|decoder| &mut decoder.0);
    let work = |decoder: &mut ChunkDecoder, _: &[u8], outcome: &mut Outcome| {
        if let Some(error) = decoder.error() {
            outcome.give(error.to_vec());
        }
        Ok(())
    };
    // SAFETY: by the contract of the header.
    unsafe { step(state, result, NOTHING, work) }
}

/// Whether the error is that of one choice of a chunk, so that others go on.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chatpb_chunk_decoder_is_error_of_choice(
    decoder: *const DecodeHandle,
) -> bool {
    // SAFETY: by the contract of the header.
    let decoder = unsafe { decoder.as_ref() }.and_then(|decoder| decoder.0.as_ref());
    decoder.is_some_and(ChunkDecoder::is_error_of_choice)
}

/// Whether the event that ends a stream has come. Some servers never send it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chatpb_chunk_decoder_is_done(decoder: *const DecodeHandle) -> bool {
    // SAFETY: by the contract of the header.
    let decoder = unsafe { decoder.as_ref() }.and_then(|decoder| decoder.0.as_ref());
    decoder.is_some_and(ChunkDecoder::is_done)
}

/// Frees a decoder; NULL is allowed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chatpb_chunk_decoder_free(decoder: *mut DecodeHandle) {
    // SAFETY: by the contract of the header.
    unsafe { free(decoder) }
}
