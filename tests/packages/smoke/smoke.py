"""What a user of an installed package does first; `smoke.py IMPLEMENTATION FOLDER`."""

import sys
from pathlib import Path

import chatpb
from chatpb.v1 import ChatCompletion, ChatCompletionChunk

implementation, folder = sys.argv[1], Path(sys.argv[2])
assert implementation == chatpb.implementation, chatpb.implementation
assert "site-packages" in chatpb.__file__, chatpb.__file__

text = (folder / "completion.json").read_bytes()
binary = (folder / "completion.binpb").read_bytes()
completion = chatpb.from_json(text, ChatCompletion)
assert binary == completion.SerializeToString(deterministic=True)
assert chatpb.json_to_binary(text, ChatCompletion) == binary
assert chatpb.from_json(chatpb.to_json(completion), ChatCompletion) == completion

lines = (folder / "stream.jsonl").read_bytes().splitlines()
folded = chatpb.fold(chatpb.from_json(line, ChatCompletionChunk) for line in lines)
assert (folder / "folded.binpb").read_bytes() == folded.SerializeToString(deterministic=True)

failure = None
try:
    chatpb.from_json(b'{"choices": [tru]}', ChatCompletion)
except chatpb.ConversionError as error:
    failure = error
assert failure
assert "$.choices[0]" == failure.path, failure
print("passed")
