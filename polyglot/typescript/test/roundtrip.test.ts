import assert from "node:assert/strict";
import { test } from "node:test";
import { binaryToJson, fieldSpans, fromBinary, fromJson, jsonToBinary, residue, toBinary, toJson } from "../src/index.js";
import { RandomJson, seeded } from "./random.js";
import { hex, MIRRORS, recordedTexts, sameValue } from "./support.js";

for (const schema of MIRRORS) {
  test(`any JSON object comes back equal from ${schema.typeName}`, () => {
    const random = new RandomJson(seeded(schema.typeName.length * 7919));
    for (let count = 0; count < 100; count++) {
      const text = random.object(schema);
      const message = fromJson(schema, text);
      const written = toJson(schema, message);
      assert.ok(sameValue(text, written), `${text}\nbecame\n${written}`);
      const data = toBinary(schema, message);
      assert.deepEqual(fromBinary(schema, data), message);
      assert.equal(binaryToJson(schema, data), written);
      assert.equal(hex(jsonToBinary(schema, written)), hex(data));
      assert.equal(hex(jsonToBinary(schema, new TextEncoder().encode(text))), hex(data));
      assert.ok(fieldSpans(schema, data).every(({ name }) => name !== undefined));
      residue(schema, message);
    }
  });
}

const corpus = process.env["CHATPB_CORPUS"];
const WHOLE = MIRRORS.filter(({ name }) => /^(ChatCompletion|ChatCompletionChunk|ChatCompletionRequest|ErrorResponse)$/.test(name));

test("recorded JSON comes back equal, whatever it is read as", { skip: corpus ? false : "CHATPB_CORPUS is not set" }, () => {
  let count = 0;
  for (const { place, text } of recordedTexts(corpus ?? "")) {
    for (const schema of WHOLE) {
      assert.ok(sameValue(text, binaryToJson(schema, jsonToBinary(schema, text))), `${place} as ${schema.name}`);
    }
    count++;
  }
  assert.ok(count > 0);
});
