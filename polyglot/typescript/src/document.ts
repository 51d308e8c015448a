/** The text of a JSON number: its spelling matters. */
export class JsonNumber {
  constructor(readonly text: string) {}

  /** Whether it has neither fraction nor exponent. */
  get isInteger(): boolean {
    return /^-?[0-9]+$/.test(this.text);
  }

  /** The nearest double. */
  get value(): number {
    return Number(this.text);
  }
}

/** The members of a JSON object, in the order in which they came. */
export type JsonMembers = Map<string, Json>;

/** A JSON value, with nothing lost but white space, escapes and all but the last of duplicate members. */
export type Json = null | boolean | string | JsonNumber | Json[] | JsonMembers;

/** What a JSON value is, in words. */
export function kindOf(value: Json): string {
  if (value === null) return "null";
  if (typeof value === "boolean") return "a boolean";
  if (typeof value === "string") return "a string";
  if (value instanceof JsonNumber) return "a number";
  return Array.isArray(value) ? "an array" : "an object";
}

/** Whether a value is an array or an object without elements. */
export function isEmpty(value: Json): boolean {
  return Array.isArray(value) ? value.length === 0 : value instanceof Map && value.size === 0;
}

/** How many containers stand in one another in a value. */
export function depthOf(value: Json): number {
  if (!Array.isArray(value) && !(value instanceof Map)) return 0;
  let deepest = 0;
  for (const each of value.values()) deepest = Math.max(deepest, depthOf(each));
  return deepest + 1;
}

/** A string as JSON text: only what must be escaped is. */
export function quote(text: string): string {
  return JSON.stringify(text); // which escapes lone surrogates, and what it must, in lower case
}

/** Writes a value as compact text: numbers as they were written, members in their order. */
export function dump(value: Json): string {
  if (value === null || typeof value === "boolean") return String(value);
  if (typeof value === "string") return quote(value);
  if (value instanceof JsonNumber) return value.text;
  if (Array.isArray(value)) return `[${value.map(dump).join(",")}]`;
  const members: string[] = [];
  for (const [name, member] of value) members.push(`${quote(name)}:${dump(member)}`);
  return `{${members.join(",")}}`;
}

/**
 * Whether two values are equal: objects without order, numbers by value; but minus zero is not zero, and a number with a
 * fraction or an exponent is no integer.
 */
export function equal(left: Json, right: Json): boolean {
  if (left instanceof JsonNumber && right instanceof JsonNumber) return sameNumber(left, right);
  if (Array.isArray(left) && Array.isArray(right)) {
    return left.length === right.length && left.every((each, index) => equal(each, right[index] as Json));
  }
  if (left instanceof Map && right instanceof Map) {
    if (left.size !== right.size) return false;
    for (const [name, member] of left) {
      const other = right.get(name);
      if (other === undefined || !equal(member, other)) return false;
    }
    return true;
  }
  return left === right;
}

function sameNumber(left: JsonNumber, right: JsonNumber): boolean {
  if (left.text === right.text) return true; // an integer has one spelling only
  return !left.isInteger && !right.isInteger && Object.is(left.value, right.value);
}

/** The shortest decimal that is the double, never without a fraction or an exponent. */
export function doubleText(value: number): string {
  if (Object.is(value, -0)) return "-0.0";
  if (Math.abs(value) >= 1e16 || (value !== 0 && Math.abs(value) < 1e-5)) return value.toExponential();
  return Number.isInteger(value) ? `${value}.0` : String(value);
}
