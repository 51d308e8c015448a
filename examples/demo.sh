#!/bin/sh
# The main uses, from end to end, on this machine only. `make demo` sets up and runs it.
set -eu
cd "$(dirname "$0")"
scratch=$(mktemp -d)
relay=
finish() {
  [ -z "$relay" ] || kill "$relay" 2>/dev/null || true
  rm -rf "$scratch"
}
trap finish EXIT INT TERM
say() { printf '\n--- %s\n' "$1"; }

python ../native/report.py

say 'A completion, as an OpenAI-compatible server sent it (examples/completion.json)'
cat completion.json

say 'To protobuf and back: every member, even an unknown one, comes back equal'
chatpb to-binary completion.json -o "$scratch/completion.binpb"
chatpb to-json "$scratch/completion.binpb"
chatpb roundtrip completion.json

say 'The relay, with its builtin model'
chatpb-server --listen 127.0.0.1:0 --log-level warning > "$scratch/relay.log" &
relay=$!
python -c '
import pathlib, sys, time
log, deadline = pathlib.Path(sys.argv[1]), time.monotonic() + 30
while "\n" not in log.read_text():
    time.monotonic() < deadline or sys.exit("the relay did not start")
    time.sleep(0.05)
' "$scratch/relay.log"
cat "$scratch/relay.log"
address=$(sed -n 's/^listening on //p' "$scratch/relay.log")

say 'A unary call over gRPC (examples/request.json)'
chatpb call "$address" request.json > "$scratch/unary.json"
chatpb inspect "$scratch/unary.json"

say 'A streaming call (examples/stream_request.json): one line of JSON for each chunk, shortened here'
chatpb call "$address" --stream stream_request.json > "$scratch/stream.jsonl"
sed 's/^.*,"choices":/... "choices":/' "$scratch/stream.jsonl" | cut -c 1-120

say 'The stream, folded into a completion'
chatpb fold "$scratch/stream.jsonl"

say 'Stored in a table, which DuckDB, pandas, Polars and Spark can read too'
chatpb compact completion.json "$scratch/unary.json" "$scratch/stream.jsonl" "$scratch/table"
chatpb grep --count 'total_tokens > 10' "$scratch/table"
chatpb export "$scratch/table" | cut -c 1-120

say 'The relay stops'
kill -TERM "$relay"
wait "$relay" && echo "exit code 0"
relay=
