// chatpb/wasm gives what chatpb gives; the conformance runner compares them with the vectors.
import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { test } from "node:test";
import * as library from "../src/index.js";
import { ChatCompletionChunkSchema, ChatCompletionSchema, MessageContentSchema } from "../src/v1.js";
import * as wasm from "../src/wasm/node.js";
import * as entry from "../src/wasm/index.js";
import { instance } from "../src/wasm/instance.js";

const FILE = new URL("../../dist/wasm/chatpb.wasm", import.meta.url);
const skip = existsSync(FILE) ? false : "chatpb.wasm is not built";
const TEXT = '{"id":"c","choices":[{"index":0,"message":{"content":"caf\u00e9"}}]}';

test("nothing works before init", { skip }, async () => {
  assert.throws(() => wasm.jsonToBinary(ChatCompletionSchema, TEXT), /call init\(\)/);
  await assert.rejects(wasm.init(new Response("", { status: 404 })), /404/);
  await assert.rejects(wasm.init(new Uint8Array(8)), WebAssembly.CompileError);
  await wasm.init(FILE);
  await wasm.init(); // which keeps what is loaded
  assert.deepEqual(wasm.jsonToBinary(ChatCompletionSchema, TEXT), library.jsonToBinary(ChatCompletionSchema, TEXT));
});

test("every kind of source is taken", { skip }, async () => {
  const data = readFileSync(FILE);
  for (const source of [data, new WebAssembly.Module(data), new Response(data), Promise.resolve(data), FILE]) {
    await wasm.init(source as wasm.WasmSource);
    assert.equal(wasm.fromJson(ChatCompletionSchema, TEXT).id, "c");
  }
  await entry.init(`data:application/wasm;base64,${data.toString("base64")}`);
  assert.equal(entry.fromJson(ChatCompletionSchema, TEXT).id, "c");
});

test("strings and bytes give the same, and texts are equal to those of chatpb", { skip }, () => {
  for (const text of [TEXT, '{"id":"\ud83d"}', `\ufeff${TEXT}`]) {
    const binary = library.jsonToBinary(ChatCompletionSchema, text);
    assert.deepEqual(wasm.jsonToBinary(ChatCompletionSchema, text), binary);
    assert.equal(wasm.binaryToJson(ChatCompletionSchema, binary), library.binaryToJson(ChatCompletionSchema, binary));
  }
  for (const number of [1e-5, 9.99e-6, -1e-6, 1e-7, 0.1, 1e15, 1e16, 123456789012345680, 1e21, 5e-324, 1.7976931348623157e308, -0]) {
    const schema = ChatCompletionChunkSchema;
    const text = `{"choices":[{"logprobs":{"content":[{"token":"a","logprob":${number.toExponential()}}]}}]}`;
    assert.equal(wasm.toJson(schema, wasm.fromJson(schema, text)), library.toJson(schema, library.fromJson(schema, text)));
  }
});

test("errors are those of chatpb", { skip }, () => {
  for (const text of ["", "[]", '{"id":NaN}', '{"choices":[{"index":}]}', TEXT.slice(0, -1), `{"x":${"[".repeat(200)}`]) {
    const refusals = [library, wasm].map(({ fromJson }) => {
      try {
        return fromJson(ChatCompletionSchema, text);
      } catch (error) {
        assert.ok(error instanceof library.ConversionError);
        return [error.message, error.path, error.offset];
      }
    });
    assert.deepEqual(refusals[1], refusals[0]);
  }
  assert.throws(() => wasm.fold([]), new library.ConversionError("expected at least one chunk, got none"));
  assert.throws(() => wasm.jsonToBinary(MessageContentSchema, "{}"), TypeError);
});

test("memory that grew is given up", { skip }, () => {
  const before = instance();
  wasm.jsonToBinary(ChatCompletionSchema, TEXT);
  assert.equal(instance(), before);
  const folder = new wasm.Folder();
  assert.equal(wasm.jsonToBinary(ChatCompletionSchema, `{"id":"${"x".repeat(50e6)}"}`).length > 50e6, true);
  assert.notEqual(instance(), before);
  folder.add(library.fromJson(ChatCompletionChunkSchema, '{"id":"a","choices":[]}')); // which keeps its instance
  assert.equal(folder.finish().id, "a");
  assert.throws(() => folder.finish(), /finish/);
});

test("after a trap the next call has a new instance", { skip }, () => {
  const before = instance();
  assert.throws(() => before.call("chatpb_result_free", 0xfffffff0), /failed in chatpb_result_free/);
  assert.throws(() => before.call("chatpb_result_new"), /failed before/);
  assert.equal(wasm.fromJson(ChatCompletionSchema, TEXT).id, "c");
  assert.notEqual(instance(), before);
});

test("both entries have the names of chatpb, and those of WebAssembly", () => {
  assert.deepEqual(Object.keys(entry), Object.keys(wasm));
  assert.deepEqual(Object.keys(wasm).sort(), [...Object.keys(library), "binaryToJsonBytes", "init"].sort());
});

test("compact streams are restored, and left early", { skip }, async () => {
  const whole = library.fromJson(ChatCompletionChunkSchema, '{"id":"a","choices":[{"index":0,"delta":{"content":"b"}}]}');
  const compact = library.fromJson(ChatCompletionChunkSchema, '{"choices":[{"index":0,"delta":{"content":"c"}}]}');
  let isClosed = false;
  async function* responses(): AsyncGenerator<library.ChunkResponse> {
    try {
      yield { chunks: [whole], compactChunks: [] };
      for (;;) yield { chunks: [], compactChunks: [compact] };
    } finally {
      isClosed = true;
    }
  }
  const found: string[] = [];
  for await (const chunk of wasm.restored(responses())) {
    found.push(`${chunk.id} ${chunk.choices[0]?.delta?.content}`);
    if (found.length === 3) break;
  }
  assert.deepEqual(found, ["a b", "a c", "a c"]);
  assert.equal(isClosed, true);
});
