// The bytes, sixteen in a row (eight on a phone), a page of them at a time. Each byte says which
// field it belongs to; arrow keys go from byte to byte.
import { byId, count, counted, el, moveTabStop } from "./dom.js";
import type { Link } from "./link.js";
import { type FieldNode, nodeAt } from "./nodes.js";
import { hexByte } from "./text.js";

const PAGE = 512;
const TINTS = 4;

export class HexView {
  readonly #grid = byId("hex");
  readonly #pages = byId("hex-pages");
  readonly #narrow = matchMedia("(max-width: 40rem)");
  #bytes: Uint8Array = new Uint8Array();
  #root: FieldNode | undefined;
  #broken: number | undefined;
  #from = 0;
  #cells: HTMLElement[] = [];
  #tabStop = 0;
  #marked: FieldNode | undefined;
  #tinted: FieldNode | undefined;
  #tint = 0;

  constructor(readonly link: Link) {
    this.#grid.addEventListener("pointerover", (event) => {
      const at = this.#offsetOf(event.target);
      if (at !== undefined) link.point(this.#nodeAt(at), this);
    });
    this.#grid.addEventListener("pointerleave", () => link.point(undefined, this));
    this.#grid.addEventListener("focusin", (event) => {
      const at = this.#offsetOf(event.target);
      if (at === undefined) return;
      this.#stopAt(at);
      link.focus(this.#nodeAt(at), this);
    });
    this.#grid.addEventListener("keydown", (event) => this.#key(event));
    this.#narrow.addEventListener("change", () => this.#render());
    link.listen((node, how, from) => {
      if (how === "focus" && from !== this && node !== undefined) this.#bring(node);
      this.#mark(node);
    });
  }

  show(bytes: Uint8Array, root: FieldNode | undefined, broken?: number): void {
    this.#bytes = bytes;
    this.#root = root;
    this.#broken = broken;
    this.#marked = undefined;
    this.#from = broken === undefined ? 0 : Math.floor(broken / PAGE) * PAGE;
    this.#tabStop = this.#from;
    this.#render();
  }

  get #columns(): number {
    return this.#narrow.matches ? 8 : 16;
  }

  #nodeAt(at: number): FieldNode | undefined {
    return this.#root && nodeAt(this.#root, at);
  }

  #offsetOf(target: EventTarget | null): number | undefined {
    const at = (target as HTMLElement | null)?.dataset?.["at"];
    return at === undefined ? undefined : Number(at);
  }

  #render(): void {
    const until = Math.min(this.#from + PAGE, this.#bytes.length);
    const width = Math.max(4, this.#bytes.length.toString(16).length);
    const rows: HTMLElement[] = [];
    this.#cells = [];
    for (let at = this.#from; at < until; at += this.#columns) {
      const end = Math.min(at + this.#columns, until);
      const offset = at.toString(16).padStart(width, "0");
      const row = el("div", { role: "row" }, el("span", { role: "rowheader", class: "offset" }, offset));
      let ascii = "";
      for (let byte = at; byte < end; byte++) {
        const value = this.#bytes[byte] as number;
        const cell = this.#cell(byte, value);
        this.#cells.push(cell);
        row.append(cell);
        ascii += value >= 0x20 && value < 0x7f ? String.fromCharCode(value) : "·";
      }
      row.append(el("span", { class: "ascii", "aria-hidden": "true" }, ascii));
      rows.push(row);
    }
    const empty = el("p", { class: "none" }, this.#root ? "No bytes: every field is unset." : "Nothing was read.");
    this.#grid.replaceChildren(...(rows.length > 0 ? rows : [empty]));
    this.#stopAt(this.#tabStop);
    this.#renderPages(until);
    this.#mark(this.#marked);
  }

  #cell(at: number, value: number): HTMLElement {
    const node = this.#nodeAt(at);
    let part = "none";
    if (node !== undefined) {
      part = at < node.lengthStart ? "tag" : at < node.valueStart ? "length" : "value";
    }
    if (at === this.#broken) part += " broken";
    if (node !== this.#tinted) {
      this.#tinted = node; // neighbours differ
      this.#tint = (this.#tint + 1) % TINTS;
    }
    const tint = node === undefined ? "" : ` tint${this.#tint}`;
    const first = node !== undefined && at === node.start ? " first" : "";
    const label = `byte ${at}, ${hexByte(value)}, ${node === undefined ? "no field" : `${part} of ${node.path}`}`;
    return el(
      "span",
      { role: "gridcell", class: part + tint + first, tabindex: -1, "data-at": at, "aria-label": label },
      hexByte(value),
    );
  }

  #renderPages(until: number): void {
    const all = this.#bytes.length;
    if (all === 0 && this.#root === undefined) return this.#pages.replaceChildren();
    if (all <= PAGE) {
      this.#pages.replaceChildren(`All ${counted(all, "byte")}.`);
      return;
    }
    const button = (text: string, to: number) => {
      const made = el("button", { type: "button", disabled: to < 0 || to >= all }, text);
      made.addEventListener("click", () => this.#go(to));
      return made;
    };
    this.#pages.replaceChildren(
      button("Earlier", this.#from - PAGE),
      button("Later", this.#from + PAGE),
      ` Bytes ${count(this.#from)} to ${count(until - 1)} of ${count(all)}; the others are not shown.`,
    );
  }

  #go(from: number): void {
    this.#from = from;
    this.#tabStop = from;
    this.#render();
  }

  #bring(node: FieldNode): void {
    const page = Math.floor(node.start / PAGE) * PAGE;
    if (page !== this.#from && node.start < this.#bytes.length) this.#go(page);
    const cell = this.#cells[node.start - this.#from];
    if (cell === undefined) return;
    const row = cell.parentElement as HTMLElement;
    const box = this.#grid;
    if (row.offsetTop < box.scrollTop || row.offsetTop + row.offsetHeight > box.scrollTop + box.clientHeight) {
      box.scrollTop = row.offsetTop - 2 * row.offsetHeight; // not scrollIntoView: the page stays
    }
    this.#stopAt(node.start);
  }

  #stopAt(at: number): void {
    const cell = this.#cells[at - this.#from];
    if (cell === undefined) return;
    moveTabStop(this.#cells[this.#tabStop - this.#from], cell);
    this.#tabStop = at;
  }

  #mark(node: FieldNode | undefined): void {
    this.#marked = node;
    this.#cells.forEach((cell, index) => {
      const at = index + this.#from;
      cell.classList.toggle("marked", node !== undefined && at >= node.start && at < node.end);
    });
  }

  #key(event: KeyboardEvent): void {
    const at = this.#offsetOf(event.target);
    if (at === undefined || event.ctrlKey || event.altKey || event.metaKey) return;
    const last = this.#bytes.length - 1;
    const steps: Record<string, number> = {
      ArrowLeft: at - 1,
      ArrowRight: at + 1,
      ArrowUp: at - this.#columns,
      ArrowDown: at + this.#columns,
      PageUp: Math.max(0, at - PAGE),
      PageDown: Math.min(last, at + PAGE),
      Home: at - (at % this.#columns),
      End: Math.min(last, at - (at % this.#columns) + this.#columns - 1),
    };
    const to = steps[event.key];
    if (to === undefined) return;
    event.preventDefault();
    if (to < 0 || to > last) return;
    if (to < this.#from || to >= this.#from + PAGE) this.#go(Math.floor(to / PAGE) * PAGE);
    this.#cells[to - this.#from]?.focus();
  }
}
