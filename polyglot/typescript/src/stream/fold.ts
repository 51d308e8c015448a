import type { JsonMembers, Json } from "../document.js";
import { ConversionError } from "../errors.js";
import { ChatCompletionChunkSchema, type ChatCompletionChunk } from "../gen/chatpb/v1/chat_completion_chunk_pb.js";
import { ChatCompletionSchema, type ChatCompletion } from "../gen/chatpb/v1/chat_completion_pb.js";
import { Fold, JsonEncoding } from "../gen/chatpb/v1/options_pb.js";
import { parse } from "../parse.js";
import { fromTree, toTree } from "../tree.js";
import { KeyedElements, UnknownElements } from "./elements.js";
import { finish, Joined, type Value } from "./joined.js";
import { Name, Text } from "./pieces.js";
import { COMPLETION, COMPLETION_TEXT, foldRulesOf, isEmpty, type FieldFold, type FoldRules, type UnknownRules } from "./rules.js";

export interface FoldOptions {
  /** As for `toJson`. */
  readonly ignoreUnknownFields?: boolean;
}

/**
 * Assembles the chunks of one stream into the completion that they make.
 *
 * Content, refusal, reasoning, arguments, audio and log probabilities are appended; choices are told apart by their
 * index, tool calls by their index or, without one, by their id. The first id, creation time and model that are not
 * empty win. A later chunk where a member is null or missing does not erase it. The completion has just the members
 * that the chunks had, including those that the schema does not know.
 *
 * The law: `fold(unfold(c))` equals `c`.
 *
 * @param chunks The chunks, in the order in which they came.
 * @throws ConversionError There is no chunk, or a chunk cannot be read (see `toJson`).
 */
export function fold(chunks: Iterable<ChatCompletionChunk>, options: FoldOptions = {}): ChatCompletion {
  const folder = new Folder(options);
  for (const chunk of chunks) folder.add(chunk);
  return folder.finish();
}

/** `fold` in steps, for chunks that are still arriving. It holds the completion, not the chunks. */
export class Folder {
  private readonly folded = new Joined();
  private whole: JsonMembers | undefined;
  private isEmpty = true;

  constructor(private readonly options: FoldOptions = {}) {}

  /**
   * Takes the next chunk.
   *
   * @throws ConversionError The chunk cannot be read (see `toJson`).
   */
  add(chunk: ChatCompletionChunk): void {
    const tree = toTree(ChatCompletionChunkSchema, chunk, this.options.ignoreUnknownFields);
    const text = tree.get(COMPLETION_TEXT);
    if (typeof text === "string") this.whole = wholeCompletion(text) ?? this.whole;
    joinMembers(this.folded, tree, foldRulesOf(ChatCompletionChunkSchema));
    this.isEmpty = false;
  }

  /**
   * The completion that the chunks make.
   *
   * @throws ConversionError There is no chunk.
   */
  finish(): ChatCompletion {
    if (this.isEmpty) throw new ConversionError("expected at least one chunk, got none");
    return fromTree(ChatCompletionSchema, this.whole ?? (finish(this.folded) as JsonMembers));
  }
}

/** The completion that a chunk holds as JSON text, as `unfold` writes it. */
function wholeCompletion(text: string): JsonMembers | undefined {
  try {
    const whole = parse(text, true);
    return whole instanceof Map ? whole : undefined;
  } catch (error) {
    if (error instanceof ConversionError) return undefined;
    throw error;
  }
}

/** Joins the members of an object, of a message type if the schema knows it. */
function joinMembers(joined: Joined, members: JsonMembers, rules?: FoldRules, unknown = (rules as FoldRules).unknown): void {
  const into = joined.members;
  for (const [name, value] of members) {
    const field = rules?.fields.get(name);
    if (field === undefined) {
      into.set(name, join(into.get(name), value, unknown.of(name), undefined, unknown));
    } else if (field.fold === Fold.WHOLE) {
      joinWhole(joined, name, value);
    } else if (field.fold === Fold.KIND) {
      const isUnset = value === field.rule.unset?.value;
      const kind = isUnset ? (COMPLETION.byName.get(name)?.unset?.value ?? value) : value;
      into.set(field.into, join(into.get(field.into), kind, Fold.UNSPECIFIED, field, unknown));
    } else if (field.fold !== Fold.DROP) {
      into.set(field.into, join(into.get(field.into), value, field.fold, field, unknown));
    }
  }
}

/**
 * Joins a value with the earlier one of the same member, which is what this function returned for it.
 *
 * `field` is undefined if the schema does not know the member; `unknown` are the rules for such members in the message.
 */
function join(old: Value | undefined, value: Json, rule: Fold, field: FieldFold | undefined, unknown: UnknownRules): Value {
  const isObject = value instanceof Map;
  if (rule === Fold.BY_KEY && (isObject || Array.isArray(value)) && field?.message !== undefined) {
    const keyed = old instanceof KeyedElements ? old : new KeyedElements(foldRulesOf(field.message));
    joinKeyed(keyed, isObject ? [value] : (value as Json[]));
    return keyed;
  }
  if (old instanceof KeyedElements) return old;
  if (isObject) return joinObject(old, value, rule, field, unknown);
  if (rule === Fold.APPEND && typeof value === "string") return appendText(old, value, field);
  if ((rule === Fold.APPEND || rule === Fold.APPEND_ARRAYS) && Array.isArray(value)) {
    return appendArray(old, value, field, unknown);
  }
  if (rule === Fold.NAME && typeof value === "string") {
    if (!(old instanceof Name)) return new Name(value);
    old.add(value);
    return old;
  }
  if (old === undefined || old === null) return value;
  return isEmpty(value) || (rule === Fold.FIRST && !isEmptyValue(old)) ? old : value;
}

function isEmptyValue(value: Value): boolean {
  if (value instanceof Joined) return value.members.size === 0 && value.wholes.size === 0;
  return !(value instanceof Text || value instanceof Name || value instanceof UnknownElements) && isEmpty(value as Json);
}

function joinObject(
  old: Value | undefined,
  value: JsonMembers,
  rule: Fold,
  field: FieldFold | undefined,
  unknown: UnknownRules,
): Joined {
  const joined = old instanceof Joined ? old : new Joined();
  if (field === undefined) joinMembers(joined, value, undefined, unknown);
  else if (field.message !== undefined) joinMembers(joined, value, foldRulesOf(field.message));
  else joinMembers(joined, value, undefined, unknown.with(rule));
  return joined;
}

function joinKeyed(keyed: KeyedElements, values: Json[]): void {
  keyed.beginArray();
  for (const [position, value] of values.entries()) {
    if (value instanceof Map) joinMembers(keyed.place(value, position, values.length), value, keyed.rules);
    else keyed.add(value);
  }
}

function appendArray(old: Value | undefined, values: Json[], field: FieldFold | undefined, unknown: UnknownRules): Value {
  if (!unknown.joinsObjects || field?.rule.isRepeated) {
    const items: Value[] = Array.isArray(old) ? (old as Value[]) : old instanceof Text && !old.isEmpty ? [old] : [];
    for (const value of values) items.push(value);
    return items;
  }
  let parts: UnknownElements;
  if (old instanceof UnknownElements) parts = old;
  else {
    parts = new UnknownElements(unknown);
    if (old instanceof Text && !old.isEmpty) appendPart(parts, old.finish(), field);
  }
  parts.beginArray();
  for (const [position, value] of values.entries()) {
    if (value instanceof Map) joinPart(parts, value, position);
    else parts.add(value);
  }
  return parts;
}

function joinPart(parts: UnknownElements, value: JsonMembers, position: number): void {
  joinMembers(parts.place(value, position), value, undefined, parts.rules.withinArray);
}

function appendText(old: Value | undefined, text: string, field: FieldFold | undefined): Value {
  if (old instanceof Text) old.add(text);
  else if (old instanceof UnknownElements) {
    if (text !== "") appendPart(old, text, field);
  } else if (Array.isArray(old)) {
    const items = old as Value[];
    const last = items.at(-1);
    if (text !== "" && last instanceof Text) last.add(text);
    else if (text !== "") items.push(newText(text, field));
  } else return newText(text, field);
  return old;
}

function newText(text: string, field: FieldFold | undefined): Text {
  return new Text(text, field?.rule.encoding === JsonEncoding.BASE64);
}

/** Appends a string to an array of parts. */
function appendPart(parts: UnknownElements, text: string, field: FieldFold | undefined): void {
  parts.beginArray();
  if (field?.partOf === undefined) parts.add(text);
  else joinPart(parts, field.partOf(text), 0);
}

/** Joins a member that is sent next to its pieces. */
function joinWhole(joined: Joined, name: string, value: Json): void {
  if (!(value instanceof Map)) {
    if (!joined.members.has(name)) joined.members.set(name, value);
    return;
  }
  let whole = joined.wholes.get(name);
  if (whole === undefined) {
    whole = new Map();
    joined.wholes.set(name, whole);
  }
  for (const [member, each] of value) {
    if (!whole.has(member) || !isEmpty(each)) whole.set(member, each);
  }
}
