// Which message a JSON object is read as: the rule of `chatpb` (chatpb/_cli/reading/kinds.py) for
// one text without a file name. A wrong guess costs bytes, not data.
import type { DescMessage } from "@bufbuild/protobuf";
import * as schema from "./schema.js";

/** The names by which the command line calls the kinds, and what they name. */
export const KINDS: ReadonlyMap<string, DescMessage> = new Map<string, DescMessage>([
  ["completion", schema.ChatCompletionSchema],
  ["chunk", schema.ChatCompletionChunkSchema],
  ["request", schema.ChatCompletionRequestSchema],
  ["error", schema.ErrorResponseSchema],
  ["list", schema.ChatCompletionListSchema],
  ["messages", schema.ChatCompletionStoreMessageListSchema],
  ["deleted", schema.ChatCompletionDeletedSchema],
  ["model", schema.ModelSchema],
  ["models", schema.ModelListSchema],
]);

const OBJECT_WORDS: ReadonlyMap<unknown, DescMessage> = new Map<unknown, DescMessage>([
  ["chat.completion", schema.ChatCompletionSchema],
  ["chat.completion.chunk", schema.ChatCompletionChunkSchema],
  ["chat.completion.deleted", schema.ChatCompletionDeletedSchema],
  ["error", schema.ErrorResponseSchema],
  ["model", schema.ModelSchema],
]);

type Members = Record<string, unknown>;

/** The message type of a JSON text; of what is no JSON object, a completion. */
export function recognise(text: string): DescMessage {
  let value: unknown;
  try {
    value = JSON.parse(text.replace(/^\uFEFF/, ""));
  } catch {
    return schema.ChatCompletionSchema; // the converter says what is wrong
  }
  return (isObject(value) && byMembers(value)) || schema.ChatCompletionSchema;
}

function byMembers(members: Members): DescMessage | undefined {
  const choices = members["choices"];
  const parts = objects(choices);
  const byWord = OBJECT_WORDS.get(members["object"]);
  if (byWord !== undefined) return byWord;
  if (members["object"] === "list") {
    const items = members["data"];
    if (isEmpty(items) || objects(items).some((item) => "choices" in item)) return schema.ChatCompletionListSchema;
    const areModels = objects(items).some((item) => item["object"] === "model");
    return areModels ? schema.ModelListSchema : schema.ChatCompletionStoreMessageListSchema;
  }
  if ("choices" in members && !("error" in members && choices === null)) {
    const hasMessage = parts.some((part) => "message" in part);
    const isChunk = !hasMessage && parts.some((part) => "delta" in part);
    return isChunk ? schema.ChatCompletionChunkSchema : schema.ChatCompletionSchema;
  }
  if ("error" in members) return schema.ErrorResponseSchema;
  if ("messages" in members) return schema.ChatCompletionRequestSchema;
  const flat = !("id" in members) && ("message" in members || "detail" in members);
  return flat ? schema.ErrorResponseSchema : undefined;
}

function isEmpty(value: unknown): boolean {
  if (Array.isArray(value)) return value.length === 0;
  if (isObject(value)) return Object.keys(value).length === 0;
  return !value;
}

function isObject(value: unknown): value is Members {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function objects(value: unknown): Members[] {
  return Array.isArray(value) ? value.filter(isObject) : [];
}
