// The binary form as a tree: for each field its bytes, its type and its value as text. Made of the
// bytes themselves, so that what is not canonical or unknown shows as it is.
import type { DescField, DescMessage } from "@bufbuild/protobuf";
import { type FieldSpan, type SpanValue, fieldSpans } from "./convert.js";
import { hex } from "./text.js";

/** One field on the wire. */
export interface FieldNode {
  path: string;
  name: string;
  number: number;
  /** Undefined if the schema does not know the field, and for the parts of a map's entry. */
  field: DescField | undefined;
  isKnown: boolean;
  /** The message type of the value, if it is a message whose fields are the children. */
  message: DescMessage | undefined;
  /** Where the tag begins. */
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

const SHOWN = 160;
const SHOWN_BYTES = 40;

/**
 * The fields of a binary message.
 *
 * @throws ConversionError: The bytes are no message of the type.
 */
export function nodesOf(message: DescMessage, bytes: Uint8Array): FieldNode {
  const root: FieldNode = {
    path: "$",
    name: message.name,
    number: 0,
    field: undefined,
    isKnown: true,
    message,
    start: 0,
    lengthStart: 0,
    valueStart: 0,
    end: bytes.length,
    text: "",
    parent: undefined,
    children: [],
  };
  addChildren(root, fieldSpans(message, bytes), bytes);
  return root;
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

/** Where the tag or the number that begins at an offset ends. */
export function varintEnd(bytes: Uint8Array, at: number): number {
  while (((bytes[at] ?? 0) & 0x80) !== 0) at++;
  return at + 1;
}

function addChildren(parent: FieldNode, spans: readonly FieldSpan[], bytes: Uint8Array): void {
  const counts = new Map<number, number>();
  for (const span of spans) {
    const field = parent.message?.fields.find(({ number }) => number === span.number);
    const index = counts.get(span.number) ?? 0;
    const several = Array.isArray(span.value) ? span.value.length : 1;
    counts.set(span.number, index + several);
    let name = span.name ?? `<field ${span.number}>`;
    if (field?.fieldKind === "list" && !Array.isArray(span.value)) name += `[${index}]`;
    const node: FieldNode = {
      path: `${parent.path}.${name}`,
      name,
      number: span.number,
      field: span.name === undefined ? undefined : field,
      isKnown: span.name !== undefined,
      message: field?.fieldKind === "map" ? undefined : field?.message,
      start: span.start,
      lengthStart: varintEnd(bytes, span.start),
      valueStart: span.valueStart,
      end: span.end,
      text: textOf(span, field, bytes),
      parent,
      children: [],
    };
    if (node.message !== undefined || field?.fieldKind === "map") addChildren(node, span.children, bytes);
    parent.children.push(node);
  }
}

function textOf(span: FieldSpan, field: DescField | undefined, bytes: Uint8Array): string {
  const { value } = span;
  if (span.name === undefined) return bytesText(bytes.subarray(span.valueStart, span.end));
  if (value === undefined) return "";
  if (isList(value)) {
    const more = value.length > SHOWN_BYTES ? `, … (${value.length} values)` : "";
    return `[${value.slice(0, SHOWN_BYTES).map((each) => valueText(each, field)).join(", ")}${more}]`;
  }
  return valueText(value, field);
}

function valueText(value: SpanValue, field: DescField | undefined): string {
  if (value instanceof Uint8Array) return bytesText(value);
  if (typeof value === "string") return shortened(value);
  if (field?.enum !== undefined && typeof value === "number") {
    return `${field.enum.values.find(({ number }) => number === value)?.name ?? "unknown"} = ${value}`;
  }
  return Object.is(value, -0) ? "-0" : String(value);
}

function isList(value: FieldSpan["value"]): value is readonly SpanValue[] {
  return Array.isArray(value);
}

function bytesText(bytes: Uint8Array): string {
  const more = bytes.length > SHOWN_BYTES ? ` … (${bytes.length} bytes)` : "";
  return (hex(bytes.subarray(0, SHOWN_BYTES)) || "no bytes") + more;
}

function shortened(text: string): string {
  const shown = text.length > SHOWN ? text.slice(0, SHOWN) : text;
  const more = text.length > SHOWN ? ` … (${text.length} characters)` : "";
  return JSON.stringify(shown) + more;
}
