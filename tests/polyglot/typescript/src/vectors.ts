import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { equals, fromJson as fromJsonView, toJson as toJsonView, type DescMessage } from "@bufbuild/protobuf";
import { ConversionError, fromBinary, residue, toBinary } from "chatpb";
import * as v1 from "chatpb/v1";
import { cores, type Core } from "./cores.js";
import { checkField, type Assertion } from "./fields.js";
import type { Report } from "./report.js";
import { sameJson } from "./values.js";

interface Vector {
  name: string;
  message_type: string;
  invalid?: boolean;
  form?: "json" | "binary";
  path?: string;
  offset?: number | null;
  reason?: string;
}

const schemas = new Map(
  Object.values(v1)
    .filter((each): each is typeof each & DescMessage => typeof each === "object" && "kind" in each && each.kind === "message")
    .map((schema) => [schema.typeName as string, schema as DescMessage]),
);

export function schemaOf(vector: Pick<Vector, "message_type">): DescMessage {
  const schema = schemas.get(vector.message_type);
  if (schema === undefined) throw new Error(`no message ${vector.message_type}`);
  return schema;
}

/** Whether a reason is that of the vector. Behind it may follow what to do in this language, and how it quotes what came. */
function hasReason(vector: Pick<Vector, "reason">, reason: string): boolean {
  const expected = vector.reason ?? "";
  return ["", "; ", ": ", ", got "].some((next) => (next ? reason.startsWith(expected + next) : reason === expected));
}

async function vectorsIn(folder: string): Promise<Vector[]> {
  return JSON.parse(await readFile(join(folder, "manifest.json"), "utf8")) as Vector[];
}

export async function checkVectors(folder: string, report: Report): Promise<void> {
  for (const vector of await vectorsIn(folder)) {
    await checkValid(join(folder, vector.name), "binpb", vector, report);
    await report.run("json", vector.name, async () => {
      for (const core of cores) await checkJson(core, join(folder, vector.name), schemaOf(vector));
    });
  }
  const binary = join(folder, "binary");
  for (const vector of await vectorsIn(binary)) {
    const file = join(binary, vector.name);
    if (!vector.invalid) await checkValid(file, "canonical.binpb", vector, report);
    else {
      const data = await readFile(`${file}.binpb`);
      await report.run("reject", vector.name, () =>
        assert.throws(() => fromBinary(schemaOf(vector), data), ConversionError),
      );
    }
  }
}

async function checkValid(file: string, canonical: string, vector: Vector, report: Report): Promise<void> {
  const schema = schemaOf(vector);
  const data = await readFile(`${file}.binpb`);
  await report.run("parse", vector.name, async () => {
    const rows = JSON.parse(await readFile(`${file}.fields.json`, "utf8")) as Assertion[];
    const message = fromBinary(schema, data);
    for (const row of rows) checkField(schema, message, row);
  });
  await report.run("serialize", vector.name, async () => {
    sameBytes(await readFile(`${file}.${canonical}`), toBinary(schema, fromBinary(schema, data)));
  });
  await report.run("json_view", vector.name, () => {
    const message = fromBinary(schema, data);
    const read = fromJsonView(schema, JSON.parse(JSON.stringify(toJsonView(schema, message))));
    assert.ok(equals(schema, message, read), "the JSON view gives another message");
  });
}

export function sameBytes(expected: Uint8Array, found: Uint8Array): void {
  assert.equal(Buffer.from(found).toString("hex"), Buffer.from(expected).toString("hex"));
}

const TOKEN = /("(?:[^"\\]|\\.)*")|([[\]{},:])/g;
const SPACED = " \r\n$1$2\t ";

async function checkJson({ binaryToJson, jsonToBinary, toJson, fromJson }: Core, file: string, schema: DescMessage): Promise<void> {
  const binary = await readFile(`${file}.binpb`);
  const data = await readFile(`${file}.json`);
  const text = data.toString("utf8").replace(/^\ufeff/, "");
  for (const each of [data, text, `\ufeff${text}`, text.replace(TOKEN, SPACED)]) {
    sameBytes(binary, jsonToBinary(schema, each));
  }
  const written = binaryToJson(schema, binary);
  sameJson(text, written);
  sameBytes(binary, jsonToBinary(schema, written));
  const message = fromJson(schema, data);
  sameBytes(binary, toBinary(schema, message));
  assert.equal(toJson(schema, message), written);
  for (const { path, state, value } of residue(schema, fromBinary(schema, binary))) {
    if (state !== "extra" || value === undefined) continue;
    assert.ok(written.includes(value), `${path} is not spelled ${value}`);
  }
}

export async function checkInvalid(folder: string, report: Report): Promise<void> {
  const invalid = join(folder, "invalid");
  for (const vector of await vectorsIn(invalid)) {
    const isJson = vector.form === "json";
    const data = await readFile(join(invalid, `${vector.name}.${isJson ? "json" : "binpb"}`));
    await report.run("json", `invalid/${vector.name}`, () => {
      for (const { fromJson, jsonToBinary, binaryToJson } of cores) {
        for (const convert of isJson ? [fromJson, jsonToBinary] : [binaryToJson]) {
          refuses(vector, () => convert(schemaOf(vector), data));
        }
      }
    });
  }
}

/** Throws if something is not refused for the reason of a vector. */
export function refuses(expected: Pick<Vector, "path" | "offset" | "reason">, run: () => unknown): void {
  assert.throws(run, (error) => {
    assert.ok(error instanceof ConversionError, String(error));
    assert.deepEqual([error.path, error.offset ?? null], [expected.path ?? "$", expected.offset ?? null]);
    assert.ok(hasReason(expected, error.reason), `${error.reason}, not ${expected.reason}`);
    return true;
  });
}
