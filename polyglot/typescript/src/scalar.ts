import { ScalarType, type DescField } from "@bufbuild/protobuf";
import { WireType } from "@bufbuild/protobuf/wire";
import type { ByteWriter } from "./bytes.js";
import type { WireReader } from "./wire.js";

/** How a scalar or an enum stands in bytes. */
export interface ScalarCodec {
  readonly wireType: WireType;
  readonly zero: unknown;
  read(reader: WireReader): unknown;
  write(writer: ByteWriter, value: never): void;
}

const int32: ScalarCodec = {
  wireType: WireType.Varint,
  zero: 0,
  read: (reader) => reader.int32(),
  write: (writer, value) => writer.int32(value),
};

const CODECS: ReadonlyMap<ScalarType, ScalarCodec> = new Map<ScalarType, ScalarCodec>([
  [ScalarType.INT32, int32],
  [
    ScalarType.INT64,
    {
      wireType: WireType.Varint,
      zero: 0n,
      read: (reader) => BigInt.asIntN(64, reader.varint()),
      write: (writer, value) => writer.int64(value),
    },
  ],
  [
    ScalarType.UINT32,
    {
      wireType: WireType.Varint,
      zero: 0,
      read: (reader) => Number(BigInt.asUintN(32, reader.varint())),
      write: (writer, value) => writer.uint32(value),
    },
  ],
  [
    ScalarType.BOOL,
    {
      wireType: WireType.Varint,
      zero: false,
      read: (reader) => reader.varint() !== 0n,
      write: (writer, value) => writer.bool(value),
    },
  ],
  [
    ScalarType.DOUBLE,
    {
      wireType: WireType.Bit64,
      zero: 0,
      read: (reader) => reader.double(),
      write: (writer, value) => writer.double(value),
    },
  ],
  [
    ScalarType.STRING,
    {
      wireType: WireType.LengthDelimited,
      zero: "",
      read: (reader) => reader.text(),
      write: (writer, value) => writer.string(value),
    },
  ],
  [
    ScalarType.BYTES,
    {
      wireType: WireType.LengthDelimited,
      zero: new Uint8Array(),
      read: (reader) => reader.bytes().slice(),
      write: (writer, value) => writer.bytes(value),
    },
  ],
]);

/** How the values of a field that holds no messages stand in bytes. */
export function codecOf(type: ScalarType | undefined, field: DescField): ScalarCodec {
  const codec = type === undefined ? int32 : CODECS.get(type); // an enum is an int32
  if (codec === undefined) throw new Error(`${field} has a type that chatpb.v1 does not use`);
  return codec;
}
