import { ScalarType, type DescEnum, type DescField, type DescMessage } from "@bufbuild/protobuf";
import { WireType } from "@bufbuild/protobuf/wire";
import { ConversionError } from "./errors.js";
import { codecOf } from "./scalar.js";
import { MAX_NESTING, WireError, WireReader } from "./wire.js";

/** A field in bytes: its tag, its value, and the fields in that. */
export interface FieldSpan {
  readonly number: number;
  /** The name in the schema; undefined for a field that the schema does not know. */
  readonly name: string | undefined;
  /** The type as a .proto file says it: `string`, `int64`, `chatpb.v1.Choice`. */
  readonly type: string | undefined;
  readonly wireType: WireType;
  /** Where the tag begins. */
  readonly start: number;
  /** Where the value begins, behind the tag and the length. */
  readonly valueStart: number;
  /** Where the field ends. */
  readonly end: number;
  /** What a scalar holds, and an array of that for a packed list; undefined for messages and unknown fields. */
  readonly value: SpanValue | readonly SpanValue[] | undefined;
  /** The name of the value of an enum, if the schema knows it. */
  readonly enumValue: string | undefined;
  /** The fields of a message or of an entry of a map. */
  readonly children: readonly FieldSpan[];
}

export type SpanValue = string | number | bigint | boolean | Uint8Array;

/**
 * The fields of the binary form of a message, in the order of the bytes, with the place of each.
 *
 * @throws ConversionError: The bytes are no message of the type.
 */
export function fieldSpans(schema: DescMessage, data: Uint8Array): FieldSpan[] {
  try {
    return [...spansOf(shapesOf(schema), new WireReader(data), 0)];
  } catch (error) {
    if (!(error instanceof WireError)) throw error;
    throw new ConversionError(`not the binary form of a ${schema.typeName}: ${error.message}`);
  }
}

/** What the schema says of the bytes of a field, or of the key or the value of a map. */
interface Shape {
  readonly name: string;
  readonly type: string;
  readonly scalar: ScalarType | undefined;
  readonly enum: DescEnum | undefined;
  readonly field: DescField;
  readonly isList: boolean;
  /** The fields inside. */
  readonly inner: (() => ReadonlyMap<number, Shape>) | undefined;
}

const known = new WeakMap<DescMessage, ReadonlyMap<number, Shape>>();

function shapesOf(schema: DescMessage): ReadonlyMap<number, Shape> {
  let shapes = known.get(schema);
  if (shapes === undefined) {
    shapes = new Map(schema.fields.map((field) => [field.number, shapeOf(field)]));
    known.set(schema, shapes);
  }
  return shapes;
}

function shapeOf(field: DescField): Shape {
  const { message } = field;
  const value: Shape = {
    name: field.name,
    type: field.enum?.typeName ?? message?.typeName ?? ScalarType[field.scalar ?? 0]?.toLowerCase() ?? "",
    scalar: field.scalar,
    enum: field.enum,
    field,
    isList: field.fieldKind === "list",
    inner: message && (() => shapesOf(message)),
  };
  if (field.fieldKind !== "map") return value;
  const keyType = ScalarType[field.mapKey].toLowerCase();
  const key: Shape = { ...value, name: "key", type: keyType, scalar: field.mapKey, enum: undefined, inner: undefined };
  const entry = new Map([
    [1, key],
    [2, { ...value, name: "value" }],
  ]);
  return { ...value, type: `map<${keyType}, ${value.type}>`, scalar: undefined, enum: undefined, inner: () => entry };
}

function* spansOf(shapes: ReadonlyMap<number, Shape>, reader: WireReader, depth: number): Generator<FieldSpan> {
  if (depth > 2 * MAX_NESTING) throw new WireError("messages that nest too deep");
  for (let start = reader.at; reader.next(); start = reader.at) {
    const { number, type: wireType } = reader;
    const tagEnd = reader.at;
    reader.skip();
    const end = reader.at;
    const again = new WireReader(reader.data, tagEnd, end);
    const content = wireType === WireType.LengthDelimited ? again.inside() : again;
    const valueStart = content.at;
    const shape = shapes.get(number);
    const inner = wireType === WireType.LengthDelimited ? shape?.inner?.() : undefined;
    const value = shape && valueOf(shape, wireType, new WireReader(reader.data, tagEnd, end), content);
    const fits = value !== undefined || inner !== undefined;
    yield {
      number,
      name: fits ? shape?.name : undefined,
      type: fits ? shape?.type : undefined,
      wireType,
      start,
      valueStart,
      end,
      value,
      enumValue: shape?.enum?.values.find((each) => each.number === value)?.name,
      children: inner === undefined ? [] : [...spansOf(inner, content, depth + 1)],
    };
  }
}

/** The value of a scalar or an enum; undefined if the bytes have another wire type. */
function valueOf(shape: Shape, wireType: WireType, reader: WireReader, content: WireReader): FieldSpan["value"] {
  if (shape.inner !== undefined) return undefined;
  const codec = codecOf(shape.scalar, shape.field);
  if (wireType === codec.wireType) return codec.read(reader) as SpanValue;
  if (!shape.isList || wireType !== WireType.LengthDelimited) return undefined;
  const values: SpanValue[] = [];
  while (content.at < content.end) values.push(codec.read(content) as SpanValue);
  return values;
}
