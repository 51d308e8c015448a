import { clone, getOption, isFieldSet, type DescField, type DescMessage } from "@bufbuild/protobuf";
import { toBinary } from "../binary.js";
import { ConversionError } from "../errors.js";
import { getField, hasPresence, setField, type Members } from "../fields.js";
import { ChatCompletionChunkSchema, type ChatCompletionChunk } from "../gen/chatpb/v1/chat_completion_chunk_pb.js";
import { carried } from "../gen/chatpb/v1/options_pb.js";

/** The most bytes that a reader restores to a chunk. */
const MAX_RESTORED_BYTES = 64 * 1024;

/** What a response of a stream holds, such as a `StreamChatCompletionResponse`. */
export interface ChunkResponse {
  readonly chunks: readonly ChatCompletionChunk[];
  readonly compactChunks: readonly ChatCompletionChunk[];
}

/** Restores the chunks of one stream, of which some are whole and some are compact: section 10 of docs/mapping.md. */
export class Restorer {
  private before: ChatCompletionChunk | undefined;

  /**
   * The chunks of the next response, all of them whole, made as they are read: read all of them before the next response.
   * They are the caller's to change.
   *
   * @throws ConversionError A compact chunk has no chunk before it, or leaves out too much.
   */
  *add(response: ChunkResponse): Generator<ChatCompletionChunk, void, undefined> {
    for (const chunk of response.chunks) {
      this.before = chunk;
      yield clone(ChatCompletionChunkSchema, chunk);
    }
    for (const compact of response.compactChunks) yield this.restored(compact);
  }

  private restored(compact: ChatCompletionChunk): ChatCompletionChunk {
    if (this.before === undefined) throw new ConversionError("a compact chunk has no chunk before it");
    const chunk = clone(ChatCompletionChunkSchema, compact);
    restore(chunk as Members, this.before as Members, planOf(ChatCompletionChunkSchema));
    const size = toBinary(ChatCompletionChunkSchema, chunk).length;
    if (size - toBinary(ChatCompletionChunkSchema, compact).length > MAX_RESTORED_BYTES) {
      throw new ConversionError(`a compact chunk leaves out more than ${MAX_RESTORED_BYTES} bytes`);
    }
    this.before = chunk;
    return clone(ChatCompletionChunkSchema, chunk);
  }
}

/**
 * The chunks of a stream of responses, all of them whole, as they come.
 *
 * @throws ConversionError As for `Restorer.add`.
 */
export async function* restored(responses: AsyncIterable<ChunkResponse>): AsyncGenerator<ChatCompletionChunk> {
  const restorer = new Restorer();
  for await (const response of responses) yield* restorer.add(response);
}

/** What a descriptor specifies of the carried fields of a message, and of the messages in it. */
interface Plan {
  readonly carried: readonly DescField[];
  /** The fields whose messages have carried fields. */
  readonly inner: readonly (readonly [DescField, Plan])[];
}

const plans = new WeakMap<DescMessage, Plan>();

function planOf(schema: DescMessage): Plan {
  let plan = plans.get(schema);
  if (plan === undefined) {
    const inner: [DescField, Plan][] = [];
    plan = { carried: schema.fields.filter((field) => getOption(field, carried)), inner };
    plans.set(schema, plan); // before the fields: messages recurse
    for (const field of schema.fields) {
      if (field.message === undefined || field.fieldKind === "map" || getOption(field, carried)) continue;
      const below = planOf(field.message);
      if (below.carried.length > 0 || below.inner.length > 0) inner.push([field, below]);
    }
  }
  return plan;
}

/** Sets the fields of a message that were left out. */
function restore(message: Members, before: Members, plan: Plan): void {
  for (const field of plan.carried) {
    if (!isSet(message, field)) {
      const old = isFieldSet(before, field) ? getField(before, field) : undefined;
      if (old !== undefined && !(field.fieldKind === "enum" && old === 0)) setField(message, field, copied(field, old));
    } else if (tellsUnset(field, getField(message, field))) setField(message, field, undefined);
  }
  for (const [field, inner] of plan.inner) {
    const parts = getField(message, field);
    const olds = getField(before, field);
    if (Array.isArray(parts)) {
      for (const [at, part] of parts.entries()) {
        const old = (olds as Members[])[at];
        if (old !== undefined) restore(part as Members, old, inner);
      }
    } else if (parts !== undefined && olds !== undefined) restore(parts as Members, olds as Members, inner);
  }
}

function isSet(message: Members, field: DescField): boolean {
  return field.fieldKind === "enum" && hasPresence(field) ? getField(message, field) !== undefined : isFieldSet(message, field);
}

/** Whether a value in a compact chunk tells that the field is unset: zero of an enum, or an empty message. */
function tellsUnset(field: DescField, value: unknown): boolean {
  if (field.fieldKind === "enum") return value === 0;
  return field.fieldKind === "message" && toBinary(field.message, value as never).length === 0;
}

/** A value that its reader may change. */
function copied(field: DescField, value: unknown): unknown {
  if (field.fieldKind === "message") return clone(field.message, value as never);
  return Array.isArray(value) ? [...(value as unknown[])] : value;
}
