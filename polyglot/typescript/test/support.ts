import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { isDeepStrictEqual } from "node:util";
import type { DescMessage } from "@bufbuild/protobuf";
import * as v1 from "../src/v1.js";

/** The golden vectors, from the folder build/test in which this file runs. */
export const VECTORS = new URL("../../../../tests/vectors/", import.meta.url).pathname;

/** An entry of a manifest of vectors. */
export interface Vector {
  name: string;
  message_type: string;
  /** Whether the message has residues; it has if that is not said. */
  residue?: boolean;
  invalid?: boolean;
  form?: "json" | "binary";
  path?: string;
  offset?: number | null;
  reason?: string;
}

/** Whether a reason is that of the vector. Behind it may follow what to do in this language, and how it quotes what came. */
export function hasReason(vector: Vector, reason: string): boolean {
  const expected = vector.reason ?? "";
  return ["", "; ", ": ", ", got "].some((next) => (next ? reason.startsWith(expected + next) : reason === expected));
}

export function vectorsIn(folder: string): Vector[] {
  return JSON.parse(readFileSync(join(folder, "manifest.json"), "utf8")) as Vector[];
}

/** All message types of the schema. */
export const SCHEMAS: ReadonlyMap<string, DescMessage> = new Map(
  Object.values(v1)
    .filter((each): each is typeof each & DescMessage => typeof each === "object" && "kind" in each && each.kind === "message")
    .map((schema) => [schema.typeName as string, schema as DescMessage]),
);

/** Those that mirror a JSON object. */
export const MIRRORS: readonly DescMessage[] = [...SCHEMAS.values()].filter((schema) =>
  schema.fields.some((field) => field.message?.typeName === v1.ResidueSchema.typeName),
);

export function schemaOf(vector: Vector): DescMessage {
  const schema = SCHEMAS.get(vector.message_type);
  if (schema === undefined) throw new Error(`no message ${vector.message_type}`);
  return schema;
}

export const hex = (data: Uint8Array): string => Buffer.from(data).toString("hex");

const TOKEN = /"(?:[^"\\]+|\\.)*"|-?[0-9][0-9.eE+-]*/gs;

/** Whether two JSON texts are the same value: objects without order, numbers by value. */
export function sameValue(left: string, right: string): boolean {
  return isDeepStrictEqual(valueOf(left), valueOf(right));
}

/** The value of a text, with strings and names marked, and with numbers as texts, which hold any number. */
function valueOf(text: string): unknown {
  const marked = text.replace(/^\ufeff/, "").replace(TOKEN, (token) =>
    token.startsWith('"') ? `"s${token.slice(1)}` : `"n${numberText(token)}"`,
  );
  return JSON.parse(marked);
}

function numberText(token: string): string {
  const number = Number(token);
  if (/^-?[0-9]+$/.test(token)) return String(BigInt(token));
  return Number.isInteger(number) ? String(BigInt(number)) : String(number);
}

/** The JSON texts of recorded files: those of .json, the lines of .jsonl, and the data of .sse. */
export function* recordedTexts(folder: string): Generator<{ place: string; text: string }> {
  for (const name of readdirSync(folder, { recursive: true }) as string[]) {
    const ending = /\.(json|jsonl|sse)$/.exec(name)?.[1];
    if (ending === undefined) continue;
    const content = readFileSync(join(folder, name), "utf8");
    const texts =
      ending === "json" ? [content] : ending === "jsonl" ? content.split("\n") : content.split(/\r?\n\r?\n/).map(dataOf);
    for (const [index, text] of texts.entries()) {
      if (text.trim() !== "" && text !== "[DONE]") yield { place: `${name}:${index + 1}`, text };
    }
  }
}

function dataOf(event: string): string {
  return [...event.matchAll(/^data: ?(.*?)\r?$/gm)].map((found) => found[1]).join("\n");
}
