import { ScalarType, type DescMessage, type MessageShape } from "@bufbuild/protobuf";
import { base64Encode } from "@bufbuild/protobuf/wire";
import { doubleText, dump, kindOf, quote, type Json, type JsonMembers } from "./document.js";
import { ConversionError, hasLoneSurrogate, pathOf, type Step } from "./errors.js";
import { getField, sortedEntries, type Entries, type Members } from "./fields.js";
import { JsonEncoding } from "./gen/chatpb/v1/options_pb.js";
import type { Residue } from "./gen/chatpb/v1/residue_pb.js";
import { hasPresence, mappingOf, standsForValue, wordsOf, type Mapping, type Rule } from "./mapping.js";
import { MAX_DEPTH, parse, TOO_DEEP } from "./parse.js";
import { isZero } from "./scalar.js";

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
  return objectWriter(schema)(message as Members, new Context(options)) as string;
}

/** Where a writer is, and what it may write. */
class Context {
  readonly steps: Step[] = [];
  depth = 0;

  constructor(readonly options: WriteOptions) {}

  fail(reason: string): never {
    throw new ConversionError(reason, pathOf(this.steps));
  }

  at<T>(step: Step, run: () => T): T {
    this.steps.push(step);
    const result = run();
    this.steps.pop();
    return result;
  }

  open(): void {
    if (++this.depth > MAX_DEPTH) this.fail(TOO_DEEP);
  }

  close(): void {
    this.depth--;
  }

  /** Writes free JSON where the writer is. */
  free(value: Json): string {
    if (this.depth + depthOf(value) > MAX_DEPTH) this.refuseDeep(value, this.depth);
    return dump(value);
  }

  /** Refuses the first array or object of a value that is too deep. */
  private refuseDeep(value: Json, depth: number): void {
    if (!Array.isArray(value) && !(value instanceof Map)) return;
    if (depth >= MAX_DEPTH) this.fail(TOO_DEEP);
    for (const [step, each] of value.entries()) this.at(step, () => this.refuseDeep(each, depth + 1));
  }

  parse(text: string): Json {
    return parse(text, this.options.allowNan);
  }
}

function depthOf(value: Json): number {
  if (!Array.isArray(value) && !(value instanceof Map)) return 0;
  let deepest = 0;
  for (const each of value.values()) deepest = Math.max(deepest, depthOf(each));
  return deepest + 1;
}

/** Writes a value; undefined if it is unset. */
type Writer<T = never> = (value: T, context: Context) => string | undefined;

const writers = new WeakMap<DescMessage, Writer<Members>>();

function writerOf(schema: DescMessage): Writer<Members> {
  return mappingOf(schema).isUnion ? unionWriter(schema) : objectWriter(schema);
}

function objectWriter(schema: DescMessage): Writer<Members> {
  const known = writers.get(schema);
  if (known !== undefined) return known;
  const mapping = mappingOf(schema);
  const fields: { rule: Rule; key: string; write: Writer }[] = [];
  const write: Writer<Members> = (message, context) => {
    refuseUnknown(schema, message, context);
    context.open();
    const said = readResidue(mapping, message, context);
    const pieces: string[] = [];
    for (const { rule, key, write } of fields) {
      const value = getField(message, rule.field);
      let text = isSet(rule, value) ? context.at(rule.name, () => write(value as never, context)) : undefined;
      if (text === undefined && rule.alternative !== undefined) {
        const shared = getField(message, rule.alternative) as string | undefined;
        if (shared !== undefined) text = context.at(rule.name, () => rawText(shared, context));
      }
      if (said?.extra.has(rule.name)) {
        if (text === undefined) continue;
        said.extra.delete(rule.name); // reading never sets both: the field was set later
      }
      const member = text ?? unsetText(rule, message, said);
      if (member !== undefined) pieces.push(key + member);
    }
    for (const [name, value] of said?.extra ?? []) {
      pieces.push(`${quote(name)}:${context.at(name, () => context.free(value))}`);
    }
    context.close();
    return `{${pieces.join(",")}}`;
  };
  writers.set(schema, write); // before the fields: messages recurse
  for (const rule of mapping.rules) fields.push({ rule, key: `${quote(rule.name)}:`, write: fieldWriter(rule) });
  return write;
}

function unionWriter(schema: DescMessage): Writer<Members> {
  const known = writers.get(schema);
  if (known !== undefined) return known;
  const { rules } = mappingOf(schema);
  const members: { rule: Rule; write: Writer }[] = [];
  const empty = rules.some((rule) => rule.isRepeated) ? "[]" : undefined;
  const write: Writer<Members> = (message, context) => {
    refuseUnknown(schema, message, context);
    let text: string | undefined;
    for (const { rule, write } of members) {
      const value = getField(message, rule.field);
      if (!isSet(rule, value)) continue;
      const written = write(value as never, context);
      if (text !== undefined) context.fail(`expected one value, but ${rule.name} is set in addition to another`);
      text = written;
    }
    return text ?? empty;
  };
  writers.set(schema, write); // before the fields: messages recurse
  for (const rule of rules) members.push({ rule, write: fieldWriter(rule) });
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
  return arrayText(utf8.encode((getField(message, rule.unsetUtf8) ?? "") as string));
}

const utf8 = new TextEncoder();

const arrayText = (bytes: Uint8Array): string => `[${bytes.join(",")}]`;

function isSet(rule: Rule, value: unknown): boolean {
  if (rule.isRepeated) return (value as unknown[]).length > 0;
  if (rule.isMap) return Object.keys(value as Entries).length > 0;
  if (value === undefined) return false;
  const { field } = rule;
  if (field.fieldKind === "enum") return value !== 0;
  return field.fieldKind !== "scalar" || hasPresence(field) || !isZero(value);
}

function fieldWriter(rule: Rule): Writer {
  const write = elementWriter(rule);
  if (rule.isRepeated) {
    return (items: unknown[], context) => {
      context.open();
      const texts = items.map((item, index) => element(index, item, write, context));
      context.close();
      return `[${texts.join(",")}]`;
    };
  }
  if (rule.isMap) {
    return (entries: Entries, context) => {
      context.open();
      const texts: string[] = [];
      for (const [key, value] of sortedEntries(entries)) {
        texts.push(`${quote(key)}:${element(key, value, write, context)}`);
      }
      context.close();
      return `{${texts.join(",")}}`;
    };
  }
  return write;
}

function element(step: Step, value: unknown, write: Writer, context: Context): string {
  return context.at(
    step,
    () => write(value as never, context) ?? context.fail("expected a value, got an unset one"),
  );
}

function elementWriter({ field, encoding }: Rule): Writer {
  if (field.message !== undefined) {
    const schema = field.message;
    return (value: Members, context) => writerOf(schema)(value, context);
  }
  if (field.enum !== undefined) {
    const { byNumber } = wordsOf(field.enum);
    const texts = new Map([...byNumber].map(([number, word]) => [number, quote(word)]));
    return (value: number, context) => {
      const text = texts.get(value);
      if (text === undefined && value !== 0 && !context.options.ignoreUnknownFields) {
        context.fail(`${value} is a value that the schema does not know`);
      }
      return text;
    };
  }
  switch (field.scalar) {
    case ScalarType.STRING:
      return encoding === JsonEncoding.RAW ? rawText : stringText;
    case ScalarType.BYTES:
      return encoding === JsonEncoding.BASE64 ? (value: Uint8Array) => quote(base64Encode(value)) : arrayText;
    case ScalarType.DOUBLE:
      return numberText;
    default:
      return (value: boolean | number | bigint) => String(value);
  }
}

function stringText(value: string, context: Context): string {
  if (hasLoneSurrogate(value)) context.fail("a text has a lone surrogate, which UTF-8 has not");
  return quote(value);
}

function numberText(value: number, context: Context): string {
  if (!Number.isFinite(value)) {
    if (!context.options.allowNan) context.fail(`${value} is not JSON; pass allowNan to keep it`);
    return String(value);
  }
  return doubleText(value);
}

function rawText(text: string, context: Context): string {
  try {
    return context.free(context.parse(text));
  } catch (error) {
    if (!(error instanceof ConversionError) || error.reason === TOO_DEEP) throw error;
    return context.fail(`expected JSON text: ${error.message}`);
  }
}
