import { getOption, hasOption, ScalarType, type DescEnum, type DescField, type DescMessage } from "@bufbuild/protobuf";
import { dump, JsonNumber, type Json } from "./document.js";
import {
  json_alternative_to,
  json_encoding,
  json_union,
  json_unset,
  json_unset_utf8,
  JsonEncoding,
} from "./gen/chatpb/v1/options_pb.js";
import { ResidueSchema } from "./gen/chatpb/v1/residue_pb.js";
import { hasPresence } from "./fields.js";
import { parse } from "./parse.js";
import { codecOf } from "./scalar.js";

/** What the schema says of the JSON of a message type. */
export interface Mapping {
  readonly schema: DescMessage;
  /** Whether the message stands for the value of its one set member, not for an object. */
  readonly isUnion: boolean;
  readonly residue: DescField | undefined;
  /** The fields that have a member of their own, in the order of the file. */
  readonly rules: readonly Rule[];
  readonly byName: ReadonlyMap<string, Rule>;
  readonly byNumber: ReadonlyMap<number, Rule>;
}

/** What the schema says of the JSON of a field. */
export interface Rule {
  readonly field: DescField;
  readonly name: string;
  readonly isRepeated: boolean;
  readonly isMap: boolean;
  readonly encoding: JsonEncoding;
  /** The value that an unset field stands for; undefined if it stands for no member, or for UTF-8. */
  readonly unset: { readonly value: Json; readonly text: string } | undefined;
  /** The string field whose UTF-8 an unset field stands for. */
  readonly unsetUtf8: DescField | undefined;
  /** The field that has the JSON text of an array or an object that does not fit this one. */
  readonly alternative: DescField | undefined;
  /** Whether the field has no presence and its unset form stands for another value than zero. */
  readonly hidesZero: boolean;
}

const mappings = new WeakMap<DescMessage, Mapping>();

/** The mapping of a message type, read from its descriptor once. */
export function mappingOf(schema: DescMessage): Mapping {
  let mapping = mappings.get(schema);
  if (mapping === undefined) {
    mapping = compile(schema);
    mappings.set(schema, mapping);
  }
  return mapping;
}

function compile(schema: DescMessage): Mapping {
  const residue = schema.fields.find((field) => field.message?.typeName === ResidueSchema.typeName);
  const isUnion = getOption(schema, json_union);
  const alternatives = alternativesOf(schema, residue, isUnion);
  const rules = schema.fields
    .filter((field) => field !== residue && !hasOption(field, json_alternative_to))
    .map((field) => ruleOf(schema, field, alternatives.get(field.name)));
  return {
    schema,
    isUnion,
    residue,
    rules,
    byName: new Map(rules.map((rule) => [rule.name, rule])),
    byNumber: new Map(rules.map((rule) => [rule.field.number, rule])),
  };
}

/** The fields that share the member of another one, by the name of that one. */
function alternativesOf(
  schema: DescMessage,
  residue: DescField | undefined,
  isUnion: boolean,
): ReadonlyMap<string, DescField> {
  const found = new Map<string, DescField>();
  for (const field of schema.fields.filter((each) => hasOption(each, json_alternative_to))) {
    const name = getOption(field, json_alternative_to);
    const named = schema.fields.find((other) => other.name === name && other !== residue);
    const isFree = named !== undefined && !hasOption(named, json_alternative_to) && !found.has(name);
    if (isUnion || !isFree || !isOptionalText(field)) throw new Error(`${field} cannot share the member of ${name}`);
    found.set(name, field);
  }
  return found;
}

/** Whether a field is the JSON text of a value, and stands for no member while unset. */
function isOptionalText(field: DescField): boolean {
  const isText = field.fieldKind === "scalar" && getOption(field, json_encoding) === JsonEncoding.RAW;
  return isText && hasPresence(field) && !hasOption(field, json_unset);
}

function ruleOf(schema: DescMessage, field: DescField, alternative: DescField | undefined): Rule {
  const stated = getOption(field, json_unset);
  const source = getOption(field, json_unset_utf8);
  const isScalar = field.fieldKind === "scalar" || field.fieldKind === "enum";
  const zero = isScalar && !hasPresence(field) ? zeroOf(field) : undefined;
  const value = stated !== "" ? parse(stated) : source === "" ? zero : undefined;
  return {
    field,
    name: field.name,
    isRepeated: field.fieldKind === "list",
    isMap: field.fieldKind === "map",
    encoding: getOption(field, json_encoding),
    unset: value === undefined ? undefined : { value, text: dump(value) },
    unsetUtf8: source === "" ? undefined : schema.fields.find((other) => other.name === source),
    alternative,
    hidesZero: zero !== undefined && stated !== "",
  };
}

/** Whether an unset field stands for a value. */
export function standsForValue(rule: Rule): boolean {
  return rule.unset !== undefined || rule.unsetUtf8 !== undefined;
}

function zeroOf(field: DescField): Json {
  const zero = codecOf(field.fieldKind === "scalar" ? field.scalar : undefined, field).zero;
  return typeof zero === "string" || typeof zero === "boolean"
    ? zero
    : new JsonNumber(field.scalar === ScalarType.DOUBLE ? "0.0" : "0");
}

const words = new WeakMap<DescEnum, Words>();

/** The words of an enum, both ways. */
export interface Words {
  readonly byNumber: ReadonlyMap<number, string>;
  readonly byWord: ReadonlyMap<string, number>;
}

/** The words of an enum: the names of its values less its prefix, in lower case. The zero value has none. */
export function wordsOf(desc: DescEnum): Words {
  let known = words.get(desc);
  if (known === undefined) {
    const prefix = desc.values.find((value) => value.number === 0)?.name.replace(/UNSPECIFIED$/, "") ?? "";
    const pairs = desc.values
      .filter((value) => value.number !== 0)
      .map((value) => [value.number, value.name.slice(prefix.length).toLowerCase()] as const);
    known = { byNumber: new Map(pairs), byWord: new Map(pairs.map(([number, word]) => [word, number])) };
    words.set(desc, known);
  }
  return known;
}
