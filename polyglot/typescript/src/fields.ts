import type { DescField, Message } from "@bufbuild/protobuf";

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
