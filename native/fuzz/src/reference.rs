//! The reference, in a Python process that answers one request after the other.

use std::env;
use std::io::{self, BufReader, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{LazyLock, Mutex};

const PYTHON: &str = "CHATPB_FUZZ_PYTHON";
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/reference.py");
/// As large as the pipe: an answer is read at once.
const PIPE_BYTES: usize = 1 << 20;

/// Which way an input is to be converted.
#[derive(Clone, Copy)]
pub enum Form {
    Json,
    Binary,
}

/// What the reference gives: the result, or the error with its place and reason.
pub type Answer = Result<Vec<u8>, String>;

struct Reference {
    child: Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
}

static REFERENCE: LazyLock<Mutex<Reference>> = LazyLock::new(|| Mutex::new(Reference::start()));

/// Starts the reference, and waits until it answers.
///
/// # Panics
///
/// If the environment does not name the Python that has it: no run goes without.
pub fn start() {
    let answers = ask(Form::Json, "chatpb.v1.ChatCompletion", b"[]");
    assert!(answers.iter().all(Result::is_err), "{answers:?}");
}

/// What the reference makes of an input, without and with `allow_nan`.
///
/// # Panics
///
/// If it gives neither a result nor its error: whatever else it raised is on the standard error.
pub fn ask(form: Form, name: &str, input: &[u8]) -> [Answer; 2] {
    let mut reference = REFERENCE.lock().expect("no request failed before");
    reference.ask(form, name, input).unwrap_or_else(|error| {
        let _ = reference.child.kill().and_then(|()| reference.child.wait());
        let shown = input.escape_ascii();
        panic!("{name}: the reference does not answer: {error}\n  b\"{shown}\"")
    })
}

impl Reference {
    fn start() -> Self {
        let Some(python) = env::var_os(PYTHON) else {
            panic!(
                "{PYTHON} names the Python that has chatpb: run `make rust-fuzz`, which sets it"
            );
        };
        let mut child = Command::new(&python)
            .arg(SCRIPT)
            .env("CHATPB_IMPLEMENTATION", "python")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{PYTHON} is {}: {error}", python.display()));
        Self {
            requests: child.stdin.take().expect("it is a pipe"),
            answers: BufReader::with_capacity(
                PIPE_BYTES,
                child.stdout.take().expect("it is a pipe"),
            ),
            child,
        }
    }

    fn ask(&mut self, form: Form, name: &str, input: &[u8]) -> io::Result<[Answer; 2]> {
        let form = match form {
            Form::Json => "json",
            Form::Binary => "binary",
        };
        let mut request = Vec::new();
        for part in [form.as_bytes(), name.as_bytes(), input] {
            let length = u32::try_from(part.len()).map_err(io::Error::other)?;
            request.extend(length.to_le_bytes());
            request.extend(part);
        }
        self.requests.write_all(&request)?;
        Ok([self.answer()?, self.answer()?])
    }

    fn answer(&mut self) -> io::Result<Answer> {
        let mut length = [0; 4];
        self.answers.read_exact(&mut length)?;
        let mut answer = vec![0; u32::from_le_bytes(length) as usize];
        self.answers.read_exact(&mut answer)?;
        match answer.split_first() {
            Some((b'=', result)) => Ok(Ok(result.to_vec())),
            Some((b'!', error)) => Ok(Err(String::from_utf8_lossy(error).into_owned())),
            _ => Err(io::Error::other("neither a result nor an error")),
        }
    }
}
