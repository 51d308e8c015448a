import { getOption, type DescMessage } from "@bufbuild/protobuf";
import { JsonNumber, isEmpty as isEmptyContainer, type Json, type JsonMembers } from "../document.js";
import { ChatCompletionChunkSchema } from "../gen/chatpb/v1/chat_completion_chunk_pb.js";
import { ChatCompletionSchema } from "../gen/chatpb/v1/chat_completion_pb.js";
import {
  Fold,
  fold,
  fold_identity,
  fold_into,
  fold_key,
  fold_part,
  fold_unknown,
  fold_unknown_key,
  fold_unknown_kind,
  fold_unknown_pieces,
  fold_whole,
} from "../gen/chatpb/v1/options_pb.js";
import { mappingOf, type Mapping, type Rule } from "../mapping.js";
import { parse } from "../parse.js";

export const CHUNK = mappingOf(ChatCompletionChunkSchema);
export const COMPLETION = mappingOf(ChatCompletionSchema);
/** The member that holds the JSON text of a completion. */
export const COMPLETION_TEXT = getOption(ChatCompletionChunkSchema, fold_whole);

/** How the members of a message that the schema does not know are folded. */
export class UnknownRules {
  private array: UnknownRules | undefined;

  constructor(
    /** The rule for all of them, except within the objects of an array. */
    readonly rule: Fold,
    /** The member whose integer identifies an object of an array, or "". */
    readonly key: string,
    /** The member that tells the kind of such an object, or "". */
    readonly kind: string,
    /** The members of such an object whose strings are appended. */
    readonly pieces: ReadonlySet<string>,
    /** Whether these are the rules for the members of such an object. */
    readonly inArray = false,
  ) {}

  /** Whether objects of an array may be joined with earlier ones. */
  get joinsObjects(): boolean {
    return this.key !== "" || this.kind !== "";
  }

  /** The rule for a member. */
  of(name: string): Fold {
    if (!this.inArray) return this.rule;
    return this.pieces.has(name) ? Fold.APPEND : Fold.APPEND_ARRAYS;
  }

  /** The same with another rule for all members. */
  with(rule: Fold): UnknownRules {
    return new UnknownRules(rule, this.key, this.kind, this.pieces, this.inArray);
  }

  /** The rules for the objects of an array. */
  get withinArray(): UnknownRules {
    return (this.array ??= new UnknownRules(this.rule, this.key, this.kind, this.pieces, true));
  }
}

/** What the schema specifies of folding a message of some type. */
export interface FoldRules {
  readonly mapping: Mapping;
  readonly fields: ReadonlyMap<string, FieldFold>;
  readonly unknown: UnknownRules;
  /** The field whose integer tells the elements of an array apart. */
  readonly key: string | undefined;
  /** The field that tells elements without a key apart. */
  readonly identity: string | undefined;
  /** Where the name of an element is: a field, and a field of that one's message. */
  readonly names: readonly (readonly [string, string])[];
}

/** What the schema specifies of folding a field. */
export interface FieldFold {
  readonly rule: Rule;
  readonly fold: Fold;
  /** The member that the field becomes when it is folded. */
  readonly into: string;
  /** The message type of the values, unless they are scalars or entries of a map. */
  readonly message: DescMessage | undefined;
  /** Makes the part that a string becomes among parts; undefined if the string itself is the part. */
  readonly partOf: ((text: string) => JsonMembers) | undefined;
}

const known = new WeakMap<DescMessage, FoldRules>();

/** The rules of folding a message type, read from its descriptor once. */
export function foldRulesOf(schema: DescMessage): FoldRules {
  let rules = known.get(schema);
  if (rules === undefined) {
    rules = compile(schema);
    known.set(schema, rules);
  }
  return rules;
}

function compile(schema: DescMessage): FoldRules {
  const mapping = mappingOf(schema);
  const named = mapping.rules.flatMap((outer) =>
    messageOf(outer) === undefined
      ? []
      : mappingOf(messageOf(outer) as DescMessage)
          .rules.filter((inner) => getOption(inner.field, fold) === Fold.NAME)
          .map((inner) => [outer.name, inner.name] as const),
  );
  return {
    mapping,
    fields: new Map(mapping.rules.map((rule) => [rule.name, fieldFold(rule)])),
    unknown: new UnknownRules(
      getOption(schema, fold_unknown),
      getOption(schema, fold_unknown_key),
      getOption(schema, fold_unknown_kind),
      new Set(getOption(schema, fold_unknown_pieces)),
    ),
    key: mapping.rules.find(({ field }) => getOption(field, fold_key))?.name,
    identity: mapping.rules.find(({ field }) => getOption(field, fold_identity))?.name,
    names: named,
  };
}

function fieldFold(rule: Rule): FieldFold {
  const part = getOption(rule.field, fold_part);
  return {
    rule,
    fold: getOption(rule.field, fold),
    into: getOption(rule.field, fold_into) || rule.name,
    message: messageOf(rule),
    partOf: part === "" ? undefined : partMaker(parse(part) as JsonMembers),
  };
}

function partMaker(part: JsonMembers): (text: string) => JsonMembers {
  const place = [...part].find(([, value]) => value === "")?.[0] as string;
  return (text) => new Map(part).set(place, text);
}

function messageOf({ field, isMap }: Rule): DescMessage | undefined {
  return isMap ? undefined : field.message;
}

/** The members whose arrays are joined element by element. */
export function keyedNames(schema: DescMessage): string[] {
  const fields = [...foldRulesOf(schema).fields.values()];
  return fields.filter((field) => field.fold === Fold.BY_KEY).map(({ rule }) => rule.name);
}

/** Whether a value erases nothing: null, "", 0, [] or {}. */
export function isEmpty(value: Json): boolean {
  if (value instanceof JsonNumber) return value.value === 0;
  return value === null || value === "" || isEmptyContainer(value);
}

/** The integer that a JSON value is; undefined if it is none. */
export function integerOf(value: Json | undefined): bigint | undefined {
  if (!(value instanceof JsonNumber) || !value.isInteger) return undefined;
  return value.text === "-0" || value.text.length >= MAX_DIGITS ? undefined : BigInt(value.text);
}

const MAX_DIGITS = 4300; // more take time that is not linear
