// The message as a tree, after the pattern for trees of the ARIA Authoring Practices. Rows are made
// when their parent is opened, and no more of them than a browser bears.
import type { DescField, DescMessage } from "@bufbuild/protobuf";
import { ScalarType, getOption, hasOption } from "@bufbuild/protobuf";
import { byId, counted, el, moveTabStop } from "./dom.js";
import type { Link } from "./link.js";
import type { FieldNode } from "./nodes.js";
import { json_unset, json_unset_utf8 } from "./schema.js";

const OPEN_AT_ONCE = 150;
const PART = 100;
const MAX_ROWS = 2000;
const EXPLICIT = 1;

export class TreeView {
  readonly #list = byId("tree");
  readonly #note = byId("tree-note");
  readonly #items = new Map<FieldNode, HTMLElement>();
  readonly #nodes = new WeakMap<HTMLElement, FieldNode>();
  readonly #more = new WeakMap<HTMLElement, () => void>();
  #tabStop: HTMLElement | undefined;
  #marked: HTMLElement | undefined;
  #rows = 0;
  #root: FieldNode | undefined;
  showUnset = false;

  constructor(readonly link: Link) {
    this.#list.addEventListener("pointerover", (event) => {
      const item = this.#itemOf(event.target);
      if (item !== undefined) link.point(this.#nodes.get(item), this);
    });
    this.#list.addEventListener("pointerleave", () => link.point(undefined, this));
    this.#list.addEventListener("focusin", (event) => {
      const item = this.#itemOf(event.target);
      if (item === undefined) return;
      this.#stopAt(item);
      link.focus(this.#nodes.get(item), this);
    });
    this.#list.addEventListener("click", (event) => {
      const item = this.#itemOf(event.target);
      if (item === undefined) return;
      this.#act(item);
    });
    this.#list.addEventListener("keydown", (event) => this.#key(event));
    link.listen((node, how, from) => {
      if (how === "focus" && from !== this && node !== undefined) this.#bring(node);
      this.#mark(node);
    });
  }

  show(root: FieldNode | undefined): void {
    this.#root = root;
    this.#items.clear();
    this.#rows = 0;
    this.#tabStop = undefined;
    this.#marked = undefined;
    this.#list.replaceChildren();
    if (root === undefined) return;
    const top = this.#item(root);
    this.#list.append(top);
    this.#open(top);
    let level = root.children;
    while (level.length > 0 && this.#rows + level.length < OPEN_AT_ONCE) {
      const next: FieldNode[] = [];
      for (const node of level) {
        const item = this.#items.get(node);
        if (item === undefined || this.#rows + node.children.length > OPEN_AT_ONCE) continue;
        this.#open(item);
        next.push(...node.children);
      }
      level = next;
    }
    this.#stopAt(top);
    this.#say();
  }

  #say(): void {
    this.#note.textContent =
      this.#rows >= MAX_ROWS
        ? `The tree shows ${counted(MAX_ROWS, "row")}; close some to see others.`
        : `${counted(this.#rows, "row")} shown; fields in closed rows are not.`;
  }

  #item(node: FieldNode): HTMLElement {
    const { field } = node;
    const opens = node.children.length > 0 || (this.showUnset && unsetFields(node).length > 0);
    const item = el(
      "li",
      { role: "treeitem", tabindex: -1, "aria-expanded": opens ? "false" : undefined, "data-path": node.path },
      el(
        "div",
        { class: "row" },
        el("span", { class: "name" }, node.name),
        node.text !== "" && el("span", { class: field?.enum ? "value word" : "value" }, node.text),
        summary(node) !== "" && el("span", { class: "value dim" }, summary(node)),
        ...badges(node).map((text) => el("span", { class: "badge" }, text)),
        field !== undefined && el("span", { class: "type" }, typeName(field)),
      ),
    );
    this.#items.set(node, item);
    this.#nodes.set(item, node);
    this.#rows++;
    return item;
  }

  #open(item: HTMLElement): void {
    const node = this.#nodes.get(item);
    if (node === undefined || item.getAttribute("aria-expanded") !== "false") return;
    if (this.#rows >= MAX_ROWS) return this.#say();
    const group = el("ul", { role: "group" });
    this.#part(node, group, 0);
    item.append(group);
    item.setAttribute("aria-expanded", "true");
    this.#say();
  }

  #close(item: HTMLElement): void {
    const group = item.querySelector(":scope > ul");
    if (group === null) return;
    for (const inner of group.querySelectorAll<HTMLElement>("[role=treeitem]")) {
      const node = this.#nodes.get(inner);
      if (node !== undefined) this.#items.delete(node);
      this.#rows--;
    }
    group.remove();
    item.setAttribute("aria-expanded", "false");
    this.#say();
  }

  /** The next rows of a group, and a row that gives more. */
  #part(node: FieldNode, group: HTMLElement, from: number): void {
    const until = Math.min(node.children.length, from + PART);
    for (const child of node.children.slice(from, until)) group.append(this.#item(child));
    const left = node.children.length - until;
    if (left > 0) {
      const text = `${counted(left, "field")} more, not shown: show the next ${Math.min(PART, left)}`;
      const more = el("li", { role: "treeitem", tabindex: -1, class: "more" }, el("div", { class: "row" }, text));
      this.#rows++;
      this.#more.set(more, () => {
        if (this.#rows >= MAX_ROWS) return this.#say();
        this.#rows--;
        this.#part(node, group, until);
        const first = more.nextElementSibling as HTMLElement | null;
        more.remove();
        first?.focus({ preventScroll: true });
        this.#say();
      });
      group.append(more);
    } else if (this.showUnset) {
      for (const field of unsetFields(node)) {
        group.append(
          el(
            "li",
            { role: "treeitem", tabindex: -1, class: "unset" },
            el(
              "div",
              { class: "row" },
              el("span", { class: "name" }, field.name),
              el("span", { class: "value dim" }, `unset: ${standsFor(field)}`),
              el("span", { class: "type" }, typeName(field)),
            ),
          ),
        );
        this.#rows++;
      }
    }
  }

  #bring(node: FieldNode): void {
    const line: FieldNode[] = [];
    for (let at: FieldNode | undefined = node; at !== undefined; at = at.parent) line.unshift(at);
    for (const above of line.slice(0, -1)) {
      const item = this.#items.get(above);
      if (item !== undefined) this.#open(item);
    }
    const item = this.#items.get(node);
    if (item === undefined) return;
    const row = item.firstElementChild as HTMLElement;
    const box = this.#list;
    const top = row.getBoundingClientRect().top - box.getBoundingClientRect().top;
    if (top < 0 || top + row.offsetHeight > box.clientHeight) {
      box.scrollTop += top - box.clientHeight / 3; // not scrollIntoView: the page stays
    }
    this.#stopAt(item);
  }

  #mark(node: FieldNode | undefined): void {
    this.#marked?.classList.remove("marked", "near");
    let at = node;
    while (at !== undefined && !this.#items.has(at)) at = at.parent;
    this.#marked = at && this.#items.get(at);
    this.#marked?.classList.add(at === node ? "marked" : "near");
  }

  #itemOf(target: EventTarget | null): HTMLElement | undefined {
    return (target as HTMLElement | null)?.closest<HTMLElement>("[role=treeitem]") ?? undefined;
  }

  #stopAt(item: HTMLElement): void {
    moveTabStop(this.#tabStop, item);
    this.#tabStop = item;
  }

  #act(item: HTMLElement): void {
    const more = this.#more.get(item);
    if (more !== undefined) return more();
    if (item.getAttribute("aria-expanded") === "true") this.#close(item);
    else this.#open(item);
    item.focus({ preventScroll: true });
  }

  #key(event: KeyboardEvent): void {
    const item = this.#itemOf(event.target);
    if (item === undefined || event.ctrlKey || event.altKey || event.metaKey) return;
    const items = [...this.#list.querySelectorAll<HTMLElement>("[role=treeitem]")];
    const at = items.indexOf(item);
    const isOpen = item.getAttribute("aria-expanded");
    let to: HTMLElement | null | undefined;
    switch (event.key) {
      case "ArrowDown":
        to = items[at + 1];
        break;
      case "ArrowUp":
        to = items[at - 1];
        break;
      case "Home":
        to = items[0];
        break;
      case "End":
        to = items[items.length - 1];
        break;
      case "ArrowRight":
        if (isOpen === "false") this.#open(item);
        else if (isOpen === "true") to = items[at + 1];
        break;
      case "ArrowLeft":
        if (isOpen === "true") this.#close(item);
        else to = item.parentElement?.closest<HTMLElement>("[role=treeitem]");
        break;
      case "Enter":
      case " ":
        this.#act(item);
        break;
      default:
        return;
    }
    event.preventDefault();
    to?.focus();
  }

  refresh(): void {
    this.show(this.#root);
  }
}

function summary(node: FieldNode): string {
  if (node.message !== undefined && node.children.length === 0) return "{}";
  return "";
}

/** What the value alone does not say. */
function badges(node: FieldNode): string[] {
  if (node.parent === undefined) return [counted(node.end, "byte")];
  if (!node.isKnown) return ["not in the schema"];
  if (node.field === undefined) return [];
  const isZero = ["0", "-0", "false", '""', "no bytes"].includes(node.text) || / = 0$/.test(node.text);
  return node.field.presence === EXPLICIT && isZero ? ["set, though zero"] : [];
}

function unsetFields(node: FieldNode): DescField[] {
  const set = new Set(node.children.map((child) => child.number));
  const fields = (node.message?.fields ?? []) as DescField[];
  return fields.filter((field) => !set.has(field.number) && field.message?.name !== "Residue");
}

/** What an unset field stands for, in the words of docs/mapping.md. */
function standsFor(field: DescField): string {
  if (hasOption(field, json_unset)) return `stands for ${getOption(field, json_unset)}`;
  if (hasOption(field, json_unset_utf8)) {
    return `stands for the UTF-8 of ${getOption(field, json_unset_utf8)}`;
  }
  if (field.fieldKind === "scalar" && field.presence !== EXPLICIT) {
    if (field.scalar === ScalarType.STRING) return 'stands for ""';
    return `stands for ${field.scalar === ScalarType.BOOL ? "false" : "0"}`;
  }
  return "no member";
}

function typeName(field: DescField): string {
  const value = (message?: DescMessage) =>
    message?.name ?? field.enum?.name ?? ScalarType[scalarOf(field)]?.toLowerCase() ?? "";
  switch (field.fieldKind) {
    case "list":
      return `repeated ${value(field.message)}`;
    case "map":
      return `map<string, ${value(field.message)}>`;
    case "message":
      return value(field.message);
    default:
      return (field.presence === EXPLICIT ? "optional " : "") + value();
  }
}

function scalarOf(field: DescField): ScalarType {
  return "scalar" in field && field.scalar !== undefined ? field.scalar : ScalarType.STRING;
}
