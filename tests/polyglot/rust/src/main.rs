//! Checks that the crate chatpb, with prost and tonic, does what every other language does.
//!
//! Arguments: the folder of the vectors, and the address of a relay. Prints a line for each case.
//! Or: `--fuzz` and the path of a file. Prints the result of each input of the file.

mod fields;
mod fuzz;
mod json;
mod relay;
mod streams;
mod value;
mod vectors;

use std::env;
use std::path::Path;
use std::process::ExitCode;

/// What a case gives: nothing, or the reason why it failed.
type Check = Result<(), String>;

/// Prints results, and knows whether a case failed.
#[derive(Default)]
struct Report {
    has_failed: bool,
}

impl Report {
    fn add(&mut self, kind: &str, case: &str, result: Check) {
        match result {
            Ok(()) => println!("{kind}\t{case}\tok"),
            Err(reason) => {
                self.has_failed = true;
                println!(
                    "{kind}\t{case}\tFAIL: {}",
                    reason.replace(['\n', '\t'], " ")
                );
            }
        }
    }

    /// Adds a case in which prost or tonic is known to differ.
    fn limit(&self, kind: &str, case: &str, reason: &str) {
        println!("{kind}\t{case}\tlimit: {reason}");
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [folder, address] = &arguments[..] else {
        eprintln!("usage: chatpb-conformance VECTORS_DIR RELAY_ADDRESS, or --fuzz FILE");
        return ExitCode::from(2);
    };
    if folder == "--fuzz" {
        let answered = fuzz::answer_all(address);
        return ExitCode::from(u8::from(answered.is_err()));
    }
    let mut report = Report::default();
    let folder = Path::new(folder);
    vectors::check(folder, &mut report);
    json::check(folder, &mut report);
    streams::check(folder, &mut report);
    relay::check(address, &mut report).await;
    ExitCode::from(u8::from(report.has_failed))
}
