import { fromBinary, toBinary } from "../binary.js";
import { ChatCompletionChunkSchema, type ChatCompletionChunk } from "../gen/chatpb/v1/chat_completion_chunk_pb.js";
import { ChatCompletionSchema, type ChatCompletion } from "../gen/chatpb/v1/chat_completion_pb.js";
import { ChunkDecoder as ChunkDecoderOf, readChunks as readChunksWith, type ByteSource, type StreamOptions } from "../stream/chunks.js";
import type { FoldOptions } from "../stream/fold.js";
import type { ChunkResponse } from "../stream/restore.js";
import { fromJson } from "./convert.js";
import { Handle, IGNORE_UNKNOWN_FIELDS, instance } from "./instance.js";

function flagsOf(options: FoldOptions): number {
  return options.ignoreUnknownFields ? IGNORE_UNKNOWN_FIELDS : 0;
}

const chunkBytes = (chunk: ChatCompletionChunk): Uint8Array => toBinary(ChatCompletionChunkSchema, chunk);
const chunkOf = (data: Uint8Array): ChatCompletionChunk => fromBinary(ChatCompletionChunkSchema, data);

/** As `fold` of `chatpb`. */
export function fold(chunks: Iterable<ChatCompletionChunk>, options: FoldOptions = {}): ChatCompletion {
  const folder = new Folder(options);
  for (const chunk of chunks) folder.add(chunk);
  return folder.finish();
}

/** As `Folder` of `chatpb`. It is finished once. */
export class Folder {
  private readonly handle: Handle;

  constructor(options: FoldOptions = {}) {
    this.handle = new Handle("folder", flagsOf(options));
  }

  /** As `add` of the `Folder` of `chatpb`. */
  add(chunk: ChatCompletionChunk): void {
    this.handle.instance.pieces("chatpb_folder_add", [this.handle.pointer], chunkBytes(chunk));
  }

  /** As `finish` of the `Folder` of `chatpb`. */
  finish(): ChatCompletion {
    const [completion] = this.handle.instance.ended("chatpb_folder_finish", this.handle.pointer);
    return fromBinary(ChatCompletionSchema, completion as Uint8Array);
  }
}

/** As `unfold` of `chatpb`. */
export function unfold(completion: ChatCompletion, options: FoldOptions = {}): ChatCompletionChunk[] {
  const data = toBinary(ChatCompletionSchema, completion);
  return instance().pieces("chatpb_unfold", [], data, flagsOf(options)).map(chunkOf);
}

/** As `Restorer` of `chatpb`. */
export class Restorer {
  private readonly handle = new Handle("restorer");

  /** As `add` of the `Restorer` of `chatpb`. */
  *add(response: ChunkResponse): Generator<ChatCompletionChunk, void, undefined> {
    const { instance: core, pointer } = this.handle;
    for (const chunk of response.chunks) {
      const data = chunkBytes(chunk);
      core.pieces("chatpb_restorer_follow", [pointer], data);
      yield chunkOf(data);
    }
    for (const compact of response.compactChunks) {
      yield* core.pieces("chatpb_restorer_restore", [pointer], chunkBytes(compact)).map(chunkOf);
    }
  }
}

/** As `restored` of `chatpb`. */
export async function* restored(responses: AsyncIterable<ChunkResponse>): AsyncGenerator<ChatCompletionChunk> {
  const restorer = new Restorer();
  for await (const response of responses) yield* restorer.add(response);
}

/** As `ChunkDecoder` of `chatpb`. */
export class ChunkDecoder extends ChunkDecoderOf {
  constructor(options: StreamOptions = {}) {
    super(options, fromJson);
  }
}

/** As `readChunks` of `chatpb`. */
export function readChunks(
  source: ByteSource,
  options: StreamOptions | ChunkDecoderOf = {},
): AsyncGenerator<ChatCompletionChunk> {
  return readChunksWith(source, options instanceof ChunkDecoderOf ? options : new ChunkDecoder(options));
}
