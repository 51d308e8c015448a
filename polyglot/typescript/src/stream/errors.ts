import type { DescMessage } from "@bufbuild/protobuf";
import { dump, isEmpty as isEmptyContainer, JsonNumber, type Json, type JsonMembers } from "../document.js";
import { ChatCompletionChunkSchema } from "../gen/chatpb/v1/chat_completion_chunk_pb.js";
import { ChatCompletionSchema } from "../gen/chatpb/v1/chat_completion_pb.js";
import { ErrorResponseSchema, ErrorSchema } from "../gen/chatpb/v1/error_pb.js";
import { parse } from "../parse.js";
import { CHUNK, COMPLETION, keyedNames } from "./rules.js";

const ERROR = nameOf(ErrorResponseSchema, "error");
const MESSAGE = nameOf(ErrorSchema, "message");
const [CHOICES = ""] = keyedNames(ChatCompletionChunkSchema);
/** FastAPI's member for an error: a text, or a list of places with texts. OpenAI does not have it. */
const DETAIL = "detail";
/** What errors have too: the kind of an object, and who asked. */
const SHARED = new Set([nameOf(ChatCompletionChunkSchema, "object"), nameOf(ChatCompletionSchema, "requestId")]);
const ANSWERS = new Set([...CHUNK.byName.keys(), ...COMPLETION.byName.keys()]);

function nameOf<Desc extends DescMessage>(schema: Desc, localName: keyof Desc["field"] & string): string {
  const field = schema.field[localName];
  if (field === undefined) throw new Error(`${schema.typeName} has no field ${localName}`);
  return field.name;
}

/** An error that was found in a JSON text. */
export interface FoundError {
  /** The JSON text of an object that is the error. */
  readonly text: string | Uint8Array;
  /** Whether the text holds nothing but the error, so that it is not a chunk as well. */
  readonly isAlone: boolean;
  /** Whether it is the error of a choice: other choices may have none. */
  readonly isOfChoice: boolean;
}

/** Whether `findError` has to read a text, to know whether it is an error. */
function mayBeError(text: string): boolean {
  if (text.includes(`"${ERROR}"`)) return true;
  return (text.includes(`"${MESSAGE}"`) || text.includes(`"${DETAIL}"`)) && !text.includes(`"${CHOICES}"`);
}

const utf8 = new TextDecoder("utf-8", { ignoreBOM: true });

/**
 * Finds the error in what a server sent as a chunk, or as an error.
 *
 * The error is a member of its own: alone, next to members that are null, in a chunk, or in a choice. Or the members of
 * the error are at the top ("flat"), or it is in a list.
 *
 * @throws ConversionError It is not JSON, where it looks like an error.
 */
export function findError(data: Uint8Array): FoundError | undefined {
  if (!mayBeError(utf8.decode(data))) return undefined;
  const value = parse(data, true);
  if (value instanceof Map) return inObject(value, data);
  const first = Array.isArray(value) ? value[0] : undefined;
  if (!(first instanceof Map) || inObject(first, "")?.isAlone !== true) return undefined;
  return { text: dump(first), isAlone: true, isOfChoice: false };
}

/** The error in an object, which was read from a text. */
function inObject(members: JsonMembers, text: string | Uint8Array): FoundError | undefined {
  const error = members.get(ERROR);
  if (isSomething(error)) {
    if ((members.get(CHOICES) ?? null) === null) return { text, isAlone: true, isOfChoice: false };
    return { text: dump(new Map([[ERROR, error]])), isAlone: false, isOfChoice: false };
  }
  const ofChoice = errorOfChoice(members);
  if (ofChoice !== undefined) return { text: dump(new Map([[ERROR, ofChoice]])), isAlone: false, isOfChoice: true };
  if (error !== undefined) {
    const isAnswer = [...members.keys()].some((name) => ANSWERS.has(name)); // null, or empty
    return isAnswer ? undefined : { text, isAlone: true, isOfChoice: false };
  }
  return isFlat(members) ? { text, isAlone: true, isOfChoice: false } : undefined;
}

/** The error of the first choice that has one. */
function errorOfChoice(members: JsonMembers): Json | undefined {
  const elements = members.get(CHOICES);
  if (!Array.isArray(elements)) return undefined;
  for (const choice of elements) {
    const error = choice instanceof Map ? choice.get(ERROR) : undefined;
    if (isSomething(error)) return error;
  }
  return undefined;
}

/** Whether an object is an error whose members are at the top. */
function isFlat(members: JsonMembers): boolean {
  if ((members.get(MESSAGE) ?? members.get(DETAIL) ?? null) === null) return false;
  for (const [name, value] of members) {
    if (value !== null && ANSWERS.has(name) && !SHARED.has(name)) return false;
  }
  return true;
}

/** Whether there is a value that is neither null, false, zero nor empty. A number with a fraction is one. */
function isSomething(value: Json | undefined): value is Json {
  if (value === undefined || value === null || value === false || value === "") return false;
  return value instanceof JsonNumber ? value.text !== "0" : !isEmptyContainer(value);
}
