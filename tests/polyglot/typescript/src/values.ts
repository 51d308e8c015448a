import { isDeepStrictEqual } from "node:util";

const TOKEN = /"(?:[^"\\]+|\\.)*"|-?[0-9][0-9.eE+-]*/gs;

/** Throws if two JSON texts are not the same value: objects without order, numbers by value. */
export function sameJson(expected: string, found: string): void {
  if (!isDeepStrictEqual(valueOf(expected), valueOf(found))) {
    throw new Error(`expected the value of ${expected.slice(0, 300)}, got ${found.slice(0, 300)}`);
  }
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
