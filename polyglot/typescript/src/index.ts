import type { DescMessage } from "@bufbuild/protobuf";
import { fromBinary, toBinary } from "./binary.js";
import { fromJson, type ReadOptions } from "./read.js";
import { toJson, type WriteOptions } from "./write.js";
import type { MessageShape } from "@bufbuild/protobuf";

export { fromBinary, toBinary } from "./binary.js";
export { ConversionError } from "./errors.js";
export { fromJson, type ReadOptions } from "./read.js";
export { residue, type ResidueMember } from "./residue.js";
export { fieldSpans, type FieldSpan, type SpanValue } from "./spans.js";
export { ChunkDecoder, readChunks, type ByteSource, type StreamOptions } from "./stream/chunks.js";
export { fold, Folder, type FoldOptions } from "./stream/fold.js";
export { restored, Restorer, type ChunkResponse } from "./stream/restore.js";
export { unfold } from "./stream/unfold.js";
export { toJson, type WriteOptions } from "./write.js";

/** Writes a message as `toJson` does, in UTF-8. */
export function toJsonBytes<Desc extends DescMessage>(
  schema: Desc,
  message: MessageShape<Desc>,
  options?: WriteOptions,
): Uint8Array {
  return new TextEncoder().encode(toJson(schema, message, options));
}

/** The binary form of the message that the text of a JSON object stands for. */
export function jsonToBinary(schema: DescMessage, text: string | Uint8Array, options?: ReadOptions): Uint8Array {
  return toBinary(schema, fromJson(schema, text, options));
}

/** The text of the JSON object that the binary form of a message stands for. */
export function binaryToJson(schema: DescMessage, data: Uint8Array, options?: WriteOptions): string {
  return toJson(schema, fromBinary(schema, data), options);
}
