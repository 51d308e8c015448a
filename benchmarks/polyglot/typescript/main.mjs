// Measures the TypeScript library beside JSON.parse and JSON.stringify: OpenAI's JSON in UTF-8 to a message and back.
// Usage: node main.mjs [--seconds S] FILE... For each file and operation it prints a line: the file's name without its
// ending, the operation, the peer, and the least nanoseconds of ours and of the peer.
import { readFileSync } from "node:fs";
import { basename } from "node:path";
import { parseArgs } from "node:util";
import * as pure from "../../../polyglot/typescript/dist/index.js";
import * as wasm from "../../../polyglot/typescript/dist/wasm/node.js";
import { ChatCompletionSchema } from "../../../polyglot/typescript/dist/v1.js";

await wasm.init();
const CORES = new Map([["", pure], [" (wasm)", wasm]]);

const { values, positionals } = parseArgs({
  options: { seconds: { type: "string", default: "1" } },
  allowPositionals: true,
});
const seconds = Number(values.seconds);
const decoder = new TextDecoder();
const encoder = new TextEncoder();

/** The JSON of a binary message, in UTF-8. */
function binaryToJson(core, binary) {
  return core.binaryToJsonBytes?.(ChatCompletionSchema, binary) ?? encoder.encode(core.binaryToJson(ChatCompletionSchema, binary));
}

/** The least nanoseconds of each of two functions, which alternate, after they have been warmed up. */
function least(ours, peer) {
  const best = [Infinity, Infinity];
  const run = (seconds) => {
    const end = process.hrtime.bigint() + BigInt(Math.round(seconds * 1e9));
    do {
      for (const [index, measured] of [ours, peer].entries()) {
        const start = process.hrtime.bigint();
        let rounds = 0;
        let spent;
        do {
          measured();
          rounds++;
          spent = Number(process.hrtime.bigint() - start);
        } while (spent < 20_000); // the clock is not exact for less
        best[index] = Math.min(best[index], spent / rounds);
      }
    } while (process.hrtime.bigint() < end);
  };
  run(Math.min(seconds, 1));
  best.fill(Infinity);
  run(seconds);
  return best;
}

for (const path of positionals) {
  const data = new Uint8Array(readFileSync(path));
  const tree = JSON.parse(decoder.decode(data));
  const binary = pure.jsonToBinary(ChatCompletionSchema, data);
  const message = pure.fromBinary(ChatCompletionSchema, binary);
  const parse = () => JSON.parse(decoder.decode(data));
  const stringify = () => encoder.encode(JSON.stringify(tree));
  for (const [name, core] of CORES) {
    const operations = [
      ["json_to_binary", "JSON.parse", () => core.jsonToBinary(ChatCompletionSchema, data), parse],
      ["from_json", "JSON.parse", () => core.fromJson(ChatCompletionSchema, data), parse],
      ["binary_to_json", "JSON.stringify", () => binaryToJson(core, binary), stringify],
      ["to_json", "JSON.stringify", () => core.toJsonBytes(ChatCompletionSchema, message), stringify],
    ];
    for (const [operation, peer, ours, theirs] of operations) {
      const found = least(ours, theirs).map((time) => time.toFixed(0));
      console.log([basename(path).replace(/\.[^.]*$/, ""), operation + name, peer, ...found].join("\t"));
    }
  }
}
