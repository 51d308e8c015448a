// The one place that calls the library.
import type { DescMessage } from "@bufbuild/protobuf";
import {
  ConversionError,
  type FieldSpan,
  type SpanValue,
  binaryToJson,
  fieldSpans,
  fromBinary,
  jsonToBinary,
  residue,
} from "../../../polyglot/typescript/src/index.js";
import type { ResidueRow } from "./residue.js";

export { ConversionError, type FieldSpan, type SpanValue, binaryToJson, fieldSpans, fromBinary, jsonToBinary };

/** What the typed fields of a binary message cannot say. */
export function residueRows(type: DescMessage, bytes: Uint8Array): ResidueRow[] {
  return residue(type, fromBinary(type, bytes)).map(({ path, state, value = "" }) => ({ path, state, value }));
}
