import { create, ScalarType, type DescMessage, type MessageShape } from "@bufbuild/protobuf";
import { base64Decode, base64Encode } from "@bufbuild/protobuf/wire";
import { dump, equal, isEmpty, JsonNumber, kindOf, type Json, type JsonMembers } from "./document.js";
import { checked, ConversionError, hasLoneSurrogate } from "./errors.js";
import { Placed, readFast, type TreeReader } from "./fast.js";
import { blankOf, isZero, setEntry, setField, type Entries, type Members } from "./fields.js";
import { JsonEncoding } from "./gen/chatpb/v1/options_pb.js";
import { ResidueSchema } from "./gen/chatpb/v1/residue_pb.js";
import { mappingOf, standsForValue, wordsOf, type Rule } from "./mapping.js";
import { decode, parse } from "./parse.js";

export interface ReadOptions {
  /** Whether the words NaN, Infinity and -Infinity, which are not JSON, are kept. */
  readonly allowNan?: boolean;
}

/**
 * Reads the text of a JSON object into a message. Nothing is lost: `toJson` gives the same JSON value.
 *
 * @throws ConversionError: The text is no JSON object.
 */
export function fromJson<Desc extends DescMessage>(
  schema: Desc,
  text: string | Uint8Array,
  options: ReadOptions = {},
): MessageShape<Desc> {
  mirror(schema);
  checked(text, true);
  const { allowNan = false } = options;
  const decoded = typeof text === "string" ? text : decode(text, allowNan);
  const message = readFast(schema, decoded, allowNan, TREES) ?? readTree(schema, decoded, allowNan);
  return message as MessageShape<Desc>;
}

/** A message type, if it mirrors a JSON object. */
export function mirror<Desc extends DescMessage>(schema: Desc): Desc {
  if (mappingOf(schema).residue === undefined) throw new TypeError(`${schema.typeName} mirrors no JSON object`);
  return schema;
}

/** Reads the text of a JSON object by way of a tree; `fromJson` does the same, but faster. */
export function readTree(schema: DescMessage, text: string, allowNan: boolean): Members {
  const value = parse(text, allowNan);
  if (value instanceof Map) return objectReader(schema)(value);
  throw new ConversionError(`expected an object, got ${kindOf(value)}`, "$", beginning(text));
}

/** Reads the members of a JSON object into a message. */
export function fromMembers<Desc extends DescMessage>(schema: Desc, members: JsonMembers): MessageShape<Desc> {
  return objectReader(schema)(members) as MessageShape<Desc>;
}

/** The offset of the value in a text that is JSON. */
function beginning(text: string): number {
  const start = text.startsWith("\ufeff") ? 1 : 0;
  const value = text.slice(start).search(/[^ \t\n\r]/);
  return (start === 0 ? 0 : 3) + value;
}

/** What does not fit a field. */
const UNFIT = Symbol("unfit");

/** Reads a value; UNFIT if it does not fit. */
type Reader = (value: Json) => unknown;

const readers = new WeakMap<DescMessage, (members: JsonMembers) => Members>();

function objectReader(schema: DescMessage): (members: JsonMembers) => Members {
  const known = readers.get(schema);
  if (known !== undefined) return known;
  const { residue, rules, byName } = mappingOf(schema);
  const blank = blankOf(schema);
  const standing = rules.filter(standsForValue);

  const read = (members: JsonMembers): Members => {
    const message = blank();
    const nullFields: number[] = [];
    const emptyFields: number[] = [];
    const extra: JsonMembers = new Map();
    for (const [name, value] of members) {
      const rule = byName.get(name);
      if (rule === undefined) {
        extra.set(name, value);
        continue;
      }
      const text = rule.unsetUtf8 === undefined ? undefined : members.get(rule.unsetUtf8.name);
      const placed = place(rule, value, text, message);
      if (placed === Placed.NULL) nullFields.push(rule.field.number);
      else if (placed === Placed.EMPTY) emptyFields.push(rule.field.number);
      else if (placed === Placed.EXTRA) extra.set(name, value);
    }
    const absentFields = standing.filter((rule) => !members.has(rule.name)).map((rule) => rule.field.number);
    if (residue !== undefined && nullFields.length + absentFields.length + emptyFields.length + extra.size > 0) {
      message[residue.localName] = create(ResidueSchema, {
        nullFields: nullFields.sort(ascending),
        absentFields: absentFields.sort(ascending),
        emptyFields: emptyFields.sort(ascending),
        extraJson: extra.size > 0 ? dump(extra) : "",
      });
    }
    return message;
  };
  readers.set(schema, read);
  return read;
}

const fits = new WeakMap<Rule, Reader>();

/** Reads a value into a field of a message. `text` is what the field has whose UTF-8 an unset one stands for. */
function place(rule: Rule, value: Json, text: Json | undefined, message: Members): Placed {
  if (isUnset(rule, value, text)) return Placed.DONE;
  if (value === null) return Placed.NULL;
  if (isEmptyOf(rule, value)) return Placed.EMPTY;
  let read = fits.get(rule);
  if (read === undefined) {
    read = fieldReader(rule);
    fits.set(rule, read);
  }
  const fit = read(value);
  if (fit !== UNFIT) setField(message, rule.field, fit);
  else if (rule.alternative !== undefined && (Array.isArray(value) || value instanceof Map)) {
    setField(message, rule.alternative, dump(value));
  } else return Placed.EXTRA;
  return Placed.DONE;
}

/** What reads the values that the fast reader does not. */
const TREES: TreeReader = { object: (schema, members) => objectReader(schema)(members), place };

const ascending = (left: number, right: number): number => left - right;
const utf8 = new TextEncoder();

/** Whether a value is what an unset field stands for. */
function isUnset(rule: Rule, value: Json, named: Json | undefined): boolean {
  if (rule.unsetUtf8 === undefined) return rule.unset !== undefined && equal(rule.unset.value, value);
  if (!Array.isArray(value)) return false;
  const bytes = utf8.encode(typeof named === "string" && !hasLoneSurrogate(named) ? named : "");
  return (
    bytes.length === value.length &&
    bytes.every((byte, index) => {
      const item = value[index];
      return item instanceof JsonNumber && item.text === String(byte);
    })
  );
}

/** Whether a value is the array or the object without elements that the field can only be told to hold. */
function isEmptyOf(rule: Rule, value: Json): boolean {
  return isEmpty(value) && (Array.isArray(value) ? rule.isRepeated : rule.isMap);
}

function fieldReader(rule: Rule): Reader {
  const read = elementReader(rule);
  if (rule.isRepeated) return (value) => (Array.isArray(value) && value.length > 0 ? allOf(value, read) : UNFIT);
  if (rule.isMap) return (value) => (value instanceof Map && value.size > 0 ? entriesOf(value, read) : UNFIT);
  if (!rule.hidesZero) return read;
  return (value) => {
    const fit = read(value);
    return isZero(fit) ? UNFIT : fit;
  };
}

function allOf(values: Json[], read: Reader): unknown {
  const items: unknown[] = [];
  for (const value of values) {
    const item = read(value);
    if (item === UNFIT) return UNFIT;
    items.push(item);
  }
  return items;
}

function entriesOf(members: JsonMembers, read: Reader): unknown {
  const entries: Entries = {};
  for (const [key, value] of members) {
    const item = read(value);
    if (item === UNFIT || hasLoneSurrogate(key)) return UNFIT;
    setEntry(entries, key, item);
  }
  return entries;
}

function elementReader({ field, encoding }: Rule): Reader {
  if (field.message !== undefined) {
    const schema = field.message;
    if (mappingOf(schema).isUnion) return unionReader(schema);
    const read = objectReader(schema);
    return (value) => (value instanceof Map ? read(value) : UNFIT);
  }
  if (field.enum !== undefined) {
    const { byWord } = wordsOf(field.enum);
    return (value) => (typeof value === "string" ? (byWord.get(value) ?? UNFIT) : UNFIT);
  }
  switch (field.scalar) {
    case ScalarType.BOOL:
      return (value) => (typeof value === "boolean" ? value : UNFIT);
    case ScalarType.INT32:
      return (value) => integer(value, 32, Number);
    case ScalarType.INT64:
      return (value) => integer(value, 64, BigInt);
    case ScalarType.DOUBLE:
      return double;
    case ScalarType.STRING:
      if (encoding === JsonEncoding.RAW) return (value) => (value === null ? UNFIT : dump(value));
      return (value) => (typeof value === "string" && !hasLoneSurrogate(value) ? value : UNFIT);
    case ScalarType.BYTES:
      return encoding === JsonEncoding.BASE64 ? base64 : byteArray;
    default:
      throw new Error(`${field} has a type that has no JSON`);
  }
}

const unionReaders = new WeakMap<DescMessage, Reader>();

function unionReader(schema: DescMessage): Reader {
  const known = unionReaders.get(schema);
  if (known !== undefined) return known;
  const { rules } = mappingOf(schema);
  const hasList = rules.some((rule) => rule.isRepeated);
  const blank = blankOf(schema);
  const members: { rule: Rule; read: Reader }[] = [];
  const reader: Reader = (value) => {
    const message = blank();
    if (hasList && Array.isArray(value) && value.length === 0) return message;
    for (const { rule, read } of members) {
      const fit = read(value);
      if (fit === UNFIT) continue;
      setField(message, rule.field, fit);
      return message;
    }
    return UNFIT;
  };
  unionReaders.set(schema, reader);
  for (const rule of rules) members.push({ rule, read: fieldReader(rule) });
  return reader;
}

function integer<T>(value: Json, bits: number, convert: (text: string) => T): T | typeof UNFIT {
  if (!(value instanceof JsonNumber) || !value.isInteger || value.text === "-0" || value.text.length > 20) return UNFIT;
  if (value.text.length < 10) return convert(value.text); // of any type
  const exact = BigInt(value.text);
  return BigInt.asIntN(bits, exact) === exact ? convert(value.text) : UNFIT;
}

function double(value: Json): unknown {
  if (!(value instanceof JsonNumber)) return UNFIT;
  const nearest = value.value;
  if (/[NI]/.test(value.text)) return nearest; // NaN or an infinity, which the caller asked to keep
  if (!Number.isFinite(nearest)) return UNFIT;
  return value.isInteger && BigInt(nearest) !== BigInt(value.text) ? UNFIT : nearest;
}

function byteArray(value: Json): unknown {
  if (!Array.isArray(value)) return UNFIT;
  const bytes = new Uint8Array(value.length);
  for (const [index, item] of value.entries()) {
    const byte = integer(item, 32, Number);
    if (byte === UNFIT || byte < 0 || byte > 255) return UNFIT;
    bytes[index] = byte;
  }
  return bytes;
}

function base64(value: Json): unknown {
  if (typeof value !== "string") return UNFIT;
  try {
    const bytes = base64Decode(value);
    return base64Encode(bytes) === value ? bytes : UNFIT;
  } catch {
    return UNFIT;
  }
}
