// What the views tell each other: the field under the pointer or the focus.
import type { FieldNode } from "./nodes.js";

/** "point" marks a field where it is shown; "focus" brings it to where it is shown, too. */
export type How = "point" | "focus";
export type Listener = (node: FieldNode | undefined, how: How, from: object) => void;

export class Link {
  readonly #listeners: Listener[] = [];
  #focused: FieldNode | undefined;

  listen(listener: Listener): void {
    this.#listeners.push(listener);
  }

  /** The pointer is over a field, or has left it: then the focused one counts again. */
  point(node: FieldNode | undefined, from: object): void {
    this.#tell(node ?? this.#focused, "point", from);
  }

  focus(node: FieldNode | undefined, from: object): void {
    this.#focused = node;
    this.#tell(node, "focus", from);
  }

  #tell(node: FieldNode | undefined, how: How, from: object): void {
    for (const listener of this.#listeners) listener(node, how, from);
  }
}
