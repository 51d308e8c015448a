// Reads most texts of JSON objects into messages in one pass, without a tree. What it does not know it leaves to the
// reader of trees in read.ts, which has the rules of the mapping: a value, an object, or the whole text. Both give the
// same messages; the tests compare them.
import { ScalarType, type DescMessage } from "@bufbuild/protobuf";
import { dump, JsonNumber, type Json, type JsonMembers } from "./document.js";
import { ConversionError, hasLoneSurrogate } from "./errors.js";
import { blankOf, isZero, setField, type Members } from "./fields.js";
import { JsonEncoding } from "./gen/chatpb/v1/options_pb.js";
import { ResidueSchema } from "./gen/chatpb/v1/residue_pb.js";
import { mappingOf, standsForValue, wordsOf, type Rule } from "./mapping.js";
import { MAX_DEPTH, Parser } from "./parse.js";

/** What became of a member. */
export const enum Placed {
  /** The message has the value, or its field is unset and stands for it. */
  DONE,
  NULL,
  EMPTY,
  EXTRA,
}

/** What the reader of trees does. */
export interface TreeReader {
  /** Reads the members of an object into a message. */
  object(schema: DescMessage, members: JsonMembers): Members;
  /** Reads a value into a field of a message. `text` is what the field has whose UTF-8 an unset one stands for. */
  place(rule: Rule, value: Json, text: Json | undefined, message: Members): Placed;
}

/** Thrown where a text is left to the reader of trees. */
const DECLINED = Symbol("declined");

/** What a value can be read as here; OTHER is left to the reader of trees. */
const enum Kind {
  OTHER,
  TEXT,
  WORD,
  BOOL,
  INT32,
  INT64,
  DOUBLE,
  UTF8,
  MESSAGE,
  MESSAGES,
}

/** What is known of a field when it is read. */
interface Entry {
  readonly rule: Rule;
  readonly name: string;
  kind: Kind;
  readonly number: number;
  readonly localName: string;
  /** Its place among the fields, of which each has a bit in one of two sets. */
  readonly low: number;
  readonly high: number;
  /** Whether the message has the value under its name: the field is in no oneof. */
  readonly isPlain: boolean;
  readonly hidesZero: boolean;
  /** The value that an unset field stands for; undefined without one. */
  readonly unset: Json | undefined;
  readonly words: ReadonlyMap<string, number> | undefined;
  /** The field whose UTF-8 an unset field stands for. */
  source: Entry | undefined;
  plan: Plan | undefined;
  /** The field that came after this one the last time. */
  next: Entry | undefined;
}

/** What is known of a message type. */
interface Plan {
  readonly schema: DescMessage;
  readonly blank: () => Members;
  readonly residue: string;
  readonly byName: Map<string, Entry>;
  readonly standing: readonly Entry[];
  readonly standingLow: number;
  readonly standingHigh: number;
  first: Entry | undefined;
}

const BITS = 30;
const plans = new WeakMap<DescMessage, Plan | null>();
const blankResidue = blankOf(ResidueSchema);
const utf8 = new TextEncoder();

/** The plan of a message type; null if it has too many fields, or is no object. */
function planOf(schema: DescMessage): Plan | null {
  const known = plans.get(schema);
  if (known !== undefined) return known;
  const mapping = mappingOf(schema);
  if (mapping.isUnion || mapping.residue === undefined || mapping.rules.length > 2 * BITS) {
    plans.set(schema, null);
    return null;
  }
  const entries = mapping.rules.map(entryOf);
  const standing = entries.filter(({ rule }) => standsForValue(rule));
  const plan: Plan = {
    schema,
    blank: blankOf(schema),
    residue: mapping.residue.localName,
    byName: new Map(entries.map((entry) => [entry.name, entry])),
    standing,
    standingLow: standing.reduce((bits, { low }) => bits | low, 0),
    standingHigh: standing.reduce((bits, { high }) => bits | high, 0),
    first: entries[0],
  };
  plans.set(schema, plan); // before the fields: messages recurse
  for (const entry of entries) {
    if (entry.rule.unsetUtf8 !== undefined) entry.source = plan.byName.get(entry.rule.unsetUtf8.name);
    if (entry.kind !== Kind.MESSAGE && entry.kind !== Kind.MESSAGES) continue;
    const inner = planOf(entry.rule.field.message as DescMessage);
    if (inner === null) entry.kind = Kind.OTHER;
    else entry.plan = inner;
  }
  return plan;
}

function entryOf(rule: Rule, place: number): Entry {
  const { field } = rule;
  return {
    rule,
    name: rule.name,
    kind: kindOf(rule),
    number: field.number,
    localName: field.localName,
    low: place < BITS ? 1 << place : 0,
    high: place < BITS ? 0 : 1 << (place - BITS),
    isPlain: field.oneof === undefined,
    hidesZero: rule.hidesZero,
    unset: rule.unset?.value,
    words: field.enum === undefined ? undefined : wordsOf(field.enum).byWord,
    source: undefined,
    plan: undefined,
    next: undefined,
  };
}

function kindOf(rule: Rule): Kind {
  const { field, unset, encoding } = rule;
  const value = unset?.value;
  if (rule.isMap) return Kind.OTHER;
  if (field.message !== undefined) {
    const isEmptyList = rule.isRepeated && Array.isArray(value); // as `messages` leaves it to the reader of trees
    if (value !== undefined && value !== null && !isEmptyList) return Kind.OTHER;
    return rule.isRepeated ? Kind.MESSAGES : Kind.MESSAGE;
  }
  if (rule.isRepeated) return Kind.OTHER;
  const isTextOrNone = value === undefined || value === null || typeof value === "string";
  if (field.enum !== undefined) return isTextOrNone ? Kind.WORD : Kind.OTHER;
  switch (field.scalar) {
    case ScalarType.STRING:
      if (encoding !== JsonEncoding.UNSPECIFIED) return Kind.OTHER;
      return isTextOrNone ? Kind.TEXT : Kind.OTHER;
    case ScalarType.BOOL:
      return value === undefined || value === null || typeof value === "boolean" ? Kind.BOOL : Kind.OTHER;
    case ScalarType.INT32:
    case ScalarType.INT64:
      if (value !== undefined && value !== null && unset?.text !== "0") return Kind.OTHER;
      return field.scalar === ScalarType.INT32 ? Kind.INT32 : Kind.INT64;
    case ScalarType.DOUBLE:
      // Zero, however it is spelled, is the same as unset.
      return value === undefined || value === null || (unset?.text === "0.0" && !rule.hidesZero) ? Kind.DOUBLE : Kind.OTHER;
    case ScalarType.BYTES:
      return rule.unsetUtf8 !== undefined && encoding === JsonEncoding.BYTE_ARRAY ? Kind.UTF8 : Kind.OTHER;
    default:
      return Kind.OTHER;
  }
}

/** Reads the text of a JSON object; undefined where the reader of trees has to. */
export function readFast(schema: DescMessage, text: string, allowNan: boolean, trees: TreeReader): Members | undefined {
  const plan = planOf(schema);
  if (plan === null) return undefined;
  const cursor = new Cursor(text, allowNan, trees);
  try {
    return cursor.document(plan);
  } catch (error) {
    // The reader of trees finds the same fault, and where it is.
    if (error === DECLINED || error instanceof ConversionError) return undefined;
    throw error;
  }
}

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const MINUS = 0x2d;
const ZERO = 0x30;
const NINE = 0x39;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;
const OPEN_BRACKET = 0x5b;
const CLOSE_BRACKET = 0x5d;
const COMMA = 0x2c;
const COLON = 0x3a;
/** Powers of ten that are doubles: a quotient of integers that are doubles is rounded once, as it should be. */
const POWERS = Array.from({ length: 23 }, (_, power) => Number(`1e${power}`));

/** Where a reader is in a text. */
class Cursor {
  private at: number;
  private depth = 0;
  private readonly parser: Parser;
  /** Whether the number that was read last has neither fraction nor exponent. */
  private isInteger = false;
  private scratch = new Uint8Array(64);

  constructor(
    private readonly text: string,
    allowNan: boolean,
    private readonly trees: TreeReader,
  ) {
    this.at = text.charCodeAt(0) === 0xfeff ? 1 : 0;
    this.parser = new Parser(text, allowNan);
  }

  document(plan: Plan): Members {
    if (this.space() !== OPEN_BRACE) throw DECLINED;
    const message = this.object(plan);
    if (!Number.isNaN(this.space())) throw DECLINED;
    return message;
  }

  /** Skips white space. Returns the code unit behind it, NaN at the end. */
  private space(): number {
    for (;;) {
      const unit = this.text.charCodeAt(this.at);
      if (unit !== 0x20 && unit !== 0x0a && unit !== 0x0d && unit !== 0x09) return unit;
      this.at++;
    }
  }

  private object(plan: Plan): Members {
    if (this.depth >= MAX_DEPTH) throw DECLINED;
    this.depth++;
    const start = this.at++;
    const message = plan.blank();
    let nulls: number[] | undefined;
    let empties: number[] | undefined;
    let extra: JsonMembers | undefined;
    let low = 0;
    let high = 0;
    let before: Entry | undefined;
    if (this.space() !== CLOSE_BRACE) {
      for (;;) {
        const guess: Entry | undefined = before === undefined ? plan.first : before.next;
        let entry: Entry | undefined;
        if (guess !== undefined && this.isName(guess.name)) entry = guess;
        else {
          const name = this.name();
          entry = plan.byName.get(name);
          if (entry === undefined) {
            const value = this.tree(this.at);
            (extra ??= new Map()).set(name, value);
          } else if (before === undefined) plan.first = entry;
          else before.next = entry;
        }
        if (entry !== undefined) {
          before = entry;
          // A member that comes twice, or before the one on which it depends.
          if (((low & entry.low) | (high & entry.high)) !== 0) return this.again(plan, start);
          const { source } = entry;
          if (source !== undefined && ((low & source.low) | (high & source.high)) === 0) return this.again(plan, start);
          low |= entry.low;
          high |= entry.high;
          if (this.space() === 0x6e) {
            this.word("null");
            if (entry.unset !== null) (nulls ??= []).push(entry.number);
          } else if (!this.field(entry, message)) {
            const value = this.tree(this.at);
            const text = source === undefined ? undefined : (message[source.localName] as string);
            const placed = this.trees.place(entry.rule, value, text, message);
            if (placed === Placed.NULL) (nulls ??= []).push(entry.number);
            else if (placed === Placed.EMPTY) (empties ??= []).push(entry.number);
            else if (placed === Placed.EXTRA) (extra ??= new Map()).set(entry.name, value);
          }
        }
        const unit = this.space();
        if (unit === COMMA) {
          this.at++;
          if (this.space() !== QUOTE) throw DECLINED;
          continue;
        }
        if (unit !== CLOSE_BRACE) throw DECLINED;
        break;
      }
    }
    this.at++;
    this.depth--;
    let absent: number[] | undefined;
    if ((low & plan.standingLow) !== plan.standingLow || (high & plan.standingHigh) !== plan.standingHigh) {
      absent = [];
      for (const entry of plan.standing) {
        if ((low & entry.low) === 0 && (high & entry.high) === 0) absent.push(entry.number);
      }
    }
    if (nulls !== undefined || empties !== undefined || extra !== undefined || absent !== undefined) {
      const residue = blankResidue();
      if (nulls !== undefined) residue["nullFields"] = nulls.sort(ascending);
      if (absent !== undefined) residue["absentFields"] = absent.sort(ascending);
      if (empties !== undefined) residue["emptyFields"] = empties.sort(ascending);
      if (extra !== undefined) residue["extraJson"] = dump(extra);
      message[plan.residue] = residue;
    }
    return message;
  }

  /** Reads an object again, with the reader of trees. */
  private again(plan: Plan, start: number): Members {
    this.depth--;
    return this.trees.object(plan.schema, this.tree(start) as JsonMembers);
  }

  /** Reads a value as a tree. */
  private tree(start: number): Json {
    const value = this.parser.part(start, this.depth);
    this.at = this.parser.end;
    return value;
  }

  /** Skips a name and the colon behind it, if it is this one. */
  private isName(name: string): boolean {
    const { text, at } = this;
    const { length } = name;
    for (let index = 0; index < length; index++) {
      if (text.charCodeAt(at + 1 + index) !== name.charCodeAt(index)) return false;
    }
    if (text.charCodeAt(at + 1 + length) !== QUOTE || text.charCodeAt(at) !== QUOTE) return false;
    this.at = at + 2 + length;
    if (this.space() !== COLON) throw DECLINED;
    this.at++;
    return true;
  }

  private name(): string {
    if (this.text.charCodeAt(this.at) !== QUOTE) throw DECLINED;
    const name = this.string();
    if (this.space() !== COLON) throw DECLINED;
    this.at++;
    return name;
  }

  private word(word: string): void {
    if (!this.text.startsWith(word, this.at)) throw DECLINED;
    this.at += word.length;
  }

  /** Reads a string, which may have lone surrogates. */
  private string(): string {
    const { text } = this;
    const start = this.at + 1;
    let at = start;
    for (;;) {
      const unit = text.charCodeAt(at);
      if (unit === QUOTE) break;
      if (unit === BACKSLASH) return this.escaped(at);
      if (!(unit >= 0x20)) throw DECLINED; // a control character, or the end
      at++;
    }
    this.at = at + 1;
    return text.slice(start, at);
  }

  /** Reads a string with an escape sequence, the first of which is here. */
  private escaped(first: number): string {
    const { text } = this;
    let at = first;
    for (let unit = BACKSLASH; unit !== QUOTE; unit = text.charCodeAt(at)) {
      if (!(unit >= 0x20)) throw DECLINED;
      at += unit === BACKSLASH ? 2 : 1;
    }
    try {
      const value = JSON.parse(text.slice(this.at, at + 1)) as string;
      this.at = at + 1;
      return value;
    } catch {
      throw DECLINED;
    }
  }

  /** Reads a number; undefined if it is not one whose value is easily found. */
  private number(): number | undefined {
    const { text } = this;
    let at = this.at;
    const isNegative = text.charCodeAt(at) === MINUS;
    if (isNegative) at++;
    const start = at;
    let unit = text.charCodeAt(at);
    let value = 0;
    while (unit >= ZERO && unit <= NINE) {
      value = value * 10 + (unit - ZERO);
      unit = text.charCodeAt(++at);
    }
    const whole = at - start;
    if (whole === 0 || (whole > 1 && text.charCodeAt(start) === ZERO)) return undefined;
    let fraction = 0;
    if (unit === 0x2e) {
      unit = text.charCodeAt(++at);
      const begin = at;
      while (unit >= ZERO && unit <= NINE) {
        value = value * 10 + (unit - ZERO);
        unit = text.charCodeAt(++at);
      }
      fraction = at - begin;
      if (fraction === 0) return undefined;
    }
    const hasExponent = unit === 0x65 || unit === 0x45;
    if (hasExponent) {
      unit = text.charCodeAt(++at);
      if (unit === MINUS || unit === 0x2b) unit = text.charCodeAt(++at);
      if (!(unit >= ZERO && unit <= NINE)) return undefined;
      while (unit >= ZERO && unit <= NINE) unit = text.charCodeAt(++at);
    }
    this.isInteger = fraction === 0 && !hasExponent;
    if (hasExponent || whole + fraction > 15) {
      if (this.isInteger) return undefined;
      value = Number(text.slice(start, at));
      if (value === Infinity) return undefined;
    } else if (fraction > 0) value /= POWERS[fraction] as number;
    else if (value === 0 && isNegative) return undefined;
    this.at = at;
    return isNegative ? -value : value;
  }

  /** Reads a value of a field into a message; false, at its beginning, if the reader of trees has to. */
  private field(entry: Entry, message: Members): boolean {
    const { text, at } = this;
    const unit = text.charCodeAt(at);
    let value: unknown;
    switch (entry.kind) {
      case Kind.TEXT: {
        if (unit !== QUOTE) return false;
        const found = this.string();
        if (found === entry.unset) return true;
        if (hasLoneSurrogate(found)) return this.back(at);
        value = found;
        break;
      }
      case Kind.WORD: {
        if (unit !== QUOTE) return false;
        const found = this.string();
        if (found === entry.unset) return true;
        value = entry.words?.get(found);
        if (value === undefined) return this.back(at);
        break;
      }
      case Kind.BOOL:
        if (unit === 0x74) this.word("true");
        else if (unit === 0x66) this.word("false");
        else return false;
        value = unit === 0x74;
        if (value === entry.unset) return true;
        break;
      case Kind.INT32:
      case Kind.INT64: {
        const found = this.number();
        if (found === undefined) return false;
        const isWide = entry.kind === Kind.INT64;
        if (!this.isInteger || (!isWide && (found | 0) !== found)) return this.back(at);
        if (found === 0 && entry.unset instanceof JsonNumber) return true;
        value = isWide ? BigInt(found) : found;
        break;
      }
      case Kind.DOUBLE:
        value = this.number();
        if (value === undefined) return false;
        break;
      case Kind.UTF8:
        return unit === OPEN_BRACKET && this.bytes(entry, message);
      case Kind.MESSAGE:
        if (unit !== OPEN_BRACE) return false;
        value = this.object(entry.plan as Plan);
        break;
      case Kind.MESSAGES:
        if (unit !== OPEN_BRACKET) return false;
        value = this.messages(entry.plan as Plan);
        if (value === undefined) return this.back(at);
        break;
      default:
        return false;
    }
    if (entry.hidesZero && isZero(value)) return this.back(at);
    if (entry.isPlain) message[entry.localName] = value;
    else setField(message, entry.rule.field, value);
    return true;
  }

  private back(at: number): false {
    this.at = at;
    return false;
  }

  /** Reads an array of objects; undefined if it is empty, or has something else. */
  private messages(plan: Plan): Members[] | undefined {
    if (this.depth >= MAX_DEPTH) throw DECLINED;
    this.depth++;
    const items: Members[] = [];
    this.at++;
    for (;;) {
      if (this.space() !== OPEN_BRACE) {
        this.depth--;
        return undefined;
      }
      items.push(this.object(plan));
      const unit = this.space();
      this.at++;
      if (unit === COMMA) continue;
      if (unit !== CLOSE_BRACKET) throw DECLINED;
      this.depth--;
      return items;
    }
  }

  /** Reads an array of bytes, where an unset field stands for the UTF-8 of a text. */
  private bytes(entry: Entry, message: Members): boolean {
    const { text } = this;
    const start = this.at;
    let size = 0;
    this.at++;
    let unit = this.space();
    while (unit !== CLOSE_BRACKET) {
      let byte = 0;
      const begin = this.at;
      let at = begin;
      for (unit = text.charCodeAt(at); unit >= ZERO && unit <= NINE; unit = text.charCodeAt(++at)) {
        byte = byte * 10 + (unit - ZERO);
      }
      const isSpelled = at - begin === 1 || (at - begin <= 3 && at > begin && text.charCodeAt(begin) !== ZERO);
      if (!isSpelled || byte > 0xff) return this.back(start);
      if (size === this.scratch.length) {
        const grown = new Uint8Array(2 * size);
        grown.set(this.scratch);
        this.scratch = grown;
      }
      this.scratch[size++] = byte;
      this.at = at;
      unit = this.space();
      if (unit === COMMA) {
        this.at++;
        unit = this.space();
        if (unit === CLOSE_BRACKET) throw DECLINED;
      } else if (unit !== CLOSE_BRACKET) return this.back(start);
    }
    this.at++;
    if (!this.isUtf8(message[(entry.source as Entry).localName] as string, size)) {
      setField(message, entry.rule.field, this.scratch.slice(0, size));
    }
    return true;
  }

  /** Whether the bytes that were read last are the UTF-8 of a text. */
  private isUtf8(named: string, size: number): boolean {
    const { scratch } = this;
    if (named.length === size) {
      let index = 0;
      while (index < size && named.charCodeAt(index) === scratch[index] && (scratch[index] as number) < 0x80) index++;
      return index === size;
    }
    if (named.length > size) return false;
    const bytes = utf8.encode(named);
    return bytes.length === size && bytes.every((byte, index) => byte === scratch[index]);
  }
}

const ascending = (left: number, right: number): number => left - right;
