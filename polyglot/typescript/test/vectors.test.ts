import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import {
  binaryToJson,
  ConversionError,
  fieldSpans,
  fromBinary,
  fromJson,
  jsonToBinary,
  residue,
  toBinary,
  toJson,
  toJsonBytes,
} from "../src/index.js";
import { hasReason, hex, sameValue, schemaOf, VECTORS, vectorsIn } from "./support.js";

for (const vector of vectorsIn(VECTORS)) {
  const file = join(VECTORS, vector.name);
  test(`vector ${vector.name}`, () => {
    const schema = schemaOf(vector);
    const json = readFileSync(`${file}.json`);
    const binary = new Uint8Array(readFileSync(`${file}.binpb`));
    const message = fromBinary(schema, binary);
    assert.deepEqual(fromJson(schema, json), message);
    assert.deepEqual(fromJson(schema, json.toString("utf8")), message);
    assert.equal(hex(jsonToBinary(schema, json)), hex(binary));
    assert.equal(hex(toBinary(schema, message)), hex(binary));
    const written = binaryToJson(schema, binary);
    assert.ok(sameValue(json.toString("utf8"), written), written);
    assert.equal(new TextDecoder().decode(toJsonBytes(schema, message)), written);
    assert.equal(residue(schema, message).length > 0, vector.residue ?? true);
    for (const { state, value } of residue(schema, message)) {
      if (state === "extra" && value !== undefined) assert.ok(written.includes(value), value);
    }
  });
}

const BINARY = join(VECTORS, "binary");
for (const vector of vectorsIn(BINARY)) {
  test(`binary vector ${vector.name}`, () => {
    const schema = schemaOf(vector);
    const data = new Uint8Array(readFileSync(join(BINARY, `${vector.name}.binpb`)));
    if (vector.invalid) {
      assert.throws(() => fromBinary(schema, data), ConversionError);
      assert.throws(() => fieldSpans(schema, data), ConversionError);
      return;
    }
    const expected = readFileSync(join(BINARY, `${vector.name}.canonical.binpb`));
    assert.equal(hex(toBinary(schema, fromBinary(schema, data))), hex(expected));
    let at = 0;
    for (const { start, valueStart, end } of fieldSpans(schema, data)) {
      assert.equal(start, at);
      assert.ok(start < valueStart && valueStart <= end);
      at = end;
    }
    assert.equal(at, data.length);
  });
}

const INVALID = join(VECTORS, "invalid");
for (const vector of vectorsIn(INVALID)) {
  test(`invalid vector ${vector.name}`, () => {
    const isJson = vector.form === "json";
    const data = readFileSync(join(INVALID, `${vector.name}.${isJson ? "json" : "binpb"}`));
    const error = refusal(() => (isJson ? fromJson : binaryToJson)(schemaOf(vector), data));
    assert.deepEqual([error.path, error.offset ?? null], [vector.path, vector.offset ?? null]);
    assert.ok(hasReason(vector, error.reason), `${error.reason}, not ${vector.reason}`);
  });
}

const COMPLETION = schemaOf({ name: "", message_type: "chatpb.v1.ChatCompletion" });
const LOGPROB = schemaOf({ name: "", message_type: "chatpb.v1.ChatCompletionTokenLogprob" });

for (const [member, opening, closing, step, offset] of [
  ['{"x":', "[", "]", "[0]", 5 + 199],
  ['{"x":', '{"a":', "}", ".a", 5 + 199 * 5],
  ['{"choices":', "[", "]", "[0]", 11 + 199],
] as const) {
  test(`texts deeper than 200 levels are refused: ${member}${opening}`, () => {
    const nested = (levels: number): string =>
      `${member}${opening.repeat(levels - 1)}0${closing.repeat(levels - 1)}}`;
    assert.equal(residue(COMPLETION, fromJson(COMPLETION, nested(200))).at(-1)?.value, nested(200).slice(member.length, -1));
    assert.ok(toJson(COMPLETION, fromJson(COMPLETION, nested(200))).includes(nested(200).slice(1, -1)));
    const error = refusal(() => fromJson(COMPLETION, nested(201)));
    assert.equal(error.reason, "nested deeper than 200 levels");
    assert.deepEqual([error.path, error.offset], [`$.${member.slice(2, -2)}${step.repeat(199)}`, offset]);
  });
}

test("numbers that are not finite are kept on demand", () => {
  for (const word of ["NaN", "Infinity", "-Infinity"]) {
    const text = `{"token":"a","logprob":${word},"bytes":[97],"top_logprobs":[],"x":${word}}`;
    const message = fromJson(LOGPROB, text, { allowNan: true });
    assert.equal(toJson(LOGPROB, message, { allowNan: true }), text);
    assert.match(refusal(() => fromJson(LOGPROB, text)).reason, /is not JSON; pass allowNan/);
    assert.match(refusal(() => toJson(LOGPROB, message)).reason, /is not/);
  }
});

test("what the schema does not know is left out on demand", () => {
  for (const name of ["unknown_field", "unknown_field_below", "unknown_enum_value", "residue_unknown_number"]) {
    const data = readFileSync(join(INVALID, `${name}.binpb`));
    JSON.parse(binaryToJson(COMPLETION, data, { ignoreUnknownFields: true }));
  }
});

test("a message that mirrors no object is refused", () => {
  const union = schemaOf({ name: "", message_type: "chatpb.v1.MessageContent" });
  assert.throws(() => fromJson(union, "{}"), TypeError);
});

test("fields are named in their spans", () => {
  const text = '{"id":"c","metadata":{"k":"v"},"choices":[{"index":1,"finish_reason":"stop"}]}';
  const spans = fieldSpans(COMPLETION, jsonToBinary(COMPLETION, text));
  const [id, choices, metadata] = spans;
  assert.deepEqual([id?.name, id?.type, id?.value, id?.start, id?.valueStart, id?.end], ["id", "string", "c", 0, 2, 3]);
  assert.deepEqual([choices?.name, choices?.type], ["choices", "chatpb.v1.Choice"]);
  assert.equal(choices?.children.find(({ name }) => name === "finish_reason")?.enumValue, "FINISH_REASON_STOP");
  assert.deepEqual(metadata?.children.map(({ name, value }) => [name, value]), [["key", "k"], ["value", "v"]]);
});

function refusal(run: () => unknown): ConversionError {
  try {
    run();
  } catch (error) {
    if (error instanceof ConversionError) return error;
    throw error;
  }
  throw new Error("nothing was refused");
}
