import { create, type DescField, type DescMessage, type Message } from "@bufbuild/protobuf";
import { FeatureSet_FieldPresence } from "@bufbuild/protobuf/wkt";

/** A message seen as what it is in JavaScript: an object with the local names of its fields. */
export type Members = Message & Record<string, unknown>;

/** The entries of a map field. */
export type Entries = Record<string, unknown>;

interface Choice {
  case?: string;
  value?: unknown;
}

/** The value of a field; undefined where the field has presence and is not set. */
export function getField(message: Members, field: DescField): unknown {
  if (field.oneof !== undefined) {
    const choice = message[field.oneof.localName] as Choice;
    return choice.case === field.localName ? choice.value : undefined;
  }
  return message[field.localName];
}

export function setField(message: Members, field: DescField, value: unknown): void {
  if (field.oneof !== undefined) message[field.oneof.localName] = { case: field.localName, value };
  else message[field.localName] = value;
}

/** Adds an entry to a map field, whatever its key. */
export function setEntry(entries: Entries, key: string, value: unknown): void {
  // An assignment to `__proto__` would set the prototype.
  Object.defineProperty(entries, key, { value, enumerable: true, configurable: true, writable: true });
}

const utf8 = new TextEncoder();

/** The entries of a map field in the order of their keys' bytes. */
export function sortedEntries(entries: Entries): [string, unknown][] {
  return Object.entries(entries)
    .map(([key, value]) => ({ key, value, bytes: utf8.encode(key) }))
    .sort((left, right) => compareBytes(left.bytes, right.bytes))
    .map(({ key, value }) => [key, value]);
}

function compareBytes(left: Uint8Array, right: Uint8Array): number {
  const shorter = Math.min(left.length, right.length);
  for (let at = 0; at < shorter; at++) {
    const difference = (left[at] as number) - (right[at] as number);
    if (difference !== 0) return difference;
  }
  return left.length - right.length;
}

const blanks = new WeakMap<DescMessage, () => Members>();

/** Makes messages of a type, as `create` does, but faster. */
export function blankOf(schema: DescMessage): () => Members {
  let blank = blanks.get(schema);
  if (blank === undefined) {
    const first = create(schema) as Members;
    const isPlain = Object.getPrototypeOf(first) === Object.prototype; // as those of proto3 are
    const own = Object.entries(first).filter(([, value]) => typeof value === "object");
    if (!isPlain || own.some(([, value]) => value instanceof Uint8Array)) blank = () => create(schema) as Members;
    else if (own.length === 0) blank = () => ({ ...first });
    else {
      const copies = own.map(([name, value]) => [name, Array.isArray(value)] as const);
      const oneofs = new Set(schema.oneofs.map((oneof) => oneof.localName));
      blank = () => {
        const message = { ...first };
        for (const [name, isList] of copies) {
          message[name] = isList ? [] : oneofs.has(name) ? { case: undefined } : {};
        }
        return message;
      };
    }
    blanks.set(schema, blank);
  }
  return blank;
}

/** Whether one can tell a field that is unset from one that is zero. */
export function hasPresence(field: DescField): boolean {
  return field.oneof !== undefined || field.presence !== FeatureSet_FieldPresence.IMPLICIT;
}

/** Tells whether a field is set, by what `getField` gives. */
export function isSetOf(field: DescField): (value: unknown) => boolean {
  if (field.fieldKind === "list") return (value) => (value as unknown[]).length > 0;
  if (field.fieldKind === "map") {
    return (value) => {
      for (const _ in value as Entries) return true;
      return false;
    };
  }
  if (field.fieldKind === "message" || hasPresence(field)) return (value) => value !== undefined;
  return (value) => value !== undefined && !isZero(value);
}

/** Whether a value is the zero of its type; minus zero is none. */
export function isZero(value: unknown): boolean {
  return value instanceof Uint8Array
    ? value.length === 0
    : value === false || value === "" || value === 0n || Object.is(value, 0);
}
