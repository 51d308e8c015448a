// The results of inputs on which implementations are compared, as tests/vectors/README.md specifies them.

import { createReadStream, writeSync } from "node:fs";
import { createInterface } from "node:readline";
import type { DescMessage, MessageShape } from "@bufbuild/protobuf";
import { ConversionError, fromBinary, toBinary } from "chatpb";
import {
  ChatCompletionChunkSchema,
  ChatCompletionSchema,
  ErrorResponseSchema,
  StreamChatCompletionResponseSchema,
  type ChatCompletionChunk,
} from "chatpb/v1";
import { cores, type Core } from "./cores.js";
import { schemaOf } from "./vectors.js";

/** Prints the result of each input of a file. Where two cores differ, both results are printed. */
export async function answerAll(path: string): Promise<void> {
  const lines: string[] = [];
  for await (const line of createInterface({ input: createReadStream(path) })) {
    const results = cores.map((core) => answer(core, line));
    lines.push([...new Set(results)].join(" OR "));
  }
  const data = Buffer.from(lines.map((line) => `${line}\n`).join(""));
  for (let at = 0; at < data.length; ) at += writeSync(1, data, at);
}

function answer(core: Core, line: string): string {
  const [name = "", ...fields] = line.split("\t");
  switch (name) {
    case "read":
      return read(core, fields[0] ?? "", bytes(fields[1]));
    case "write":
      return write(core, fields[0] ?? "", bytes(fields[1]));
    case "fold":
      return orRefused(() => {
        const chunks = fields.map((text) => core.fromJson(ChatCompletionChunkSchema, bytes(text)));
        return [hex(ChatCompletionSchema, core.fold(chunks))];
      });
    case "unfold":
      return orRefused(() => chunksOf(core.unfold(core.fromJson(ChatCompletionSchema, bytes(fields[0])))));
    case "restore":
      return restore(core, fields);
    case "sse":
      return events(core, Number(fields[0]), Number(fields[1]), bytes(fields[2]));
    default:
      return "none";
  }
}

function read(core: Core, name: string, text: Uint8Array): string {
  const schema = schemaOf({ message_type: name });
  try {
    return `ok\t${Buffer.from(core.jsonToBinary(schema, text)).toString("hex")}`;
  } catch (error) {
    if (!(error instanceof ConversionError)) throw error;
    return `refused\t${Buffer.from(error.path).toString("hex")}\t${error.offset}`;
  }
}

function write(core: Core, name: string, data: Uint8Array): string {
  const schema = schemaOf({ message_type: name });
  let text: string | Uint8Array;
  try {
    text = core.binaryToJson(schema, data);
  } catch (error) {
    if (!(error instanceof ConversionError)) throw error;
    return "refused";
  }
  return `ok\t${Buffer.from(core.jsonToBinary(schema, text)).toString("hex")}`;
}

function restore(core: Core, responses: readonly string[]): string {
  const restorer = new core.Restorer();
  const chunks: string[] = [];
  try {
    for (const data of responses) {
      for (const chunk of restorer.add(fromBinary(StreamChatCompletionResponseSchema, bytes(data)))) {
        chunks.push(hex(ChatCompletionChunkSchema, chunk));
      }
    }
  } catch (error) {
    if (!(error instanceof ConversionError)) throw error;
    return ["refused", ...chunks].join("\t");
  }
  return ["ok", ...chunks].join("\t");
}

function events(core: Core, maxEventBytes: number, size: number, data: Uint8Array): string {
  const decoder = new core.ChunkDecoder({ maxEventBytes });
  const chunks: ChatCompletionChunk[] = [];
  let result = "ok";
  try {
    for (let at = 0; at < data.length; at += size) chunks.push(...decoder.feed(data.subarray(at, at + size)));
    for (let rest = decoder.close(); rest.length > 0; rest = decoder.close()) chunks.push(...rest);
  } catch (error) {
    if (!(error instanceof ConversionError)) throw error;
    result = "refused";
  }
  const flags = `${Number(decoder.isDone)}${Number(decoder.isErrorOfChoice)}`;
  const error = decoder.error === undefined ? "-" : hex(ErrorResponseSchema, decoder.error);
  return [result, flags, error, ...chunksOf(chunks)].join("\t");
}

function orRefused(run: () => readonly string[]): string {
  try {
    return ["ok", ...run()].join("\t");
  } catch (error) {
    if (!(error instanceof ConversionError)) throw error;
    return "refused";
  }
}

function chunksOf(chunks: readonly ChatCompletionChunk[]): string[] {
  return chunks.map((chunk) => hex(ChatCompletionChunkSchema, chunk));
}

function bytes(digits = ""): Uint8Array {
  return new Uint8Array(Buffer.from(digits, "hex"));
}

function hex<Desc extends DescMessage>(schema: Desc, message: MessageShape<Desc>): string {
  return Buffer.from(toBinary(schema, message)).toString("hex");
}
