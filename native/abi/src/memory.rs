//! Memory of the library, which WebAssembly needs: there, a caller has none of its own.

use std::alloc::{Layout, alloc, dealloc};

fn layout(size: usize) -> Option<Layout> {
    Layout::from_size_align(size.max(1), 16).ok()
}

/// Allocates memory for the input of a call.
///
/// C programs need this no more than `malloc`: every function takes memory of any origin. A program
/// that runs chatpb.wasm has no other way to get memory of the module.
///
/// @param size How many bytes; 0 is allowed.
/// @return The memory, which is not initialized, aligned to 16 bytes; NULL if there is not that much.
///     Give it back with `chatpb_deallocate`.
#[unsafe(no_mangle)]
pub extern "C" fn chatpb_allocate(size: usize) -> *mut u8 {
    match layout(size) {
        // SAFETY: the layout has at least one byte.
        Some(layout) => unsafe { alloc(layout) },
        None => std::ptr::null_mut(),
    }
}

/// Gives memory back that `chatpb_allocate` gave.
///
/// @param memory What `chatpb_allocate` returned; NULL is allowed.
/// @param size The size that it was called with.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chatpb_deallocate(memory: *mut u8, size: usize) {
    if let (false, Some(layout)) = (memory.is_null(), layout(size)) {
        // SAFETY: by the contract, the memory was allocated with this layout.
        unsafe { dealloc(memory, layout) }
    }
}
