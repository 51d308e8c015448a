import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { ChunkDecoder, ConversionError, fold, Folder, fromJson, readChunks, restored, Restorer, toBinary, toJson, unfold } from "../src/index.js";
import {
  ChatCompletionChunkSchema,
  ChatCompletionSchema,
  StreamChatCompletionResponseSchema,
  type ChatCompletion,
  type ChatCompletionChunk,
} from "../src/v1.js";
import { hex, VECTORS } from "./support.js";

const CASES = join(VECTORS, "../stream/cases");

function casesIn(name: string): { name: string; completion?: unknown; chunks?: unknown[] }[] {
  return JSON.parse(readFileSync(join(CASES, name), "utf8")) as ReturnType<typeof casesIn>;
}

const chunk = (value: unknown): ChatCompletionChunk => fromJson(ChatCompletionChunkSchema, JSON.stringify(value));
const bytes = (completion: ChatCompletion): string => hex(toBinary(ChatCompletionSchema, completion));
const delta = (content: string, more: object = {}): object => ({ id: "a", choices: [{ index: 0, delta: { content } }], ...more });

for (const { name, chunks = [] } of casesIn("fold.json")) {
  test(`fold, unfold and fold again: ${name}`, () => {
    const completion = fold(chunks.map(chunk));
    assert.equal(bytes(fold(unfold(completion))), bytes(completion));
  });
}

for (const { name, completion: value } of casesIn("unfold.json")) {
  test(`unfold and fold: ${name}`, () => {
    const completion = fromJson(ChatCompletionSchema, JSON.stringify(value));
    assert.equal(bytes(fold(unfold(completion))), bytes(completion));
  });
}

test("a folder gives what fold gives, and refuses a stream without chunks", () => {
  const chunks = [delta("a"), delta("b")].map(chunk);
  const folder = new Folder();
  for (const each of chunks) folder.add(each);
  assert.equal(folder.finish().choices[0]?.message?.content, "ab");
  assert.throws(() => fold([]), new ConversionError("expected at least one chunk, got none"));
});

test("surrogates of which each chunk has one make a character", () => {
  const pieces = ["\ud83d", "\ude00"].map((content) => chunk(delta(content)));
  assert.equal(fold(pieces).choices[0]?.message?.content, "\u{1f600}");
});

test("a compact chunk takes what it leaves out from the one before", async () => {
  const whole = chunk(delta("a", { model: "m", created: 7 }));
  const compact = create(ChatCompletionChunkSchema, { choices: [{ delta: { content: "b" } }] });
  const responses = [{ chunks: [whole] }, { compactChunks: [compact] }].map((each) =>
    create(StreamChatCompletionResponseSchema, each),
  );
  const found: ChatCompletionChunk[] = [];
  for await (const each of restored(iterate(responses))) found.push(each);
  assert.equal(found.length, 2);
  assert.equal(toJson(ChatCompletionChunkSchema, found[1] as ChatCompletionChunk), toJson(ChatCompletionChunkSchema, chunk(delta("b", { model: "m", created: 7 }))));
  assert.throws(() => [...new Restorer().add(responses[1] as never)], new ConversionError("a compact chunk has no chunk before it"));
});

test("a compact chunk cannot leave out more than 64 KiB", () => {
  const restorer = new Restorer();
  const whole = chunk(delta("a", { model: "m".repeat(70_000) }));
  const response = { chunks: [whole], compactChunks: [create(ChatCompletionChunkSchema)] };
  assert.throws(() => [...restorer.add(response)], /leaves out more than 65536 bytes/);
});

const STREAM = new TextEncoder().encode(
  `: hello\r\n\r\ndata: ${JSON.stringify(delta("a"))}\r\n\r\nevent: error\ndata: {"error":{"message":"m"}}\n\ndata: ${JSON.stringify(delta("\u00e9"))}\n\ndata: [DONE]\n\n`,
);

for (const size of [1, 7, STREAM.length]) {
  test(`a stream in pieces of ${size} bytes`, async () => {
    const pieces: Uint8Array[] = [];
    for (let at = 0; at < STREAM.length; at += size) pieces.push(STREAM.slice(at, at + size));
    const stream = (): ReadableStream<Uint8Array> =>
      new ReadableStream({
        start(controller) {
          for (const piece of pieces) controller.enqueue(piece);
          controller.close();
        },
      });
    for (const source of [stream(), iterate(pieces), pieces, new Response(stream()).body as ReadableStream<Uint8Array>]) {
      const decoder = new ChunkDecoder();
      const folder = new Folder();
      for await (const each of readChunks(source, decoder)) folder.add(each);
      assert.equal(folder.finish().choices[0]?.message?.content, "a\u00e9");
      assert.deepEqual([decoder.error?.error?.message, decoder.isDone, decoder.isErrorOfChoice], ["m", true, false]);
    }
  });
}

test("who stops reading a stream cancels it", async () => {
  let isCancelled = false;
  const source = new ReadableStream<Uint8Array>({
    pull: (controller) => controller.enqueue(STREAM),
    cancel: () => void (isCancelled = true),
  });
  for await (const _ of readChunks(source)) break;
  assert.ok(isCancelled);
});

test("an error comes after the chunks before it", () => {
  const decoder = new ChunkDecoder({ maxEventBytes: 80 });
  const data = new TextEncoder().encode(`data: ${JSON.stringify(delta("a"))}\n\ndata: ${"x".repeat(99)}`);
  assert.equal(decoder.feed(data).length, 1);
  assert.throws(() => decoder.feed(new Uint8Array()), /\$: an event of the stream is longer than 80 bytes/);
  assert.throws(() => new ChunkDecoder({ maxEventBytes: -1 }), RangeError);
});

async function* iterate<T>(items: readonly T[]): AsyncGenerator<T> {
  yield* items;
}

test("a stream of the web that is left early is cancelled, and can be read by others", async () => {
  let isCancelled = false;
  const body = new ReadableStream<Uint8Array>({
    pull: (controller) => controller.enqueue(new TextEncoder().encode(`data: ${JSON.stringify(delta("x"))}\n\n`)),
    cancel: () => {
      isCancelled = true;
    },
  });
  for await (const _ of readChunks(body)) break;
  assert.equal(isCancelled, true);
  assert.equal(body.locked, false);
});
