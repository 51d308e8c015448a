// Texts and bytes: hexadecimal, base64, UTF-8 offsets, white space in JSON.

const encoder = new TextEncoder();
const strict = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

export function utf8(text: string): Uint8Array {
  return encoder.encode(text);
}

/** The text of UTF-8 bytes, or undefined if they are none. */
export function fromUtf8(bytes: Uint8Array): string | undefined {
  try {
    return strict.decode(bytes);
  } catch {
    return undefined;
  }
}

export function hex(bytes: Uint8Array, separator = " "): string {
  return Array.from(bytes, hexByte).join(separator);
}

export function hexByte(byte: number): string {
  return byte.toString(16).padStart(2, "0");
}

export function base64(bytes: Uint8Array): string {
  let binary = "";
  for (let at = 0; at < bytes.length; at += 0x8000) {
    binary += String.fromCharCode(...bytes.subarray(at, at + 0x8000));
  }
  return btoa(binary);
}

/** A text that is neither hexadecimal nor base64, and where that shows. */
export class BytesError extends Error {
  constructor(
    readonly reason: string,
    readonly index: number,
  ) {
    super(reason);
  }
}

/** Bytes written as text, and the index in the text at which each byte begins. */
export interface WrittenBytes {
  form: "hex" | "base64";
  bytes: Uint8Array;
  indexOf(byte: number): number;
}

/**
 * Reads bytes written in hexadecimal or base64. What can be hexadecimal is taken for it: digits in
 * pairs, with white space, commas, colons and `0x` between.
 */
export function parseBytes(text: string): WrittenBytes {
  const digits: number[] = [];
  let bad = -1;
  for (let at = 0; at < text.length; at++) {
    const char = text[at] as string;
    if (/[0-9a-fA-F]/.test(char)) {
      if (char === "0" && /[xX]/.test(text[at + 1] ?? "") && digits.length % 2 === 0) at++;
      else digits.push(at);
    } else if (!/[\s,:]/.test(char)) {
      bad = at;
      break;
    }
  }
  if (bad >= 0) return parseBase64(text, bad);
  if (digits.length % 2 === 1) {
    throw new BytesError(
      "expected two hexadecimal digits for each byte, got one at the end",
      digits[digits.length - 1] as number,
    );
  }
  const bytes = new Uint8Array(digits.length / 2);
  for (let at = 0; at < bytes.length; at++) {
    const high = text[digits[2 * at] as number] as string;
    bytes[at] = parseInt(high + (text[digits[2 * at + 1] as number] as string), 16);
  }
  return { form: "hex", bytes, indexOf: (byte) => digits[2 * byte] ?? text.length };
}

function parseBase64(text: string, notHex: number): WrittenBytes {
  const letters: number[] = [];
  let plain = "";
  for (let at = 0; at < text.length; at++) {
    const char = text[at] as string;
    if (/\s/.test(char)) continue;
    if (!/[A-Za-z0-9+/_=-]/.test(char)) {
      const reason = `expected hexadecimal or base64, got ${JSON.stringify(char)}`;
      throw new BytesError(reason, at);
    }
    letters.push(at);
    plain += char === "-" ? "+" : char === "_" ? "/" : char;
  }
  let binary: string;
  try {
    binary = atob(plain);
  } catch {
    throw new BytesError("expected hexadecimal or whole base64", notHex);
  }
  const bytes = Uint8Array.from(binary, (char) => char.charCodeAt(0));
  const indexOf = (byte: number) => letters[Math.floor((byte * 4) / 3)] ?? text.length;
  return { form: "base64", bytes, indexOf };
}

/** The index in a string of a byte offset in its UTF-8. */
export function indexOfOffset(text: string, offset: number): number {
  let bytes = 0;
  let at = 0;
  while (at < text.length && bytes < offset) {
    const code = text.codePointAt(at) as number;
    bytes += code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    at += code < 0x10000 ? 1 : 2;
  }
  return at;
}

/** The line and column, from 1, of an index in a text. */
export function lineAndColumn(text: string, index: number): [number, number] {
  const before = text.slice(0, index);
  return [before.split("\n").length, index - before.lastIndexOf("\n")];
}

/** JSON text without the white space between tokens; every token stays as it is spelled. */
export function compactJson(text: string): string {
  return text.replace(/^\uFEFF/, "").replace(/("(?:[^"\\]|\\.)*")|[ \t\r\n]+/g, "$1");
}

/** JSON text on lines; every token stays as it is spelled. */
export function indentJson(text: string): string {
  const parts: string[] = [];
  let depth = 0;
  const line = () => parts.push("\n", "  ".repeat(depth));
  const tokens = compactJson(text).match(/"(?:[^"\\]|\\.)*"|[{}[\],:]|[^{}[\],:"]+/g) ?? [];
  tokens.forEach((token, at) => {
    if (token === "{" || token === "[") {
      parts.push(token);
      depth++;
      if (!isClosing(tokens[at + 1])) line();
    } else if (isClosing(token)) {
      depth--;
      if (!/^[{[]$/.test(tokens[at - 1] ?? "")) line();
      parts.push(token);
    } else if (token === ",") {
      parts.push(token);
      line();
    } else {
      parts.push(token === ":" ? ": " : token);
    }
  });
  return parts.join("");
}

function isClosing(token: string | undefined): boolean {
  return token === "}" || token === "]";
}
