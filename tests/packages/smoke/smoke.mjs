// What a user of an installed package does first; `smoke.mjs FOLDER`.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { ConversionError, fold, fromJson, jsonToBinary, toBinary, toJson } from "chatpb";
import * as wasm from "chatpb/wasm";
import { ChatCompletionChunkSchema, ChatCompletionSchema } from "chatpb/v1";

const read = (name) => readFileSync(`${process.argv[2]}/${name}`);
const same = (expected, actual) => assert.deepEqual(new Uint8Array(expected), new Uint8Array(actual));

const text = read("completion.json").toString();
const completion = fromJson(ChatCompletionSchema, text);
same(read("completion.binpb"), toBinary(ChatCompletionSchema, completion));
same(read("completion.binpb"), jsonToBinary(ChatCompletionSchema, toJson(ChatCompletionSchema, completion)));

await wasm.init();
same(read("completion.binpb"), wasm.jsonToBinary(ChatCompletionSchema, text));

const lines = read("stream.jsonl").toString().trimEnd().split("\n");
const folded = fold(lines.map((line) => fromJson(ChatCompletionChunkSchema, line)));
same(read("folded.binpb"), toBinary(ChatCompletionSchema, folded));

assert.throws(
  () => fromJson(ChatCompletionSchema, '{"choices": [tru]}'),
  (error) => error instanceof ConversionError && error.path === "$.choices[0]",
);
console.log("passed");
