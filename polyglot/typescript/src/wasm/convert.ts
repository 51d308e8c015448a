import type { DescMessage, MessageShape } from "@bufbuild/protobuf";
import { fromBinary, toBinary } from "../binary.js";
import { checked, hasLoneSurrogate } from "../errors.js";
import { fromJson as fromJsonPure, mirror, type ReadOptions } from "../read.js";
import type { WriteOptions } from "../write.js";
import { ALLOW_NAN, IGNORE_UNKNOWN_FIELDS, instance } from "./instance.js";

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { ignoreBOM: true });

/** As `jsonToBinary` of `chatpb`. */
export function jsonToBinary(schema: DescMessage, text: string | Uint8Array, options: ReadOptions = {}): Uint8Array {
  checked(text, true);
  // UTF-8 has no lone surrogates, which may be in a string as they are.
  if (typeof text === "string" && hasLoneSurrogate(text)) return toBinary(schema, fromJsonPure(schema, text, options));
  const data = typeof text === "string" ? encoder.encode(text) : text;
  const core = instance();
  const [binary] = core.pieces("chatpb_json_to_binary", [], data, core.typeOf(mirror(schema)), options.allowNan ? ALLOW_NAN : 0);
  return binary as Uint8Array;
}

/** As `toJsonBytes` of `chatpb`, of the binary form of a message. */
export function binaryToJsonBytes(schema: DescMessage, data: Uint8Array, options: WriteOptions = {}): Uint8Array {
  const core = instance();
  const flags = (options.allowNan ? ALLOW_NAN : 0) | (options.ignoreUnknownFields ? IGNORE_UNKNOWN_FIELDS : 0);
  const [json] = core.pieces("chatpb_binary_to_json", [], checked(data, false), core.typeOf(mirror(schema)), flags);
  return json as Uint8Array;
}

/** As `binaryToJson` of `chatpb`. */
export function binaryToJson(schema: DescMessage, data: Uint8Array, options?: WriteOptions): string {
  return decoder.decode(binaryToJsonBytes(schema, data, options));
}

/** As `fromJson` of `chatpb`. */
export function fromJson<Desc extends DescMessage>(
  schema: Desc,
  text: string | Uint8Array,
  options?: ReadOptions,
): MessageShape<Desc> {
  return fromBinary(schema, jsonToBinary(schema, text, options));
}

/** As `toJson` of `chatpb`. */
export function toJson<Desc extends DescMessage>(schema: Desc, message: MessageShape<Desc>, options?: WriteOptions): string {
  return binaryToJson(schema, toBinary(schema, message), options);
}

/** As `toJsonBytes` of `chatpb`. */
export function toJsonBytes<Desc extends DescMessage>(
  schema: Desc,
  message: MessageShape<Desc>,
  options?: WriteOptions,
): Uint8Array {
  return binaryToJsonBytes(schema, toBinary(schema, message), options);
}
