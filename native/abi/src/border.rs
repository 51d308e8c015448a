//! The border: from what C passes to Rust's types, and from what happens to a status.

use std::panic::{AssertUnwindSafe, catch_unwind};

use chatpb_core::ConversionError;

use crate::outcome::Outcome;

/// What a call came to.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// It did what it says.
    Ok = 0,
    /// The input was refused; the path, the reason and the offset of the error say where and why.
    Refused = 1,
    /// The call itself is wrong: NULL where that is not allowed, a number that no message type or flag
    /// has, or a handle that is finished. The reason of the error says what is wrong.
    Usage = 2,
    /// A bug of chatpb. The handle that was used must be freed; others are not affected.
    Panic = 3,
}

/// Why a call did not do what it says.
pub enum Failure {
    Refused(ConversionError),
    Usage(&'static str),
}

impl From<ConversionError> for Failure {
    fn from(error: ConversionError) -> Self {
        Self::Refused(error)
    }
}

/// Input that C passes: a pointer and a size.
#[derive(Clone, Copy)]
pub struct Input {
    pub data: *const u8,
    pub size: usize,
}

impl Input {
    /// The bytes.
    ///
    /// # Safety
    ///
    /// If the pointer is not NULL, `size` bytes behind it can be read, and stay as they are for `'a`.
    unsafe fn bytes<'a>(self) -> Result<&'a [u8], Failure> {
        if self.size == 0 {
            return Ok(&[]);
        }
        if self.data.is_null() {
            return Err(Failure::Usage("the data is NULL, and its size is not 0"));
        }
        let wraps = (self.data as usize).checked_add(self.size).is_none();
        if wraps || isize::try_from(self.size).is_err() {
            return Err(Failure::Usage("the size is larger than any memory"));
        }
        // SAFETY: by the contract; NULL and sizes that no slice may have are excluded above.
        Ok(unsafe { std::slice::from_raw_parts(self.data, self.size) })
    }
}

/// Runs the work of a call on its input, and puts what it gives into the result.
///
/// # Safety
///
/// `result` is NULL or of `chatpb_result_new`, and nothing else uses it meanwhile. `input` can be read.
pub unsafe fn call(
    result: *mut Outcome,
    input: Input,
    work: impl FnOnce(&[u8], &mut Outcome) -> Result<(), Failure>,
) -> Status {
    // SAFETY: by the contract.
    let Some(outcome) = (unsafe { result.as_mut() }) else {
        return Status::Usage;
    };
    if outcome.overlaps(input) {
        outcome.clear();
        return outcome.fail(Failure::Usage("the data is in the memory of the result"));
    }
    outcome.clear();
    let caught = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: by the contract; the result's own memory is excluded above.
        let data = unsafe { input.bytes() }?;
        work(data, outcome)
    }));
    match caught {
        Ok(Ok(())) => Status::Ok,
        Ok(Err(failure)) => outcome.fail(failure),
        Err(_) => outcome.panicked(),
    }
}

/// No input.
pub const NOTHING: Input = Input {
    data: std::ptr::null(),
    size: 0,
};

/// Makes a handle; NULL if the call is wrong.
pub fn make<T>(work: impl FnOnce() -> Result<T, Failure>) -> *mut T {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(handle)) => Box::into_raw(Box::new(handle)),
        _ => std::ptr::null_mut(),
    }
}

/// Frees a handle.
///
/// # Safety
///
/// It is NULL or of `make`, and was not freed.
pub unsafe fn free<T>(handle: *mut T) {
    if !handle.is_null() {
        // SAFETY: by the contract, it is a box.
        let owned = unsafe { Box::from_raw(handle) };
        // A bug that panics here has no result to be reported in.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(owned)));
    }
}

/// Runs the work of a call on the state of a handle, as `call` does. The state is gone if it panics.
///
/// # Safety
///
/// As for `call`.
pub unsafe fn step<T>(
    state: Option<&mut Option<T>>,
    result: *mut Outcome,
    input: Input,
    work: impl FnOnce(&mut T, &[u8], &mut Outcome) -> Result<(), Failure>,
) -> Status {
    let work = |data: &[u8], outcome: &mut Outcome| {
        let state = state.ok_or(Failure::Usage("the handle is NULL"))?;
        let mut taken = state.take().ok_or(FINISHED)?;
        let done = work(&mut taken, data, outcome);
        *state = Some(taken);
        done
    };
    // SAFETY: by the contract.
    unsafe { call(result, input, work) }
}

/// Runs the last call on a handle, which takes its state.
///
/// # Safety
///
/// As for `call`.
pub unsafe fn finish<T>(
    state: Option<&mut Option<T>>,
    result: *mut Outcome,
    work: impl FnOnce(T, &mut Outcome) -> Result<(), Failure>,
) -> Status {
    let work = |_: &[u8], outcome: &mut Outcome| {
        let state = state.ok_or(Failure::Usage("the handle is NULL"))?;
        work(state.take().ok_or(FINISHED)?, outcome)
    };
    // SAFETY: by the contract.
    unsafe { call(result, NOTHING, work) }
}

const FINISHED: Failure = Failure::Usage("the handle is finished");
