import { checked, ConversionError } from "../errors.js";
import { ChatCompletionChunkSchema, type ChatCompletionChunk } from "../gen/chatpb/v1/chat_completion_chunk_pb.js";
import { ErrorResponseSchema, type ErrorResponse } from "../gen/chatpb/v1/error_pb.js";
import { fromJson } from "../read.js";
import { findError } from "./errors.js";
import { EventDecoder, type StreamEvent } from "./events.js";

export interface StreamOptions {
  /** The most bytes that one event may have, a whole line of it and the data of the lines before it; 64 MiB by default. */
  readonly maxEventBytes?: number;
  /** Whether NaN, Infinity and -Infinity, which are not JSON, are accepted. */
  readonly allowNan?: boolean;
}

const MAX_EVENT_BYTES = 64 * 1024 * 1024;

/**
 * Turns the bytes of an event stream, however they arrive, into chunks.
 *
 * An event named `error`, or whose data is an error wherever servers put one, is not a chunk: it is in `error`. A chunk
 * that has an error next to its choices is given, and its error is in `error` too, as is that of a choice. Chunks that
 * follow are still given.
 */
export class ChunkDecoder {
  /** The first error event, or else the first error in a chunk; undefined without one. */
  error: ErrorResponse | undefined;
  /** Whether `error` is that of one choice of a chunk, so that others go on. */
  isErrorOfChoice = false;
  /** Whether the event that ends a stream has come. Some servers never send it. */
  isDone = false;
  private isErrorInChunk = false;
  private readonly events: EventDecoder;
  private readonly allowNan: boolean;
  private failure: ConversionError | undefined;

  /** `read` is what reads JSON. */
  constructor(
    options: StreamOptions = {},
    private readonly read: typeof fromJson = fromJson,
  ) {
    const most = options.maxEventBytes ?? MAX_EVENT_BYTES;
    if (!Number.isSafeInteger(most) || most < 0) throw new RangeError(`expected a number of bytes, got ${most}`);
    this.events = new EventDecoder(most);
    this.allowNan = options.allowNan ?? false;
  }

  /**
   * Takes the next bytes and gives the chunks that they complete.
   *
   * @throws ConversionError An event is longer than it may be, or its data is not a JSON object. The chunks before it are
   * given first, and the error is thrown by the next call.
   */
  feed(data: Uint8Array): ChatCompletionChunk[] {
    if (this.failure !== undefined) throw this.failure;
    const { events, failure } = this.events.feed(checked(data, false));
    return this.chunks(events, failure);
  }

  /**
   * Gives the chunks that the end of the stream completes. To be called until it gives none.
   *
   * @throws ConversionError As for `feed`.
   */
  close(): ChatCompletionChunk[] {
    if (this.failure !== undefined) throw this.failure;
    return this.chunks(this.events.close(), undefined);
  }

  private chunks(events: readonly StreamEvent[], failure: ConversionError | undefined): ChatCompletionChunk[] {
    const chunks: ChatCompletionChunk[] = [];
    this.failure = failure;
    try {
      for (const event of events) this.take(event, chunks);
    } catch (error) {
      if (!(error instanceof ConversionError)) throw error;
      if (chunks.length === 0) throw error;
      this.failure = error;
      return chunks;
    }
    if (failure !== undefined && events.length === 0) throw failure;
    return chunks;
  }

  private take(event: StreamEvent, chunks: ChatCompletionChunk[]): void {
    if (event.isDone) {
      this.isDone = true;
      return;
    }
    const found = findError(event.data);
    const isAlone = event.event === "error" || found?.isAlone === true;
    const needsError = this.error === undefined || this.isErrorInChunk;
    let error: ErrorResponse | undefined;
    if (needsError && (isAlone || found !== undefined)) {
      error = this.read(ErrorResponseSchema, found?.text ?? event.data, { allowNan: true });
    }
    const chunk = isAlone
      ? undefined
      : this.read(ChatCompletionChunkSchema, event.data, { allowNan: this.allowNan });
    if (error !== undefined) {
      const isOfChoice = found?.isOfChoice === true && !isAlone;
      if (this.error === undefined || chunk === undefined || (this.isErrorOfChoice && !isOfChoice)) {
        this.error = error;
        this.isErrorOfChoice = isOfChoice;
      }
      this.isErrorInChunk = chunk !== undefined;
    }
    if (chunk !== undefined) chunks.push(chunk);
  }
}

/** Bytes that arrive: the `body` of a `Response`, a stream of Node, or anything else that gives them in pieces. */
export type ByteSource = ReadableStream<Uint8Array> | AsyncIterable<Uint8Array> | Iterable<Uint8Array>;

/**
 * The chunks of an event stream, as they come.
 *
 * The generator ends with the stream. An error that the server sent is in `decoder.error`, if a decoder is given:
 * `decoder` in place of the options.
 *
 * @throws ConversionError As for `ChunkDecoder.feed`.
 */
export async function* readChunks(
  source: ByteSource,
  options: StreamOptions | ChunkDecoder = {},
): AsyncGenerator<ChatCompletionChunk> {
  const decoder = options instanceof ChunkDecoder ? options : new ChunkDecoder(options);
  for await (const data of piecesOf(source)) yield* decoder.feed(data);
  for (;;) {
    const chunks = decoder.close();
    if (chunks.length === 0) return;
    yield* chunks;
  }
}

async function* piecesOf(source: ByteSource): AsyncGenerator<Uint8Array> {
  if (!("getReader" in source)) {
    yield* source;
    return;
  }
  const reader = source.getReader(); // Safari's streams cannot be iterated
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      yield value;
    }
  } finally {
    await reader.cancel().catch(() => undefined); // no-op at the end; otherwise the reader has stopped
    reader.releaseLock();
  }
}
