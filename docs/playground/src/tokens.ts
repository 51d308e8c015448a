// Log probabilities: the tokens of each list, coloured by probability, and of the one under the
// pointer or the focus everything that was said about it.
import { type Together, splitCharacters } from "./characters.js";
import { fromBinary } from "./convert.js";
import { byId, count, counted, el, moveTabStop, present } from "./dom.js";
import type { Link } from "./link.js";
import type { FieldNode } from "./nodes.js";
import { type ChatCompletionTokenLogprob, ChoiceLogprobsSchema, type TopLogprob } from "./schema.js";
import { fromUtf8, hex, utf8 } from "./text.js";

const PAGE = 400;
const MAX_LISTS = 12;
const IN_TIP = 5;
const IN_DETAILS = 40;
const LEVELS = [0.9, 0.5, 0.2, 0.05];

interface Token {
  said: ChatCompletionTokenLogprob;
  bytes: Uint8Array;
  together: Together | undefined;
  node: FieldNode;
  place: string;
}

export class TokensView {
  readonly #section = byId("logprobs");
  readonly #lists = byId("token-lists");
  readonly #details = byId("token-details");
  readonly #tip = byId("token-tip");
  readonly #tokens = new WeakMap<HTMLElement, Token>();
  readonly #buttons = new Map<FieldNode, HTMLElement>();
  #bytes: Uint8Array = new Uint8Array();

  constructor(readonly link: Link) {
    this.#lists.addEventListener("pointerover", (event) => {
      const button = this.#buttonOf(event.target);
      if (button !== undefined) this.#show(button, "point");
    });
    this.#lists.addEventListener("pointerleave", () => {
      this.#tip.hidden = true;
      link.point(undefined, this);
    });
    this.#lists.addEventListener("focusin", (event) => {
      const button = this.#buttonOf(event.target);
      if (button === undefined) return;
      const list = button.parentElement as HTMLElement;
      moveTabStop(list.querySelector("[tabindex='0']"), button);
      this.#show(button, "focus");
    });
    this.#lists.addEventListener("focusout", () => (this.#tip.hidden = true));
    this.#lists.addEventListener("keydown", (event) => this.#key(event));
    link.listen((node) => {
      for (const marked of this.#lists.querySelectorAll(".marked")) marked.classList.remove("marked");
      let at = node;
      while (at !== undefined && !this.#buttons.has(at)) at = at.parent;
      if (at !== undefined) this.#buttons.get(at)?.classList.add("marked");
    });
  }

  show(root: FieldNode | undefined, bytes: Uint8Array): void {
    this.#bytes = bytes;
    this.#buttons.clear();
    this.#tip.hidden = true;
    const lists = root === undefined ? [] : [...tokenLists(root)];
    this.#section.hidden = lists.length === 0;
    this.#lists.replaceChildren(...lists.slice(0, MAX_LISTS).map((list) => this.#list(list)));
    if (lists.length > MAX_LISTS) {
      this.#lists.append(
        el("p", { class: "note" }, `${counted(lists.length - MAX_LISTS, "list")} more of tokens, not shown.`),
      );
    }
    this.#describe(undefined);
  }

  #list({ name, nodes, holder }: TokenList): HTMLElement {
    const said = fromBinary(ChoiceLogprobsSchema, this.#bytes.subarray(holder.valueStart, holder.end));
    const all = name === "refusal" ? said.refusal : said.content;
    const bytes = all.map((token) => token.bytes ?? utf8(token.token));
    const together = splitCharacters(bytes);
    const mean = all.reduce((sum, token) => sum + token.logprob, 0) / all.length;
    const box = el("div", { class: "tokens", role: "toolbar", "aria-label": `tokens of ${holder.path}.${name}` });
    const pages = el("p", { class: "note pages" });
    const show = (from: number) => {
      const until = Math.min(all.length, from + PAGE);
      box.replaceChildren();
      for (let at = from; at < until; at++) {
        const token = {
          said: all[at] as ChatCompletionTokenLogprob,
          bytes: bytes[at] as Uint8Array,
          together: together[at],
          node: nodes[at] as FieldNode,
          place: `token ${at + 1} of ${all.length}`,
        };
        box.append(this.#button(token, at === from));
      }
      if (all.length <= PAGE) return;
      const button = (text: string, to: number) => {
        const made = el("button", { type: "button", disabled: to < 0 || to >= all.length }, text);
        made.addEventListener("click", () => show(to));
        return made;
      };
      pages.replaceChildren(
        button("Earlier", from - PAGE),
        button("Later", from + PAGE),
        ` Tokens ${count(from + 1)} to ${count(until)} of ${count(all.length)}; the others are not shown.`,
      );
    };
    show(0);
    return el(
      "section",
      { class: "token-list" },
      el("h3", {}, el("code", {}, holder.path.replace(/^\$\./, "")), ` ${name}`),
      el(
        "p",
        { class: "note" },
        `${counted(all.length, "token")}, perplexity ${figure(Math.exp(-mean))}, least likely ${percent(
          Math.exp(Math.min(...all.slice(0, 100_000).map((token) => token.logprob))),
        )}`,
      ),
      box,
      pages,
    );
  }

  #button(token: Token, isStop: boolean): HTMLElement {
    const probability = Math.exp(token.said.logprob);
    const text = fromUtf8(token.bytes);
    const isSplit = text === undefined || (token.said.bytes !== undefined && text !== token.said.token);
    const label = `${shown(token.said.token)}, ${percent(probability)}`;
    const button = el(
      "button",
      {
        type: "button",
        class: `token ${level(probability)}${isSplit ? " split" : ""}`,
        tabindex: isStop ? 0 : -1,
        "aria-label": label,
      },
      isSplit && token.bytes.length > 0 ? hex(token.bytes) : visible(token.said.token),
    );
    this.#tokens.set(button, token);
    this.#buttons.set(token.node, button);
    return button;
  }

  #buttonOf(target: EventTarget | null): HTMLElement | undefined {
    return (target as HTMLElement | null)?.closest<HTMLElement>(".token") ?? undefined;
  }

  #show(button: HTMLElement, how: "point" | "focus"): void {
    const token = this.#tokens.get(button);
    if (token === undefined) return;
    this.#describe(token);
    this.#tipOver(button, token);
    if (how === "focus") this.link.focus(token.node, this);
    else this.link.point(token.node, this);
  }

  #tipOver(button: HTMLElement, token: Token): void {
    const { said } = token;
    const rows = said.topLogprobs.slice(0, IN_TIP).map((top) => alternative(top, said.token));
    const left = said.topLogprobs.length - rows.length;
    this.#tip.replaceChildren(
      ...present(
        el("strong", {}, shown(said.token)),
        ` ${percent(Math.exp(said.logprob))}`,
        rows.length > 0 && el("table", {}, el("tbody", {}, ...rows)),
        left > 0 && el("div", { class: "dim" }, `${left} more below`),
      ),
    );
    this.#tip.hidden = false;
    const at = button.getClientRects()[0] ?? button.getBoundingClientRect();
    const size = this.#tip.getBoundingClientRect();
    const x = Math.max(8, Math.min(at.left, document.documentElement.clientWidth - size.width - 8));
    const below = at.bottom + 6 + size.height < innerHeight || at.top < size.height + 6;
    this.#tip.style.left = `${x + scrollX}px`;
    this.#tip.style.top = `${(below ? at.bottom + 6 : at.top - size.height - 6) + scrollY}px`;
  }

  #describe(token: Token | undefined): void {
    if (token === undefined) {
      this.#details.replaceChildren(
        el("p", { class: "none" }, "Point at a token, or go to one with Tab and the arrow keys."),
      );
      return;
    }
    const { said, bytes, together } = token;
    const part =
      together === undefined || together.first === together.last
        ? undefined
        : `a part of ${shown(together.text)}, which tokens ${together.first + 1} to ${together.last + 1} make`;
    const facts: [string, string | undefined][] = [
      ["token", shown(said.token)],
      ["probability", percent(Math.exp(said.logprob))],
      ["log probability", Object.is(said.logprob, -0) ? "-0" : String(said.logprob)],
      ["bytes", `${hex(bytes) || "none"}${said.bytes === undefined ? " (the UTF-8 of the token)" : ""}`],
      ["character", part],
    ];
    const tops = said.topLogprobs.slice(0, IN_DETAILS);
    const left = said.topLogprobs.length - tops.length;
    this.#details.replaceChildren(
      ...present(
        el("p", { class: "dim" }, token.place),
        el(
          "dl",
          {},
          ...facts.flatMap(([name, value]) =>
            value === undefined ? [] : [el("dt", {}, name), el("dd", {}, value)],
          ),
        ),
        tops.length === 0 && el("p", { class: "none" }, "No alternatives were given."),
        tops.length > 0 &&
          el(
            "table",
            { class: "alternatives" },
            el("caption", {}, counted(said.topLogprobs.length, "alternative")),
            el("tbody", {}, ...tops.map((top) => alternative(top, said.token))),
          ),
        left > 0 && el("p", { class: "dim" }, `${left} more, not shown.`),
      ),
    );
    this.#details.scrollTop = 0;
  }

  #key(event: KeyboardEvent): void {
    const button = this.#buttonOf(event.target);
    if (event.key === "Escape") this.#tip.hidden = true;
    if (button === undefined || event.ctrlKey || event.altKey || event.metaKey) return;
    const list = button.parentElement as HTMLElement;
    const steps: Record<string, Element | null> = {
      ArrowRight: button.nextElementSibling,
      ArrowLeft: button.previousElementSibling,
      Home: list.firstElementChild,
      End: list.lastElementChild,
    };
    if (!(event.key in steps)) return;
    event.preventDefault();
    (steps[event.key] as HTMLElement | null)?.focus();
  }
}

interface TokenList {
  name: string;
  holder: FieldNode;
  nodes: FieldNode[];
}

/** The lists of tokens in a message, wherever they stand. */
function* tokenLists(node: FieldNode): Generator<TokenList> {
  if (node.message?.typeName === ChoiceLogprobsSchema.typeName) {
    for (const name of ["content", "refusal"]) {
      const nodes = node.children.filter((child) => child.field?.name === name);
      if (nodes.length > 0) yield { name, holder: node, nodes };
    }
  } else {
    for (const child of node.children) if (child.message !== undefined) yield* tokenLists(child);
  }
}

function alternative(top: TopLogprob, chosen: string): HTMLElement {
  const probability = Math.exp(top.logprob);
  const bar = el("span", { class: `bar ${level(probability)}` });
  bar.style.width = `${Math.round(Math.min(1, probability) * 100)}%`;
  const bytes = top.bytes === undefined ? "" : hex(top.bytes);
  return el(
    "tr",
    { class: top.token === chosen ? "chosen" : undefined },
    el("td", {}, shown(top.token), bytes !== "" && el("span", { class: "dim" }, ` ${bytes}`)),
    el("td", { class: "number" }, percent(probability)),
    el("td", { class: "bars" }, bar),
  );
}

function level(probability: number): string {
  const at = LEVELS.findIndex((least) => probability >= least);
  return `p${at < 0 ? LEVELS.length : at}`;
}

function percent(probability: number): string {
  if (probability > 0 && probability < 0.0001) return "under 0.01 %";
  return `${figure(probability * 100)} %`;
}

function figure(value: number): string {
  if (value >= 99.995 && value < 100) return "99.99";
  return Number.isFinite(value) ? String(Number(value.toPrecision(4))) : "beyond measure";
}

/** A token as it stands in a running text. */
function visible(token: string): string {
  if (token === "") return "∅";
  return token.replace(/\n/g, "⏎").replace(/\t/g, "⇥").replace(/\r/g, "␍");
}

function shown(token: string): string {
  return token.length > 200 ? `${JSON.stringify(token.slice(0, 200))} …` : JSON.stringify(token);
}
