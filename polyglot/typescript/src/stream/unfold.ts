import { getOption } from "@bufbuild/protobuf";
import { toBinary } from "../binary.js";
import { dump, JsonNumber, type Json, type JsonMembers } from "../document.js";
import { getField, type Members } from "../fields.js";
import { ChatCompletionChunkSchema, type ChatCompletionChunk } from "../gen/chatpb/v1/chat_completion_chunk_pb.js";
import { ChatCompletionSchema, type ChatCompletion } from "../gen/chatpb/v1/chat_completion_pb.js";
import { Fold, fold_key } from "../gen/chatpb/v1/options_pb.js";
import type { Residue } from "../gen/chatpb/v1/residue_pb.js";
import { mappingOf } from "../mapping.js";
import { parse } from "../parse.js";
import { fromTree, toTree } from "../tree.js";
import { fold, type FoldOptions } from "./fold.js";
import { CHUNK, COMPLETION, COMPLETION_TEXT, foldRulesOf, keyedNames, type FieldFold, type FoldRules } from "./rules.js";

/**
 * Splits a completion into the chunks of a stream, as api.openai.com would send it.
 *
 * Each choice gives a first chunk with the role, then its text (a chunk for each token if log probabilities tell the
 * tokens), its tool calls, and a last chunk with the finish reason; the usage comes in a chunk of its own. If the pieces
 * cannot express a message, the last chunk of the choice also has the message whole, as some servers send it. If even
 * that does not make the completion, a last chunk has the JSON text of the whole completion in a member that only `fold`
 * reads.
 *
 * The law: `fold(unfold(c))` equals `c`, for every `c` in the normal form that `fromJson` gives.
 *
 * @throws ConversionError The completion cannot be read (see `toJson`).
 */
export function unfold(completion: ChatCompletion, options: FoldOptions = {}): ChatCompletionChunk[] {
  const tree = toTree(ChatCompletionSchema, completion, options.ignoreUnknownFields);
  const normal = fromTree(ChatCompletionSchema, tree);
  const expected = toBinary(ChatCompletionSchema, normal);
  const every = everyPiece(tree, outsideSchema(normal));
  for (const whole of [false, true]) {
    const chunks = chunksOf(split(tree, every, whole));
    if (sameBytes(toBinary(ChatCompletionSchema, fold(chunks)), expected)) return chunks;
  }
  const last: JsonMembers = new Map(every);
  for (const name of keyedNames(ChatCompletionChunkSchema)) last.set(name, []);
  last.set(COMPLETION_TEXT, dump(tree));
  return chunksOf([...split(tree, every, false), last]);
}

function chunksOf(trees: Iterable<JsonMembers>): ChatCompletionChunk[] {
  return [...trees].map((tree) => fromTree(ChatCompletionChunkSchema, tree));
}

function sameBytes(left: Uint8Array, right: Uint8Array): boolean {
  return left.length === right.length && left.every((byte, at) => byte === right[at]);
}

/** The members that the typed fields do not hold. */
function outsideSchema(completion: ChatCompletion): ReadonlySet<string> {
  const residue = COMPLETION.residue && (getField(completion as Members, COMPLETION.residue) as Residue | undefined);
  const text = residue?.extraJson ?? "";
  return new Set(text === "" ? [] : (parse(text, true) as JsonMembers).keys());
}

/** The members that every chunk has: scalars that the schema knows. */
function everyPiece(tree: JsonMembers, outside: ReadonlySet<string>): JsonMembers {
  const every: JsonMembers = new Map();
  const { fields } = foldRulesOf(ChatCompletionChunkSchema);
  for (const { name, unset } of CHUNK.rules) {
    const value = tree.get(name);
    if (value === undefined || outside.has(name) || value instanceof Map || Array.isArray(value)) continue;
    const isKind = fields.get(name)?.fold === Fold.KIND && value === COMPLETION.byName.get(name)?.unset?.value;
    every.set(name, isKind && unset !== undefined ? unset.value : value);
  }
  return every;
}

/** The pieces of a completion; members that are not in every piece come in the last one. */
function* split(tree: JsonMembers, inEvery: JsonMembers, whole: boolean): Generator<JsonMembers> {
  const every: JsonMembers = new Map(inEvery);
  const once: JsonMembers = new Map([...tree].filter(([name]) => !every.has(name)));
  const { fields } = foldRulesOf(ChatCompletionChunkSchema);
  for (const name of keyedNames(ChatCompletionChunkSchema).filter((each) => once.has(each))) {
    const elements = once.get(name);
    if (!Array.isArray(elements) || elements.length === 0 || !elements.every((each) => each instanceof Map)) continue;
    once.delete(name);
    const rules = foldRulesOf((fields.get(name) as FieldFold).message as never);
    for (const choice of elements as JsonMembers[]) {
      for (const part of splitChoice(choice, rules, whole)) yield new Map(every).set(name, [part]);
    }
    every.set(name, []);
    if (once.size === 0) return;
  }
  yield new Map([...every, ...once]);
}

/** The pieces of one choice, the last with the message whole as well if `whole`. */
function* splitChoice(choice: JsonMembers, rules: FoldRules, whole: boolean): Generator<JsonMembers> {
  const fields = [...rules.fields.values()];
  const delta = fields.find((field) => field.into !== field.rule.name);
  const message = delta && choice.get(delta.into);
  if (delta?.message === undefined || !(message instanceof Map)) {
    yield choice;
    return;
  }
  const deltaName = delta.rule.name;
  const last: JsonMembers = new Map([...choice].filter(([name]) => whole || name !== delta.into));
  const every: JsonMembers = new Map();
  for (const { rule } of fields) {
    const value = last.get(rule.name);
    if (value === undefined || rule === delta.rule) continue;
    if (getOption(rule.field, fold_key)) every.set(rule.name, value);
    else if (rule.unset?.value === null) every.set(rule.name, null);
  }
  const { first, texts, lists } = parts(message, foldRulesOf(delta.message));
  yield new Map(every).set(deltaName, first);
  for (const [name, text] of texts) {
    const spelled = tokens(name, text, last, fields);
    if (spelled === undefined) {
      yield new Map(every).set(deltaName, new Map([[name, text]]));
      continue;
    }
    const { holder, elements, nulls } = spelled;
    for (const [element, token] of elements) {
      yield new Map(every)
        .set(deltaName, new Map([[name, token]]))
        .set(holder, new Map<string, Json>(nulls).set(name, [element]));
    }
    last.set(holder, new Map(last.get(holder) as JsonMembers).set(name, []));
  }
  for (const [name, item] of lists) yield new Map(every).set(deltaName, new Map([[name, [item]]]));
  yield last.set(deltaName, new Map());
}

interface Parts {
  /** What comes at once. */
  readonly first: JsonMembers;
  /** What comes as text. */
  readonly texts: ReadonlyMap<string, string>;
  /** What comes element by element. */
  readonly lists: readonly (readonly [name: string, item: Json])[];
}

function parts(message: JsonMembers, rules: FoldRules): Parts {
  const first: JsonMembers = new Map();
  const texts = new Map<string, string>();
  const lists: [string, Json][] = [];
  for (const [name, value] of message) {
    const field = rules.fields.get(name);
    if (field?.fold === Fold.APPEND && typeof value === "string" && value !== "") texts.set(name, value);
    else if (field?.fold === Fold.BY_KEY && Array.isArray(value) && value.length > 0) {
      for (const item of numbered(value, field)) lists.push([name, item]);
    } else first.set(name, value);
  }
  return { first, texts, lists };
}

/** Elements with the key that tells them apart. */
function numbered(values: Json[], field: FieldFold): Json[] {
  const { key } = foldRulesOf(field.message as never);
  if (key === undefined) return values;
  return values.map((value, index) =>
    value instanceof Map ? new Map<string, Json>([[key, new JsonNumber(String(index))], ...value]) : value,
  );
}

interface Tokens {
  /** The member that holds the list. */
  readonly holder: string;
  /** Each element with its text. */
  readonly elements: readonly (readonly [element: Json, token: string])[];
  /** The members next to the list that every piece repeats. */
  readonly nulls: JsonMembers;
}

/** The tokens of a text, where the choice has a list of them under the same name that spells the text. */
function tokens(name: string, text: string, choice: JsonMembers, fields: readonly FieldFold[]): Tokens | undefined {
  for (const { rule, message } of fields) {
    const held = choice.get(rule.name);
    const spelled = message && mappingOf(message).byName.get(name);
    if (!(held instanceof Map) || spelled === undefined || spelled.isMap || spelled.field.message === undefined) continue;
    const token = mappingOf(spelled.field.message).rules.find((each) => each.unsetUtf8)?.unsetUtf8?.name;
    const elements = held.get(name);
    if (token === undefined || !Array.isArray(elements)) continue;
    const texts = elements.map((element) => (element instanceof Map ? element.get(token) : undefined));
    if (!texts.every((each) => typeof each === "string") || texts.join("") !== text) continue;
    return {
      holder: rule.name,
      elements: elements.map((element, at) => [element, texts[at] as string] as const),
      nulls: new Map([...held].filter(([member, value]) => member !== name && value === null)),
    };
  }
  return undefined;
}
