// What is wrong with a text, and where: said below it, marked in it.
import { byId, count, el } from "./dom.js";
import { lineAndColumn } from "./text.js";

const AROUND = 30;

export interface Problem {
  path: string | undefined;
  /** In the text or the bytes; undefined where it has no place. */
  offset: number | undefined;
  reason: string;
  /** Where it stands in the text of the field, and how much of it. */
  index: number | undefined;
  length: number;
}

/** A text area whose text can be marked: the same text lies behind it, with the mark. */
export class MarkedText {
  readonly area: HTMLTextAreaElement;
  readonly #behind: HTMLElement;
  readonly #says: HTMLElement;

  constructor(id: string) {
    this.area = byId<HTMLTextAreaElement>(id);
    this.#behind = byId(`${id}-behind`);
    this.#says = byId(`${id}-problem`);
    this.area.addEventListener("scroll", () => this.#scroll());
    new ResizeObserver(() => this.#scroll()).observe(this.area);
  }

  #scroll(): void {
    this.#behind.scrollTop = this.area.scrollTop;
    this.#behind.scrollLeft = this.area.scrollLeft;
  }

  say(problem: Problem | undefined): void {
    this.area.setAttribute("aria-invalid", String(problem !== undefined));
    this.#says.hidden = problem === undefined;
    this.#behind.replaceChildren();
    if (problem === undefined) return;
    const parts: (Node | string)[] = [];
    if (problem.path !== undefined) parts.push(el("code", { class: "path" }, problem.path), " ");
    if (problem.offset !== undefined) parts.push(el("span", { class: "at" }, `byte ${count(problem.offset)}`), " ");
    parts.push(el("span", { class: "reason" }, problem.reason));
    if (problem.index !== undefined) parts.push(...this.#place(problem.index, problem.length));
    this.#says.replaceChildren(...parts);
  }

  #place(index: number, length: number): (Node | string)[] {
    const text = this.area.value;
    const end = Math.min(text.length, index + length);
    const marked = () => el("mark", {}, text.slice(index, end) || " ");
    this.#behind.replaceChildren(text.slice(0, index), marked(), text.slice(end), "\n");
    this.#scroll();
    const [line, column] = lineAndColumn(text, index);
    const go = el("button", { type: "button" }, `line ${count(line)}, column ${count(column)}`);
    go.addEventListener("click", () => {
      const mark = this.#behind.querySelector("mark");
      this.area.focus();
      this.area.setSelectionRange(index, end);
      if (mark !== null) this.area.scrollTop = mark.offsetTop - this.area.clientHeight / 2;
    });
    const before = text.slice(Math.max(0, index - AROUND), index);
    const after = text.slice(end, end + AROUND);
    return [
      " ",
      go,
      el(
        "pre",
        { class: "excerpt" },
        index > AROUND && "…",
        before.slice(before.lastIndexOf("\n") + 1),
        marked(),
        after.split("\n")[0],
      ),
    ];
  }
}
