// What types cannot refuse, because the caller has none: arguments that are neither texts nor bytes.
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { test } from "node:test";
import * as library from "../src/index.js";
import { ChatCompletionRequestSchema, ChatCompletionSchema } from "../src/v1.js";
import * as wasm from "../src/wasm/node.js";

const FILE = new URL("../../dist/wasm/chatpb.wasm", import.meta.url);
const WRONG = [undefined, null, 5, {}, [1], new ArrayBuffer(8)] as unknown as Uint8Array[];

async function entries(): Promise<(typeof library)[]> {
  if (!existsSync(FILE)) return [library];
  await wasm.init(FILE);
  return [library, wasm as unknown as typeof library];
}

test("what is neither a text nor bytes is a TypeError", async () => {
  for (const { fromJson, jsonToBinary, fromBinary, binaryToJson, ChunkDecoder } of await entries()) {
    for (const value of WRONG) {
      assert.throws(() => fromJson(ChatCompletionSchema, value), { name: "TypeError", message: /^expected a string or a Uint8Array, got / });
      assert.throws(() => jsonToBinary(ChatCompletionSchema, value), { name: "TypeError", message: /^expected a string or a Uint8Array, got / });
      assert.throws(() => fromBinary(ChatCompletionSchema, value), { name: "TypeError", message: /^expected a Uint8Array, got / });
      assert.throws(() => binaryToJson(ChatCompletionSchema, value), { name: "TypeError", message: /^expected a Uint8Array, got / });
      assert.throws(() => new ChunkDecoder().feed(value), { name: "TypeError", message: /^expected a Uint8Array, got / });
    }
    assert.throws(() => fromJson(ChatCompletionSchema, {} as never), { message: "expected a string or a Uint8Array, got an object" });
    assert.throws(() => new ChunkDecoder().feed("data" as never), { message: "expected a Uint8Array, got a string" });
  }
});

test("numbers that are not those of the field are refused in both directions", async () => {
  const schema = ChatCompletionRequestSchema;
  const fields: [string, unknown][] = [
    ...[1.5, NaN, Infinity, 2 ** 31].map((value): [string, unknown] => ["n", value]),
    ...[1.5, NaN, 2n ** 63n].map((value): [string, unknown] => ["seed", value]),
  ];
  for (const { fromJson, toJson, toBinary, ConversionError } of await entries()) {
    for (const [name, value] of fields) {
      const message = fromJson(schema, "{}") as unknown as Record<string, unknown>;
      message[name] = value;
      assert.throws(() => toJson(schema, message as never), ConversionError, `${name} ${String(value)}`);
      assert.throws(() => toBinary(schema, message as never), ConversionError, `${name} ${String(value)}`);
    }
  }
});
