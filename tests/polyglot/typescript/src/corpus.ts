import { readdir, readFile } from "node:fs/promises";
import { basename, extname, join, relative } from "node:path";
import type { DescMessage } from "@bufbuild/protobuf";
import * as v1 from "chatpb/v1";
import { cores } from "./cores.js";
import type { Report } from "./report.js";
import { sameJson } from "./values.js";

/** A JSON text of a file. */
interface RecordedText {
  text: string;
  inStream: boolean;
  event: string;
}

/** Checks that recorded JSON comes back equal: every object is a case. */
export async function checkCorpus(folder: string, report: Report): Promise<void> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const paths = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
  for (const path of paths.sort()) {
    const texts = textsOf(extname(path), await readFile(path, "utf8"));
    for (const [index, each] of texts.entries()) {
      await report.run("corpus", `${relative(folder, path)}:${index + 1}`, () => {
        const schema = schemaOf(each, basename(path));
        for (const { binaryToJson, fromJson, jsonToBinary, toJson } of cores) {
          sameJson(each.text, toJson(schema, fromJson(schema, each.text)));
          sameJson(each.text, binaryToJson(schema, jsonToBinary(schema, each.text)));
        }
      });
    }
  }
}

function textsOf(ending: string, content: string): RecordedText[] {
  switch (ending) {
    case ".json":
      return [{ text: content, inStream: false, event: "" }];
    case ".jsonl": {
      const lines = content.split("\n").filter((line) => line.trim() !== "");
      return lines.map((text) => ({ text, inStream: true, event: "" }));
    }
    case ".sse":
      return content.split(/\r?\n\r?\n/).map(eventOf).filter(({ text }) => text !== "" && text !== "[DONE]");
    default:
      return [];
  }
}

function eventOf(block: string): RecordedText {
  const found: RecordedText = { text: "", inStream: true, event: "" };
  const data: string[] = [];
  for (const line of block.split(/\r?\n/)) {
    const [, name, value = ""] = /^([^:]*):? ?(.*)$/.exec(line) ?? [];
    if (name === "event") found.event = value;
    if (name === "data") data.push(value);
  }
  return { ...found, text: data.join("\n") };
}

const NAMED = new Map<unknown, DescMessage>([
  ["chat.completion", v1.ChatCompletionSchema],
  ["chat.completion.chunk", v1.ChatCompletionChunkSchema],
  ["chat.completion.deleted", v1.ChatCompletionDeletedSchema],
  ["error", v1.ErrorResponseSchema],
]);

/** The message type as which the command line of chatpb reads a text. */
function schemaOf({ text, inStream, event }: RecordedText, file: string): DescMessage {
  const members = JSON.parse(text) as Record<string, unknown>;
  const { choices } = members;
  const hasDelta = someHas(choices, "delta");
  if (inStream && hasDelta) return v1.ChatCompletionChunkSchema;
  const named = NAMED.get(members["object"]);
  if (named !== undefined) return named;
  if (members["object"] === "list") {
    const { data } = members;
    const hasItems = Array.isArray(data) ? data.length > 0 : Boolean(data);
    return hasItems && !someHas(data, "choices") ? v1.ChatCompletionStoreMessageListSchema : v1.ChatCompletionListSchema;
  }
  if ("choices" in members && !("error" in members && choices === null)) {
    const isChunk = !someHas(choices, "message") && (hasDelta || inStream);
    return isChunk ? v1.ChatCompletionChunkSchema : v1.ChatCompletionSchema;
  }
  if ("error" in members) return v1.ErrorResponseSchema;
  if ("messages" in members) return v1.ChatCompletionRequestSchema;
  const isFlat = !("id" in members) && ("message" in members || "detail" in members);
  if (isFlat || event === "error" || file.endsWith(".error.json")) return v1.ErrorResponseSchema;
  if (file.endsWith(".request.json")) return v1.ChatCompletionRequestSchema;
  return inStream ? v1.ChatCompletionChunkSchema : v1.ChatCompletionSchema;
}

/** Whether a value is an array with an object in it that has the member. */
function someHas(value: unknown, name: string): boolean {
  return Array.isArray(value) && value.some((item) => typeof item === "object" && item !== null && name in item);
}
