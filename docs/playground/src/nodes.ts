// The binary form as a tree: for each field its bytes, its type and its value as text. Made of the
// bytes themselves, so that what is not canonical, unknown or cut shows as it is.
import { type DescField, type DescMessage, ScalarType } from "@bufbuild/protobuf";
import { fromUtf8, hex } from "./text.js";

/** One field on the wire, or one element of a packed list. */
export interface FieldNode {
  path: string;
  name: string;
  number: number;
  /** Unknown if the message type has no such field. */
  field: DescField | undefined;
  /** The message type of the value, if it is a message whose fields are the children. */
  message: DescMessage | undefined;
  /** Where the tag begins; an element of a packed list has none. */
  start: number;
  /** Where the length begins, or the value if it has no length. */
  lengthStart: number;
  valueStart: number;
  end: number;
  /** The value, shortened; of a message, nothing. */
  text: string;
  parent: FieldNode | undefined;
  children: FieldNode[];
}

/** A whole message: its fields, and where the bytes stop to be one. */
export interface Spans {
  root: FieldNode;
  broken: { offset: number; reason: string; path: string } | undefined;
}

const SHOWN = 160;
const MAX_DEPTH = 220;

class Broken extends Error {
  path = "$";
  constructor(
    readonly reason: string,
    readonly offset: number,
  ) {
    super(reason);
  }
}

/** The fields of a binary message, as far as it can be read. */
export function spansOf(message: DescMessage, bytes: Uint8Array): Spans {
  const root: FieldNode = {
    path: "$",
    name: message.name,
    number: 0,
    field: undefined,
    message,
    start: 0,
    lengthStart: 0,
    valueStart: 0,
    end: bytes.length,
    text: "",
    parent: undefined,
    children: [],
  };
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  try {
    readFields(root, bytes, view, 0);
  } catch (error) {
    if (!(error instanceof Broken)) throw error;
    return { root, broken: error };
  }
  return { root, broken: undefined };
}

/** The innermost field whose bytes hold an offset. */
export function nodeAt(root: FieldNode, offset: number): FieldNode | undefined {
  let found: FieldNode | undefined;
  for (let inside = root.children; inside.length > 0; ) {
    let low = 0;
    let high = inside.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((inside[middle] as FieldNode).end <= offset) low = middle + 1;
      else high = middle;
    }
    const next = inside[low];
    if (next === undefined || offset < next.start) break;
    found = next;
    inside = next.children;
  }
  return found;
}

function readFields(parent: FieldNode, bytes: Uint8Array, view: DataView, depth: number): void {
  const counts = new Map<number, number>();
  const type = parent.message as DescMessage;
  let at = parent.valueStart;
  while (at < parent.end) {
    const start = at;
    let name = "";
    try {
      const [tag, lengthStart] = varint(bytes, at, parent.end);
      const number = Number(tag >> 3n);
      const wire = Number(tag & 7n);
      const field = type.fields.find((other) => other.number === number);
      if (number === 0) throw new Broken("expected a field number, got 0", start);
      const index = counts.get(number) ?? 0;
      counts.set(number, index + 1);
      const isList = field?.fieldKind === "list";
      name = field === undefined ? `<field ${number}>` : field.name + (isList ? `[${index}]` : "");
      const node: FieldNode = {
        path: `${parent.path}.${name}`,
        name,
        number,
        field,
        message: undefined,
        start,
        lengthStart,
        valueStart: lengthStart,
        end: lengthStart,
        text: "",
        parent,
        children: [],
      };
      readValue(node, wire, bytes, view, parent.end, depth);
      if (isList && field.listKind !== "message" && node.children.length > 0) {
        node.name = field.name; // packed: the node is the list
        node.path = `${parent.path}.${field.name}`;
        counts.set(number, index + node.children.length);
      }
      parent.children.push(node);
      at = node.end;
    } catch (error) {
      if (error instanceof Broken && error.path === "$") {
        error.path = name === "" ? parent.path : `${parent.path}.${name}`;
      }
      throw error;
    }
  }
}

function readValue(
  node: FieldNode,
  wire: number,
  bytes: Uint8Array,
  view: DataView,
  limit: number,
  depth: number,
): void {
  const at = node.lengthStart;
  const { field } = node;
  switch (wire) {
    case 0: {
      const [value, end] = varint(bytes, at, limit);
      node.end = end;
      node.text = field === undefined ? `${value}` : varintText(field, value);
      return;
    }
    case 1:
    case 5: {
      const size = wire === 1 ? 8 : 4;
      node.end = need(at, size, limit);
      const isDouble = field !== undefined && scalarOf(field) === ScalarType.DOUBLE && size === 8;
      node.text = isDouble ? numberText(view.getFloat64(at, true)) : hex(bytes.subarray(at, node.end));
      return;
    }
    case 2: {
      const [length, valueStart] = varint(bytes, at, limit);
      node.valueStart = valueStart;
      node.end = need(valueStart, Number(length), limit);
      readBytes(node, bytes, view, depth);
      return;
    }
    default:
      throw new Broken(`expected a field, got wire type ${wire}`, node.start);
  }
}

function readBytes(node: FieldNode, bytes: Uint8Array, view: DataView, depth: number): void {
  const { field } = node;
  const value = bytes.subarray(node.valueStart, node.end);
  if (field?.message !== undefined && field.fieldKind !== "map") {
    if (depth >= MAX_DEPTH) throw new Broken("expected fewer levels", node.start);
    node.message = field.message;
    readFields(node, bytes, view, depth + 1);
  } else if (field?.fieldKind === "map") {
    node.text = mapText(bytes, node);
  } else if (field !== undefined && scalarOf(field) === ScalarType.STRING) {
    const text = fromUtf8(value);
    if (text === undefined) throw new Broken("expected UTF-8", node.valueStart);
    node.text = shortened(text);
  } else if (field?.fieldKind === "list" && scalarOf(field) !== ScalarType.BYTES) {
    readPacked(node, field, bytes);
  } else {
    const more = value.length > SHOWN / 4 ? ` … (${value.length} bytes)` : "";
    node.text = (hex(value.subarray(0, SHOWN / 4)) || "no bytes") + more;
  }
}

function readPacked(node: FieldNode, field: DescField, bytes: Uint8Array): void {
  let at = node.valueStart;
  for (let index = 0; at < node.end; index++) {
    const [value, end] = varint(bytes, at, node.end);
    node.children.push({
      ...node,
      path: `${(node.parent as FieldNode).path}.${field.name}[${index}]`,
      name: `[${index}]`,
      start: at,
      lengthStart: at,
      valueStart: at,
      end,
      text: varintText(field, value),
      parent: node,
      children: [],
    });
    at = end;
  }
}

/** The entry of a map, `"key": "value"`. */
function mapText(bytes: Uint8Array, node: FieldNode): string {
  const parts = ['""', '""'];
  for (let at = node.valueStart; at < node.end; ) {
    const [tag, lengthStart] = varint(bytes, at, node.end);
    const [size, valueStart] = varint(bytes, lengthStart, node.end);
    if ((tag & 7n) !== 2n) {
      at = (tag & 7n) === 0n ? valueStart : need(lengthStart, (tag & 7n) === 1n ? 8 : 4, node.end);
      const view = new DataView(bytes.buffer, bytes.byteOffset);
      const isDouble = (tag & 7n) === 1n;
      parts[1] = isDouble ? numberText(view.getFloat64(lengthStart, true)) : `${size !== 0n}`;
      continue;
    }
    at = need(valueStart, Number(size), node.end);
    const text = fromUtf8(bytes.subarray(valueStart, at));
    parts[(tag >> 3n) - 1n === 0n ? 0 : 1] = text === undefined ? "…" : shortened(text);
  }
  return parts.join(": ");
}

function varint(bytes: Uint8Array, at: number, limit: number): [bigint, number] {
  let value = 0n;
  for (let index = 0; index < 10; index++) {
    if (at + index >= limit) throw new Broken("expected the rest of a number, got the end", at);
    const byte = bytes[at + index] as number;
    value |= BigInt(byte & 0x7f) << BigInt(7 * index);
    if (byte < 0x80) return [value, at + index + 1];
  }
  throw new Broken("expected a number of at most ten bytes", at);
}

function need(at: number, size: number, limit: number): number {
  if (size > limit - at) throw new Broken(`expected ${size} bytes, got ${limit - at}`, at);
  return at + size;
}

function scalarOf(field: DescField): ScalarType | undefined {
  return field.fieldKind === "scalar" || field.fieldKind === "list" ? field.scalar : undefined;
}

function varintText(field: DescField, value: bigint): string {
  if (field.enum !== undefined) {
    const number = Number(BigInt.asIntN(32, value));
    const known = field.enum.values.find((other) => other.number === number);
    return `${known?.name ?? "unknown"} = ${number}`;
  }
  switch (scalarOf(field)) {
    case ScalarType.BOOL:
      return `${value !== 0n}`;
    case ScalarType.INT32:
    case ScalarType.INT64:
      return `${BigInt.asIntN(64, value)}`;
    default:
      return `${value}`;
  }
}

function numberText(value: number): string {
  return Object.is(value, -0) ? "-0" : String(value);
}

function shortened(text: string): string {
  const shown = text.length > SHOWN ? text.slice(0, SHOWN) : text;
  const more = text.length > SHOWN ? ` … (${text.length} characters)` : "";
  return JSON.stringify(shown) + more;
}
