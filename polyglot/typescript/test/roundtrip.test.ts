import assert from "node:assert/strict";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { binaryToJson, fieldSpans, fromBinary, fromJson, jsonToBinary, residue, toBinary, toJson } from "../src/index.js";
import { ChatCompletionMessageSchema, ChoiceSchema, FinishReason } from "../src/v1.js";
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

test("what is set after reading is written", () => {
  const choice = fromJson(ChoiceSchema, '{"index":"1","message":"text","finish_reason":"eos","x":1}');
  choice.finishReason = FinishReason.STOP;
  choice.message = create(ChatCompletionMessageSchema, { content: "hi" });
  const message = '{"role":"assistant","content":"hi","refusal":null,"annotations":[]}';
  assert.ok(sameValue(`{"index":"1","message":${message},"finish_reason":"stop","x":1}`, toJson(ChoiceSchema, choice)));
  const parts = fromJson(ChatCompletionMessageSchema, '{"role":"assistant","content":7}');
  parts.contentParts = '[ {"type": "text"} ]';
  assert.equal(toJson(ChatCompletionMessageSchema, parts), '{"role":"assistant","content":[{"type":"text"}]}');
  parts.content = "hi";
  assert.equal(toJson(ChatCompletionMessageSchema, parts), '{"role":"assistant","content":"hi"}');
  choice.finishReason = FinishReason.UNSPECIFIED;
  assert.ok(toJson(ChoiceSchema, choice).includes('"finish_reason":"eos"'));
});
