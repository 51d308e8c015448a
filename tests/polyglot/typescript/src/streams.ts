import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { ConversionError, fromBinary, toBinary } from "chatpb";
import {
  ChatCompletionChunkSchema,
  ChatCompletionSchema,
  ErrorResponseSchema,
  StreamChatCompletionResponseSchema,
  type ChatCompletionChunk,
} from "chatpb/v1";
import { cores, type Core } from "./cores.js";
import type { Report } from "./report.js";
import { refuses, sameBytes } from "./vectors.js";

interface StreamVector {
  name: string;
  kind: string;
  allow_nan?: boolean;
  reason?: string | null;
  path?: string;
  offset?: number | null;
  max_event_bytes?: number;
  chunks?: string[];
  error?: string | null;
  is_error_of_choice?: boolean;
  is_done?: boolean;
}

type Check = (core: Core, file: string, vector: StreamVector) => Promise<void>;

export async function checkStreams(folder: string, report: Report): Promise<void> {
  const checks: Record<string, Check> = { fold: checkFold, unfold: checkUnfold, compact: checkCompact, sse: checkSse };
  for (const vector of JSON.parse(await readFile(join(folder, "manifest.json"), "utf8")) as StreamVector[]) {
    await report.run(vector.kind, vector.name, async () => {
      const check = checks[vector.kind];
      assert.ok(check, "there is no such kind");
      for (const core of cores) await check(core, join(folder, vector.name), vector);
    });
  }
}

async function checkFold({ fold, unfold, fromJson }: Core, file: string, vector: StreamVector): Promise<void> {
  const lines = (await readFile(`${file}.jsonl`, "utf8")).split("\n").filter((line) => line !== "");
  const chunks = lines.map((line) => fromJson(ChatCompletionChunkSchema, line, { allowNan: vector.allow_nan ?? false }));
  const expected = await readFile(`${file}.binpb`);
  const folded = fold(chunks);
  sameBytes(expected, toBinary(ChatCompletionSchema, folded));
  sameBytes(expected, toBinary(ChatCompletionSchema, fold(unfold(folded))));
}

async function checkUnfold({ unfold, fromJson }: Core, file: string, vector: StreamVector): Promise<void> {
  const text = await readFile(`${file}.json`);
  const completion = fromJson(ChatCompletionSchema, text, { allowNan: vector.allow_nan ?? false });
  sameChunks(await delimited(`${file}.binpbs`), unfold(completion));
}

async function checkCompact({ Restorer }: Core, file: string, vector: StreamVector): Promise<void> {
  const restorer = new Restorer();
  const found: ChatCompletionChunk[] = [];
  const restore = async (): Promise<void> => {
    for (const data of await delimited(`${file}.binpbs`)) {
      for (const chunk of restorer.add(fromBinary(StreamChatCompletionResponseSchema, data))) found.push(chunk);
    }
  };
  await gives(vector, restore);
  sameChunks(await delimited(`${file}.chunks.binpbs`), found);
}

async function checkSse({ ChunkDecoder }: Core, file: string, vector: StreamVector): Promise<void> {
  const data = new Uint8Array(await readFile(`${file}.sse`));
  const chunks = vector.chunks?.map((each) => Buffer.from(each, "hex")) ?? [];
  for (const size of [data.length || 1, 1, 7]) {
    const decoder = new ChunkDecoder({ maxEventBytes: vector.max_event_bytes ?? 0, allowNan: vector.allow_nan ?? false });
    const found: ChatCompletionChunk[] = [];
    await gives(vector, () => {
      for (let at = 0; at < data.length; at += size) found.push(...decoder.feed(data.subarray(at, at + size)));
      for (let rest = decoder.close(); rest.length > 0; rest = decoder.close()) found.push(...rest);
    });
    sameChunks(chunks, found);
    const error = decoder.error && Buffer.from(toBinary(ErrorResponseSchema, decoder.error)).toString("hex");
    assert.deepEqual(
      [error ?? null, decoder.isErrorOfChoice, decoder.isDone],
      [vector.error, vector.is_error_of_choice, vector.is_done],
    );
  }
}

/** Runs something that must fail for the reason of a vector, if that has one. */
async function gives(vector: StreamVector, run: () => void | Promise<void>): Promise<void> {
  let failure: unknown;
  try {
    await run();
  } catch (error) {
    if (!(error instanceof ConversionError)) throw error;
    failure = error;
  }
  const { path, offset = null, reason } = vector;
  const rethrow = (): void => {
    if (failure !== undefined) throw failure;
  };
  if (reason) refuses({ offset, reason, ...(path === undefined ? {} : { path }) }, rethrow);
  else rethrow();
}

function sameChunks(expected: readonly Uint8Array[], found: readonly ChatCompletionChunk[]): void {
  const hex = (data: Uint8Array): string => Buffer.from(data).toString("hex");
  assert.deepEqual(found.map((chunk) => hex(toBinary(ChatCompletionChunkSchema, chunk))), expected.map(hex));
}

/** The messages of a file, each after its length. */
async function delimited(path: string): Promise<Uint8Array[]> {
  const data = new Uint8Array(await readFile(path));
  const found: Uint8Array[] = [];
  for (let at = 0; at < data.length; ) {
    let size = 0;
    for (let shift = 0, more = true; more; shift += 7) {
      const byte = data[at++] ?? 0;
      size |= (byte & 0x7f) << shift;
      more = byte >= 0x80;
    }
    found.push(data.slice(at, at + size));
    at += size;
  }
  return found;
}
