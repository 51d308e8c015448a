import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { test } from "node:test";
import * as library from "../src/index.js";

const SOURCE = new URL("../../src/", import.meta.url);

test("the public names are these", () => {
  assert.deepEqual(Object.keys(library).sort(), [
    "ChunkDecoder",
    "ConversionError",
    "Folder",
    "Restorer",
    "binaryToJson",
    "fieldSpans",
    "fold",
    "fromBinary",
    "fromJson",
    "jsonToBinary",
    "readChunks",
    "residue",
    "restored",
    "toBinary",
    "toJson",
    "toJsonBytes",
    "unfold",
  ]);
});

test("chatpb/v1 has all that is generated", () => {
  const index = readFileSync(new URL("v1.ts", SOURCE), "utf8");
  const generated = readdirSync(new URL("gen/chatpb/v1/", SOURCE)).map((name) => name.replace(/\.ts$/, ".js"));
  const exported = [...index.matchAll(/from "\.\/gen\/chatpb\/v1\/(.*)"/g)].map((found) => found[1]);
  assert.deepEqual(exported.sort(), generated.sort());
});

test("no name of a field and no word of OpenAI's stands in the library", () => {
  const names = (readdirSync(SOURCE, { recursive: true }) as string[]).filter(
    (name) => name.endsWith(".ts") && name !== "v1.ts" && !name.startsWith("gen"),
  );
  const text = names.map((name) => readFileSync(new URL(name, SOURCE), "utf8").replace(/\/\*\*.*?\*\//gs, "")).join("\n");
  for (const word of ["choices", "logprobs", "finish_reason", "assistant", "chat.completion", "tool_calls"]) {
    assert.ok(!text.includes(word), word);
  }
});
