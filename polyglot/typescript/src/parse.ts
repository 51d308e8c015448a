import { JsonNumber, type Json, type JsonMembers } from "./document.js";
import { ConversionError, pathOf, type Step } from "./errors.js";

/** How many containers may stand in one another. */
export const MAX_DEPTH = 200;
export const TOO_DEEP = `nested deeper than ${MAX_DEPTH} levels`;

const NUMBER = /-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?/y;
const WORD = /true|false|null|NaN|-?Infinity/y;
const WORDS: ReadonlyMap<string, boolean | null> = new Map([["true", true], ["false", false], ["null", null]]);
const ESCAPE = /\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})/y;
const utf8 = new TextEncoder();
const strictUtf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** Reads a JSON text, in UTF-8 if it is bytes; a byte order mark and white space may stand around the value. */
export function parse(text: string | Uint8Array, allowNan = false): Json {
  return new Parser(typeof text === "string" ? text : decode(text, allowNan), allowNan).document();
}

/** The text of UTF-8 bytes, with a byte order mark if they have one. */
export function decode(data: Uint8Array, allowNan = false): string {
  try {
    return strictUtf8.decode(data);
  } catch {
    const end = firstBadByte(data);
    const parser = new Parser(new TextDecoder("utf-8", { ignoreBOM: true }).decode(data.subarray(0, end)), allowNan);
    throw new ConversionError("not UTF-8", parser.pathAtFault(), end);
  }
}

/** Where bytes cease to be UTF-8: the beginning of the first sequence that is none. */
function firstBadByte(data: Uint8Array): number {
  let at = 0;
  while (at < data.length) {
    const first = data[at] as number;
    const size = first < 0x80 ? 1 : first < 0xc2 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : first < 0xf5 ? 4 : 0;
    if (size === 0) return at;
    for (let index = 1; index < size; index++) {
      const low = index > 1 ? 0x80 : first === 0xe0 ? 0xa0 : first === 0xf0 ? 0x90 : 0x80;
      const high = index > 1 ? 0xbf : first === 0xed ? 0x9f : first === 0xf4 ? 0x8f : 0xbf;
      const byte = data[at + index];
      if (byte === undefined || byte < low || byte > high) return at;
    }
    at += size;
  }
  return at;
}

/** A reader of one JSON text that knows where it is. */
export class Parser {
  private at: number;
  /** A member name, an index, or undefined where there is none yet, for each container around. */
  private steps: (Step | undefined)[] = [];

  constructor(
    private readonly text: string,
    private readonly allowNan: boolean,
  ) {
    this.at = text.startsWith("\ufeff") ? 1 : 0;
  }

  document(): Json {
    const value = this.value();
    this.skipSpace();
    if (this.at < this.text.length) this.fail(`expected the end of the text, got ${this.seen()}`);
    return value;
  }

  /** Reads the value that begins here, in so many containers. An error does not tell its path. */
  part(start: number, depth: number): Json {
    this.at = start;
    this.steps.length = depth;
    return this.value();
  }

  /** Where the value that was read last ends. */
  get end(): number {
    return this.at;
  }

  /** The path of the first fault. */
  pathAtFault(): string {
    try {
      this.document();
    } catch (error) {
      if (error instanceof ConversionError) return error.path;
      throw error;
    }
    return "$";
  }

  private fail(reason: string): never {
    const offset = utf8.encode(this.text.slice(0, this.at)).length;
    throw new ConversionError(reason, pathOf(this.steps), offset);
  }

  private seen(): string {
    const rest = [...this.text.slice(this.at, this.at + 24)].slice(0, 12).join("");
    return rest ? represent(rest) : "the end of the text";
  }

  private skipSpace(): void {
    for (;;) {
      const unit = this.text.charCodeAt(this.at);
      if (unit !== 0x20 && unit !== 0x0a && unit !== 0x0d && unit !== 0x09) return;
      this.at++;
    }
  }

  private match(pattern: RegExp): string {
    pattern.lastIndex = this.at;
    const found = pattern.exec(this.text)?.[0] ?? "";
    this.at += found.length;
    return found;
  }

  private value(): Json {
    this.skipSpace();
    switch (this.text[this.at]) {
      case "{":
        return this.object();
      case "[":
        return this.array();
      case '"':
        return this.string();
    }
    const start = this.at;
    const word = this.match(WORD);
    const known = WORDS.get(word);
    if (known !== undefined) return known;
    if (word) {
      if (this.allowNan) return new JsonNumber(word);
      this.at = start;
      this.fail(`${word} is not JSON; pass allowNan to keep it`);
    }
    const number = this.match(NUMBER);
    return number ? new JsonNumber(number) : this.fail(`expected a value, got ${this.seen()}`);
  }

  private open(step: Step | undefined): void {
    if (this.steps.length >= MAX_DEPTH) this.fail(TOO_DEEP);
    this.at++;
    this.steps.push(step);
    this.skipSpace();
  }

  private close(): void {
    this.at++;
    this.steps.pop();
  }

  /** Reads what follows an element: whether another one comes. */
  private hasNext(closing: string): boolean {
    this.skipSpace();
    const sign = this.text[this.at];
    if (sign === closing) return false;
    if (sign !== ",") {
      this.steps[this.steps.length - 1] = undefined;
      this.fail(`expected ',' or '${closing}', got ${this.seen()}`);
    }
    this.at++;
    return true;
  }

  private array(): Json[] {
    this.open(0);
    const items: Json[] = [];
    if (this.text[this.at] !== "]") {
      do {
        this.steps[this.steps.length - 1] = items.length;
        items.push(this.value());
      } while (this.hasNext("]"));
    }
    this.close();
    return items;
  }

  private object(): JsonMembers {
    this.open(undefined);
    const members: JsonMembers = new Map();
    if (this.text[this.at] !== "}") {
      do {
        const name = this.name();
        members.set(name, this.value());
      } while (this.hasNext("}"));
    }
    this.close();
    return members;
  }

  private name(): string {
    this.steps[this.steps.length - 1] = undefined;
    this.skipSpace();
    if (this.text[this.at] !== '"') this.fail(`expected a member name in double quotes, got ${this.seen()}`);
    const name = this.string();
    this.skipSpace();
    if (this.text[this.at] !== ":") this.fail(`expected ':' after a member name, got ${this.seen()}`);
    this.at++;
    this.steps[this.steps.length - 1] = name;
    return name;
  }

  private string(): string {
    const start = this.at++;
    let isPlain = true;
    for (;;) {
      const unit = this.text.charCodeAt(this.at);
      if (unit === 0x22) {
        this.at++;
        const literal = this.text.slice(start, this.at);
        return isPlain ? literal.slice(1, -1) : (JSON.parse(literal) as string);
      }
      if (unit === 0x5c) {
        isPlain = false;
        if (!this.match(ESCAPE)) this.fail(`expected an escape sequence, got ${this.seen()}`);
      } else if (unit < 0x20) {
        this.fail(`expected a control character to be escaped, got ${this.seen()}`);
      } else if (Number.isNaN(unit)) {
        this.fail("expected the end of a string, got the end of the text");
      } else {
        this.at++;
      }
    }
  }
}

/** A text in quotes, on one line. */
function represent(text: string): string {
  const quotes = text.includes("'") && !text.includes('"') ? '"' : "'";
  const escapes: Record<string, string> = { "\n": "\\n", "\r": "\\r", "\t": "\\t", "\\": "\\\\", [quotes]: `\\${quotes}` };
  const escaped = text.replace(/[\p{C}\p{Z}\\'"]/gu, (sign) => {
    const code = sign.codePointAt(0) ?? 0;
    if (sign === " " || ((sign === "'" || sign === '"') && sign !== quotes)) return sign;
    const hex = code.toString(16);
    return escapes[sign] ?? (code < 0x100 ? `\\x${hex.padStart(2, "0")}` : code < 0x10000 ? `\\u${hex.padStart(4, "0")}` : `\\U${hex.padStart(8, "0")}`);
  });
  return quotes + escaped + quotes;
}
