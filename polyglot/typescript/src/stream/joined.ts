import { JsonNumber, type Json } from "../document.js";
import { Elements } from "./elements.js";
import { Name, Text } from "./pieces.js";

/** What values of a stream were joined to so far; `finish` makes a JSON value of it. */
export type Value = Json | Joined | Text | Name | Elements | Value[];

/** An object that others are joined into. */
export class Joined {
  readonly members = new Map<string, Value>();
  /** Objects that were sent whole next to their pieces: the members that were sent, each as it was last sent and not empty. */
  readonly wholes = new Map<string, Map<string, Json>>();
}

/** Makes a JSON tree of what was joined. */
export function finish(value: Value): Json {
  if (value instanceof Text || value instanceof Name) return value.finish();
  if (value instanceof Elements) return value.inOrder().map(finish);
  if (Array.isArray(value)) return value.map(finish);
  if (!(value instanceof Joined)) return value;
  const finished = new Map<string, Json>();
  for (const [name, member] of value.members) finished.set(name, finish(member));
  for (const [name, whole] of value.wholes) {
    const pieces = finished.get(name);
    finished.set(name, merge(whole, pieces instanceof Map ? pieces : new Map<string, Json>()));
  }
  return finished;
}

/** The object that was sent whole, where it has all that its pieces make. */
function merge(whole: Map<string, Json>, pieces: Map<string, Json>): Map<string, Json> {
  const merged = new Map([...whole, ...pieces]);
  for (const [name, value] of whole) {
    if (covers(value, pieces.get(name) ?? null)) merged.set(name, value);
  }
  return merged;
}

/** Whether a value has all that another one has, and perhaps more. */
function covers(whole: Json, part: Json): boolean {
  if (part === null) return true;
  if (whole instanceof Map) {
    // An object that was folded as an array of one.
    const object = Array.isArray(part) && part.length === 1 ? (part[0] as Json) : part;
    if (!(object instanceof Map)) return false;
    for (const [name, member] of object) {
      const value = whole.get(name);
      if (value === undefined || !covers(value, member)) return false;
    }
    return true;
  }
  if (Array.isArray(whole)) {
    return Array.isArray(part) && whole.length >= part.length && part.every((each, at) => covers(whole[at] as Json, each));
  }
  if (typeof whole === "string") return typeof part === "string" && whole.startsWith(part);
  return isValue(whole, part);
}

/** Whether what was joined is a value, without pieces that still have to be put together. */
export function isValue(joined: Value, value: Json): boolean {
  if (joined instanceof JsonNumber) {
    return value instanceof JsonNumber && joined.text === value.text && joined.text !== "NaN";
  }
  if (Array.isArray(joined)) {
    return Array.isArray(value) && joined.length === value.length && joined.every((each, at) => isValue(each, value[at] as Json));
  }
  if (joined instanceof Joined || joined instanceof Map) {
    const members: Map<string, Value> = joined instanceof Joined ? joined.members : joined;
    if (!(value instanceof Map) || members.size !== value.size) return false;
    for (const [name, member] of members) {
      const other = value.get(name);
      if (other === undefined || !isValue(member, other)) return false;
    }
    return !(joined instanceof Joined) || joined.wholes.size === 0;
  }
  return joined === value;
}
