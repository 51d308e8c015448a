import { ScalarType, type DescField, type DescMessage } from "@bufbuild/protobuf";
import { mappingOf, wordsOf } from "../src/mapping.js";

/** A generator of numbers from 0 to 1 that gives the same ones for the same seed (mulberry32). */
export function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

const NUMBERS = [
  ..."0 -0 -0.0 0.0 1 7 255 256 1.0 1E2 1e-400 1e400 0.1 -0.25 5e-324 1e16 1e21 123456789012345680000".split(" "),
  ..."2147483647 2147483648 9007199254740993 9223372036854775807 9223372036854775808".split(" "),
  "0.1000000000000000055511151231257827",
  "9".repeat(400),
];
const STRINGS = ['""', '"a"', '"é"', '"\\ud83d\\ude00"', '"\\ud800"', '"\ufeffb"', '"\\u0000\\n\\/"', '"aGk="', '"aGl="', '"__proto__"'];

/** Makes JSON texts for message types: members that fit and others, twice, in any order and spelling. */
export class RandomJson {
  constructor(private readonly random: () => number) {}

  object(schema: DescMessage, depth = 4): string {
    const { rules } = mappingOf(schema);
    const share = this.random();
    const members = rules
      .filter(() => this.random() < share)
      .map(({ name, field }) => `"${name}":${this.random() < 0.75 ? this.fitting(field, depth) : this.any(3)}`);
    while (this.random() < 0.3) members.push(`${this.pick(STRINGS)}:${this.any(3)}`);
    if (this.random() < 0.1) members.push(...members.slice(0, 1), '"residue":{}');
    if (this.random() < 0.3) members.sort(() => this.random() - 0.5);
    return `{${members.join(this.pick([",", " ,\n"]))}}`;
  }

  private fitting(field: DescField, depth: number): string {
    if (field.fieldKind === "list") return `[${this.some(() => this.element(field, depth)).join(",")}]`;
    if (field.fieldKind === "map") {
      return `{${this.some(() => `${this.pick(STRINGS)}:${this.element(field, depth)}`).join(",")}}`;
    }
    return this.element(field, depth);
  }

  private element(field: DescField, depth: number): string {
    const { message, enum: desc } = field;
    if (message !== undefined) {
      if (depth === 0) return "{}";
      const mapping = mappingOf(message);
      return mapping.isUnion
        ? this.fitting(this.pick(mapping.rules).field, depth - 1)
        : this.object(message, depth - 1);
    }
    if (desc !== undefined) return `"${this.random() < 0.9 ? this.pick([...wordsOf(desc).byWord.keys()]) : "other"}"`;
    switch (field.scalar) {
      case ScalarType.BOOL:
        return this.pick(["true", "false"]);
      case ScalarType.STRING:
        return this.pick(STRINGS);
      case ScalarType.BYTES:
        return this.pick(['"aGk="', "[97]", "[0,255]", "[256]", "[]", '""']);
      default:
        return this.pick(NUMBERS);
    }
  }

  private any(depth: number): string {
    const kind = this.random();
    if (depth > 0 && kind < 0.2) return `[${this.some(() => this.any(depth - 1)).join(",")}]`;
    if (depth > 0 && kind < 0.4) {
      return `{${this.some(() => `${this.pick(STRINGS)}:${this.any(depth - 1)}`).join(", ")}}`;
    }
    return this.pick([...NUMBERS, ...STRINGS, "null", "true", "false", "[]", "{}"]);
  }

  private some(make: () => string): string[] {
    return Array.from({ length: Math.floor(this.random() * 4) }, make);
  }

  private pick<T>(items: readonly T[]): T {
    return items[Math.floor(this.random() * items.length)] as T;
  }
}
