// The reader in one pass gives what the reader of trees gives.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import type { DescMessage } from "@bufbuild/protobuf";
import { fromJson, toBinary } from "../src/index.js";
import { readTree } from "../src/read.js";
import { hex, schemaOf, VECTORS, vectorsIn } from "./support.js";

const TEXTS = vectorsIn(VECTORS).map((vector) => ({
  schema: schemaOf(vector),
  text: readFileSync(join(VECTORS, `${vector.name}.json`), "utf8"),
}));

const PIECES = [
  '"', "\\", "{", "}", "[", "]", ",", ":", " ", "\n", "null", "true", "-0", "-0.0", "0", "00", "1e5", "1E+2", ".5", "-", "1.", "NaN",
  "12345678901234567890", "0.1234567890123456789", "9007199254740993", "2147483648", "\ud83d", "\\ud83d", "\\u00e9", "\u00e9", "\u0001",
  '"bytes":[1,2],', '"token":"a",', '"index":1,', "[]", "{}", "[97]", "256", '"x":1,', "\ufeff",
];

/** A generator of numbers below 2 ** 32 that is the same in each run. */
function* numbers(seed: number): Generator<number, never> {
  for (let state = seed; ; ) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    yield state;
  }
}

function outcome(schema: DescMessage, read: () => unknown): string {
  try {
    return hex(toBinary(schema, read() as never));
  } catch (error) {
    return String(error);
  }
}

test("both readers give the same messages and errors", () => {
  const random = numbers(18);
  const below = (limit: number): number => random.next().value % limit;
  for (let round = 0; round < 20_000; round++) {
    const { schema, text } = TEXTS[round % TEXTS.length] as (typeof TEXTS)[0];
    let mutated = text;
    for (let edits = round < TEXTS.length ? 0 : 1 + below(3); edits > 0; edits--) {
      const at = below(mutated.length + 1);
      const other = below(mutated.length + 1);
      const rest = mutated.slice(at + below(4));
      const piece = below(3) === 0 ? mutated.slice(other, other + below(40)) : (PIECES[below(PIECES.length)] as string);
      mutated = mutated.slice(0, at) + piece + rest;
    }
    const allowNan = below(2) === 0;
    const expected = outcome(schema, () => readTree(schema, mutated, allowNan));
    assert.equal(outcome(schema, () => fromJson(schema, mutated, { allowNan })), expected, mutated);
  }
});
