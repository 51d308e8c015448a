import { ScalarType, type DescMessage, type MessageShape } from "@bufbuild/protobuf";
import { base64Encode } from "@bufbuild/protobuf/wire";
import { depthOf, doubleText, dump, kindOf, quote, type Json, type JsonMembers } from "./document.js";
import { ConversionError, hasLoneSurrogate, pathOf, type Step } from "./errors.js";
import { getField, isSetOf, sortedEntries, type Entries, type Members } from "./fields.js";
import { JsonEncoding } from "./gen/chatpb/v1/options_pb.js";
import type { Residue } from "./gen/chatpb/v1/residue_pb.js";
import { mappingOf, standsForValue, wordsOf, type Mapping, type Rule } from "./mapping.js";
import { MAX_DEPTH, parse, TOO_DEEP } from "./parse.js";

export interface WriteOptions {
  /** Whether numbers that are not finite are written, as NaN, Infinity and -Infinity, which are not JSON. */
  readonly allowNan?: boolean;
  /** Whether fields and values of enums that this version of the schema does not know are left out. */
  readonly ignoreUnknownFields?: boolean;
}

/**
 * Writes a message as the text of the JSON object that it was read from, or that it stands for.
 *
 * @throws ConversionError: The message stands for no JSON object.
 */
export function toJson<Desc extends DescMessage>(
  schema: Desc,
  message: MessageShape<Desc>,
  options: WriteOptions = {},
): string {
  if (mappingOf(schema).residue === undefined) throw new TypeError(`${schema.typeName} mirrors no JSON object`);
  const context = new Context(options);
  objectWriter(schema)(message as Members, context);
  return context.text;
}

/** What was written, where a writer is, and what it may write. */
class Context {
  text = "";
  readonly steps: Step[] = [];
  depth = 0;

  constructor(readonly options: WriteOptions) {}

  fail(reason: string): never {
    throw new ConversionError(reason, pathOf(this.steps));
  }

  open(): void {
    if (++this.depth > MAX_DEPTH) this.fail(TOO_DEEP);
  }

  close(): void {
    this.depth--;
  }

  /** Writes free JSON where the writer is. */
  free(value: Json): void {
    if (this.depth + depthOf(value) > MAX_DEPTH) this.refuseDeep(value, this.depth);
    this.text += dump(value);
  }

  /** Refuses the first array or object of a value that is too deep. */
  private refuseDeep(value: Json, depth: number): void {
    if (!Array.isArray(value) && !(value instanceof Map)) return;
    if (depth >= MAX_DEPTH) this.fail(TOO_DEEP);
    for (const [step, each] of value.entries()) {
      this.steps.push(step);
      this.refuseDeep(each, depth + 1);
      this.steps.pop();
    }
  }

  parse(text: string): Json {
    return parse(text, this.options.allowNan);
  }
}

/** Writes a value, and returns true; false if it is unset, and then nothing is written. */
type Writer<T = never> = (value: T, context: Context) => boolean;

/** What is known of a field when it is written. */
interface Entry {
  readonly rule: Rule;
  /** The name of the field in messages, if they have the value under it. */
  readonly localName: string | undefined;
  /** The member's name in quotes, with the colon. */
  readonly key: string;
  readonly isSet: (value: unknown) => boolean;
  readonly write: Writer;
}

function entryOf(rule: Rule): Entry {
  const localName = rule.field.oneof === undefined ? rule.field.localName : undefined;
  return { rule, localName, key: `${quote(rule.name)}:`, isSet: isSetIn(rule), write: fieldWriter(rule) };
}

function valueOf({ localName, rule }: Entry, message: Members): unknown {
  return localName === undefined ? getField(message, rule.field) : message[localName];
}

const writers = new WeakMap<DescMessage, Writer<Members>>();

function writerOf(schema: DescMessage): Writer<Members> {
  return mappingOf(schema).isUnion ? unionWriter(schema) : objectWriter(schema);
}

function objectWriter(schema: DescMessage): Writer<Members> {
  const known = writers.get(schema);
  if (known !== undefined) return known;
  const mapping = mappingOf(schema);
  const entries: Entry[] = [];
  const write: Writer<Members> = (message, context) => {
    refuseUnknown(schema, message, context);
    context.open();
    const said = readResidue(mapping, message, context);
    let separator = "{";
    for (const entry of entries) {
      const before = context.text;
      const { rule } = entry;
      const value = valueOf(entry, message);
      const hasShared = rule.alternative !== undefined;
      let isWritten = false;
      if (hasShared || entry.isSet(value)) {
        context.text += separator + entry.key;
        context.steps.push(rule.name);
        isWritten = entry.isSet(value) && entry.write(value as never, context);
        if (!isWritten && hasShared) {
          const shared = getField(message, rule.alternative) as string | undefined;
          isWritten = shared !== undefined && writeRaw(shared, context);
        }
        context.steps.pop();
        if (!isWritten) context.text = before;
      }
      if (said?.extra.has(rule.name)) {
        if (!isWritten) continue;
        said.extra.delete(rule.name); // reading never sets both: the field was set later
      }
      if (!isWritten) {
        const unset = unsetText(rule, message, said);
        if (unset === undefined) continue;
        context.text += separator + entry.key + unset;
      }
      separator = ",";
    }
    if (said !== undefined) {
      for (const [name, value] of said.extra) {
        context.text += `${separator}${quote(name)}:`;
        context.steps.push(name);
        context.free(value);
        context.steps.pop();
        separator = ",";
      }
    }
    context.close();
    context.text += separator === "{" ? "{}" : "}";
    return true;
  };
  writers.set(schema, write); // before the fields: messages recurse
  for (const rule of mapping.rules) entries.push(entryOf(rule));
  return write;
}

function unionWriter(schema: DescMessage): Writer<Members> {
  const known = writers.get(schema);
  if (known !== undefined) return known;
  const { rules } = mappingOf(schema);
  const entries: Entry[] = [];
  const isList = rules.some((rule) => rule.isRepeated);
  const write: Writer<Members> = (message, context) => {
    refuseUnknown(schema, message, context);
    let isWritten = false;
    for (const entry of entries) {
      const value = valueOf(entry, message);
      if (!entry.isSet(value)) continue;
      const before = context.text;
      const isSecond = entry.write(value as never, context);
      if (isWritten) context.fail(`expected one value, but ${entry.rule.name} is set in addition to another`);
      isWritten = isSecond;
      if (!isWritten) context.text = before;
    }
    if (!isWritten && isList) context.text += "[]";
    return isWritten || isList;
  };
  writers.set(schema, write); // before the fields: messages recurse
  for (const rule of rules) entries.push(entryOf(rule));
  return write;
}

function refuseUnknown(schema: DescMessage, message: Members, context: Context): void {
  const unknown = message.$unknown?.[0];
  if (unknown === undefined || context.options.ignoreUnknownFields) return;
  context.fail(`field ${unknown.no} of ${schema.typeName} is not in this version of the schema`);
}

/** What a residue says, checked. */
interface Said {
  readonly nulls: ReadonlySet<number>;
  readonly absent: ReadonlySet<number>;
  readonly empty: ReadonlySet<number>;
  readonly extra: JsonMembers;
}

function readResidue(mapping: Mapping, message: Members, context: Context): Said | undefined {
  const { residue, byNumber } = mapping;
  const found = residue && (getField(message, residue) as (Residue & Members) | undefined);
  if (found === undefined) return undefined;
  refuseUnknown(residue?.message as DescMessage, found, context);
  for (const number of [...found.nullFields, ...found.absentFields, ...found.emptyFields]) {
    if (byNumber.has(number) || context.options.ignoreUnknownFields) continue;
    context.fail(`the residue names field ${number}, which the schema does not know`);
  }
  for (const number of found.emptyFields) {
    const rule = byNumber.get(number);
    if (rule === undefined || rule.isRepeated || rule.isMap) continue;
    context.fail(`empty_fields names ${rule.name}, which is not a list or a map`);
  }
  return {
    nulls: new Set(found.nullFields),
    absent: new Set(found.absentFields),
    empty: new Set(found.emptyFields),
    extra: found.extraJson === "" ? new Map() : readExtra(found.extraJson, context),
  };
}

function readExtra(text: string, context: Context): JsonMembers {
  const refused = "extra_json is not a JSON object";
  let value: Json;
  try {
    value = context.parse(text);
  } catch (error) {
    if (!(error instanceof ConversionError)) throw error;
    if (error.reason === TOO_DEEP) context.fail(TOO_DEEP);
    context.fail(`${refused}: ${error.message}`);
  }
  return value instanceof Map ? value : context.fail(`${refused} but ${kindOf(value)}`);
}

/** What an unset field writes; undefined if that is no member. */
function unsetText(rule: Rule, message: Members, said: Said | undefined): string | undefined {
  const { number } = rule.field;
  if (said?.empty.has(number)) return rule.isMap ? "{}" : "[]";
  if (said?.nulls.has(number)) return "null";
  if (said?.absent.has(number) || !standsForValue(rule)) return undefined;
  if (rule.unsetUtf8 === undefined) return rule.unset?.text;
  return utf8Text((getField(message, rule.unsetUtf8) ?? "") as string);
}

const utf8 = new TextEncoder();

const arrayText = (bytes: Uint8Array): string => `[${bytes.join(",")}]`;

/** The bytes of ASCII characters, in decimal. */
const DECIMALS = Array.from({ length: 0x80 }, (_, byte) => String(byte));

/** The UTF-8 of a text as an array. */
function utf8Text(text: string): string {
  if (text === "") return "[]";
  let array = "";
  for (let index = 0; index < text.length; index++) {
    const byte = DECIMALS[text.charCodeAt(index)];
    if (byte === undefined) return arrayText(utf8.encode(text));
    array += (index === 0 ? "[" : ",") + byte;
  }
  return `${array}]`;
}

/** Whether a field holds a value; the zero of an enum is none. */
function isSetIn(rule: Rule): (value: unknown) => boolean {
  return rule.field.fieldKind === "enum" ? (value) => value !== undefined && value !== 0 : isSetOf(rule.field);
}

function fieldWriter(rule: Rule): Writer {
  const write = elementWriter(rule);
  if (rule.isRepeated) {
    return (items: unknown[], context) => {
      context.open();
      for (let index = 0; index < items.length; index++) {
        context.text += index === 0 ? "[" : ",";
        writeElement(index, items[index], write, context);
      }
      context.close();
      context.text += "]";
      return true;
    };
  }
  if (rule.isMap) {
    return (entries: Entries, context) => {
      context.open();
      let separator = "{";
      for (const [key, value] of sortedEntries(entries)) {
        context.text += `${separator}${quote(key)}:`;
        writeElement(key, value, write, context);
        separator = ",";
      }
      context.close();
      context.text += "}";
      return true;
    };
  }
  return write;
}

function writeElement(step: Step, value: unknown, write: Writer, context: Context): void {
  context.steps.push(step);
  if (!write(value as never, context)) context.fail("expected a value, got an unset one");
  context.steps.pop();
}

function elementWriter({ field, encoding }: Rule): Writer {
  if (field.message !== undefined) {
    const schema = field.message;
    let write: Writer<Members> | undefined; // messages recurse
    return (value: Members, context) => (write ??= writerOf(schema))(value, context);
  }
  if (field.enum !== undefined) {
    const { byNumber } = wordsOf(field.enum);
    const texts = new Map([...byNumber].map(([number, word]) => [number, quote(word)]));
    return (value: number, context) => {
      const text = texts.get(value);
      if (text !== undefined) context.text += text;
      else if (value !== 0 && !context.options.ignoreUnknownFields) {
        context.fail(`${value} is a value that the schema does not know`);
      }
      return text !== undefined;
    };
  }
  switch (field.scalar) {
    case ScalarType.STRING:
      return encoding === JsonEncoding.RAW ? writeRaw : writeString;
    case ScalarType.BYTES: {
      const isBase64 = encoding === JsonEncoding.BASE64;
      return writing((value: Uint8Array) => (isBase64 ? quote(base64Encode(value)) : arrayText(value)));
    }
    case ScalarType.DOUBLE:
      return writing(numberText);
    case ScalarType.INT32:
      return writing((value: number, context) => integerText(value, 32, context));
    case ScalarType.INT64:
      return writing((value: number | bigint, context) => integerText(value, 64, context));
    default:
      return writing((value: boolean) => String(value));
  }
}

function writing<T>(textOf: (value: T, context: Context) => string): Writer<T> {
  return (value, context) => {
    context.text += textOf(value, context);
    return true;
  };
}

/** The most code units that are looked at here: the platform takes less time for longer texts. */
const SHORT = 64;

function writeString(value: string, context: Context): boolean {
  let index = 0;
  if (value.length <= SHORT) {
    for (; index < value.length; index++) {
      const unit = value.charCodeAt(index);
      if (unit < 0x20 || unit > 0x7e || unit === 0x22 || unit === 0x5c) break;
    }
  }
  if (index === value.length) {
    context.text += `"${value}"`;
    return true;
  }
  if (hasLoneSurrogate(value)) context.fail("a text has a lone surrogate, which UTF-8 has not");
  context.text += quote(value);
  return true;
}

function integerText(value: number | bigint, bits: number, context: Context): string {
  if (bits === 32 && typeof value === "number" && (value | 0) === value) return String(value);
  const isInteger = typeof value === "bigint" || Number.isInteger(value);
  if (!isInteger || BigInt.asIntN(bits, BigInt(value)) !== BigInt(value)) {
    context.fail(`${String(value)} is not a number of the type int${bits}`);
  }
  return String(typeof value === "number" && !Number.isSafeInteger(value) ? BigInt(value) : value);
}

function numberText(value: number, context: Context): string {
  if (!Number.isFinite(value)) {
    if (!context.options.allowNan) context.fail(`${value} is not JSON; pass allowNan to keep it`);
    return String(value);
  }
  return doubleText(value);
}

function writeRaw(text: string, context: Context): boolean {
  try {
    context.free(context.parse(text));
  } catch (error) {
    if (!(error instanceof ConversionError) || error.reason === TOO_DEEP) throw error;
    context.fail(`expected JSON text: ${error.message}`);
  }
  return true;
}
