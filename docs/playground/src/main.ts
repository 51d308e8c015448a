// The page: two texts, each made from the other, and the views of what lies between them.
import type { DescMessage } from "@bufbuild/protobuf";
import { ConversionError, binaryToJson, jsonToBinary, residueRows } from "./convert.js";
import { byId, count, el } from "./dom.js";
import { EXAMPLES } from "./examples.js";
import { HexView } from "./hex.js";
import { KINDS, recognise } from "./kinds.js";
import { Link } from "./link.js";
import { faultIn } from "./fault.js";
import { type FieldNode, nodesOf } from "./nodes.js";
import { MarkedText, type Problem } from "./problem.js";
import { showResidue } from "./residue.js";
import * as schema from "./schema.js";
import {
  BytesError,
  type WrittenBytes,
  base64,
  compactJson,
  hex,
  indentJson,
  indexOfOffset,
  parseBytes,
  utf8,
} from "./text.js";
import { TokensView } from "./tokens.js";
import { TreeView } from "./tree.js";

const AT_ONCE = 20_000;
const WAIT_MS = 250;

const link = new Link();
const tree = new TreeView(link);
const bytesView = new HexView(link);
const tokens = new TokensView(link);
const json = new MarkedText("json");
const binary = new MarkedText("binary");
const kind = byId<HTMLSelectElement>("kind");
const form = byId<HTMLSelectElement>("form");
const example = byId<HTMLSelectElement>("example");

let type: DescMessage = schema.ChatCompletionSchema;
let shown: Uint8Array = new Uint8Array();
/** The text that was made last from the other. */
let source: MarkedText = json;

const types = new Map<string, DescMessage>();
for (const name of Object.values(schema)) {
  if (!isMessage(name) || !name.fields.some((field) => field.message?.name === "Residue")) continue;
  types.set(name.typeName, name);
}

/** JSON to binary: the views show what came of it. */
function fromJsonText(): void {
  source = json;
  const text = json.area.value;
  binary.say(undefined);
  chooseType(text);
  try {
    const bytes = jsonToBinary(type, text);
    json.say(undefined);
    setBinaryText(bytes);
    showAll(bytes, text);
  } catch (error) {
    json.say(jsonProblem(error, text));
    binary.area.value = "";
    showAll(undefined, text);
  }
}

/** Binary to JSON. */
function fromBinaryText(): void {
  source = binary;
  const text = binary.area.value;
  json.say(undefined);
  json.area.value = "";
  if (kind.value !== "") type = types.get(kind.value) ?? type;
  sayType();
  let written: WrittenBytes;
  try {
    written = parseBytes(text);
  } catch (error) {
    const index = error instanceof BytesError ? error.index : undefined;
    binary.say({ path: undefined, offset: undefined, reason: message(error), index, length: 1 });
    return showAll(undefined, "");
  }
  const { bytes } = written;
  byId("binary-form").textContent = `read as ${written.form === "hex" ? "hexadecimal" : "base64"}`;
  try {
    const made = binaryToJson(type, bytes);
    binary.say(undefined);
    json.area.value = indentJson(made);
    showAll(bytes, made);
  } catch (error) {
    showAll(undefined, "");
    sayBinaryProblem(error, written);
  }
}

/** Says what is wrong with bytes, and shows them with the fields before the fault. */
function sayBinaryProblem(error: unknown, { bytes, indexOf }: WrittenBytes): void {
  const fault = faultIn(type, bytes);
  binary.say({
    path: fault?.path ?? (error instanceof ConversionError ? error.path : undefined),
    offset: fault?.offset,
    reason: error instanceof ConversionError ? error.reason : message(error),
    index: fault && indexOf(fault.offset),
    length: 2,
  });
  let root: FieldNode | undefined;
  try {
    root = nodesOf(type, bytes.subarray(0, fault?.whole));
  } catch {
    root = undefined; // the fault is in a group or in nesting, and has no place
  }
  bytesView.show(bytes, root, fault?.offset);
  tree.show(root);
}

function jsonProblem(error: unknown, text: string): Problem {
  if (!(error instanceof ConversionError)) {
    return { path: undefined, offset: undefined, reason: message(error), index: undefined, length: 0 };
  }
  const { offset } = error;
  return {
    path: error.path,
    offset: offset ?? undefined,
    reason: error.reason,
    index: offset === undefined || offset === null ? undefined : indexOfOffset(text, offset),
    length: 1,
  };
}

function message(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function showAll(bytes: Uint8Array | undefined, text: string): void {
  document.body.classList.toggle("failed", bytes === undefined);
  shown = bytes ?? new Uint8Array();
  const root = bytes && nodesOf(type, bytes);
  tree.show(root);
  bytesView.show(shown, root);
  tokens.show(root, shown);
  showResidue(bytes && residueRows(type, bytes));
  showSizes(bytes, text);
  link.focus(undefined, link); // what had the focus is gone
}

function showSizes(bytes: Uint8Array | undefined, text: string): void {
  const compact = bytes === undefined ? undefined : utf8(compactJson(text)).length;
  const put = (id: string, value: string) => (byId(id).textContent = value);
  put("size-json", compact === undefined ? "–" : `${count(compact)} bytes`);
  put("size-binary", bytes === undefined ? "–" : `${count(bytes.length)} bytes`);
  const ratio = compact === undefined || !bytes?.length ? "–" : `${(compact / bytes.length).toFixed(2)} : 1`;
  put("size-ratio", ratio);
}

function setBinaryText(bytes: Uint8Array): void {
  binary.area.value = form.value === "base64" ? base64(bytes) : hex(bytes);
  byId("binary-form").textContent = "";
}

function chooseType(text: string): void {
  type = types.get(kind.value) ?? recognise(text);
  sayType();
}

function sayType(): void {
  byId("type").textContent = `${type.typeName}${kind.value === "" ? ", recognised" : ""}`;
}

function sayWhere(node: FieldNode | undefined): void {
  const where = byId("where");
  if (node === undefined) {
    where.textContent = "Point at a field or at a byte, or go there with Tab and the arrow keys.";
    return;
  }
  const parts = node.valueStart > node.start ? `tag and length ${node.valueStart - node.start}, ` : "";
  const about = node.number > 0 ? `, field ${node.number}` : "";
  const last = node.end > node.start ? ` to ${count(node.end - 1)}` : "";
  where.replaceChildren(
    el("code", {}, node.path),
    `${about}: bytes ${count(node.start)}${last} (${parts}value ${count(node.end - node.valueStart)})`,
  );
  where.dataset["start"] = String(node.start);
  where.dataset["end"] = String(node.end);
}

function isMessage(value: unknown): value is DescMessage {
  return typeof value === "object" && value !== null && (value as { kind?: string }).kind === "message";
}

/** Calls a function now, or for a long text once the typing has stopped. */
function settled(area: HTMLTextAreaElement, then: () => void): void {
  let timer = 0;
  area.addEventListener("input", () => {
    clearTimeout(timer);
    if (area.value.length < AT_ONCE) then();
    else timer = window.setTimeout(then, WAIT_MS);
  });
}

function fillChoices(): void {
  const short = el("optgroup", { label: "as the command line names them" });
  const named = new Set<string>();
  for (const [name, desc] of KINDS) {
    short.append(el("option", { value: desc.typeName }, `${name} (${desc.name})`));
    named.add(desc.typeName);
  }
  const others = el("optgroup", { label: "other messages" });
  for (const [name, desc] of types) if (!named.has(name)) others.append(el("option", { value: name }, desc.name));
  kind.append(el("option", { value: "" }, "recognise it"), short, others);
  example.append(...EXAMPLES.map(([name], index) => el("option", { value: index }, name)));
}

fillChoices();
link.listen((node) => sayWhere(node));
settled(json.area, fromJsonText);
settled(binary.area, fromBinaryText);
kind.addEventListener("change", () => (source === json ? fromJsonText() : fromBinaryText()));
form.addEventListener("change", () => {
  if (shown.length > 0) setBinaryText(shown);
  binary.say(undefined);
  if (document.body.classList.contains("failed") && source === binary) fromBinaryText();
});
example.addEventListener("change", () => {
  kind.value = "";
  json.area.value = EXAMPLES[Number(example.value)]?.[1] ?? "";
  json.area.scrollTop = 0;
  fromJsonText();
});
byId("indent").addEventListener("click", () => {
  if (document.body.classList.contains("failed")) return;
  json.area.value = indentJson(json.area.value);
});
byId("compact").addEventListener("click", () => {
  if (document.body.classList.contains("failed")) return;
  json.area.value = compactJson(json.area.value);
});
byId<HTMLInputElement>("unset").addEventListener("change", (event) => {
  tree.showUnset = (event.target as HTMLInputElement).checked;
  tree.refresh();
});
json.area.value = EXAMPLES[0]?.[1] ?? "";
fromJsonText();
