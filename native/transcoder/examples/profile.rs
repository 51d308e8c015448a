use chatpb_transcoder::Schema;
use std::{env, fs, time::Instant};

fn main() {
    let args: Vec<String> = env::args().collect();
    let schema = Schema::new(&fs::read(&args[1]).unwrap()).unwrap();
    let text = fs::read(&args[2]).unwrap();
    let kind = schema.message_type("chatpb.v1.ChatCompletion").unwrap();
    let binary = schema.json_to_binary(&text, kind).unwrap();
    let mut best = [f64::MAX; 2];
    let only = args.get(3).map(String::as_str);
    for _ in 0..600 {
        if only != Some("w") {
        let start = Instant::now();
        schema.json_to_binary(&text, kind).unwrap();
        best[0] = best[0].min(start.elapsed().as_secs_f64());
        }
        if only == Some("r") { continue; }
        let start = Instant::now();
        schema.binary_to_json(&binary, kind).unwrap();
        best[1] = best[1].min(start.elapsed().as_secs_f64());
    }
    println!("{:.3} ms {:.3} ms", best[0] * 1e3, best[1] * 1e3);
}
