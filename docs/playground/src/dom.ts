// Elements are made here and nowhere else. Data becomes text nodes and attributes, never markup.

type Child = Node | string | null | undefined | false;
type Props = Record<string, string | number | boolean | undefined>;

/** An element with attributes (false and undefined leave one out) and children. */
export function el<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  props: Props = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined || value === false) continue;
    made.setAttribute(name, value === true ? "" : String(value));
  }
  made.append(...present(...children));
  return made;
}

/** The children that are there. */
export function present(...children: Child[]): (Node | string)[] {
  return children.filter((child): child is Node | string => Boolean(child));
}

/** The element of the page with an id. */
export function byId<T extends HTMLElement = HTMLElement>(id: string): T {
  const found = document.getElementById(id);
  if (found === null) throw new Error(`the page has no element ${id}`);
  return found as T;
}

/** Moves the one tab stop of a composite widget to an element. */
export function moveTabStop(from: Element | null | undefined, to: HTMLElement): void {
  from?.setAttribute("tabindex", "-1");
  to.tabIndex = 0;
}

/** A number with separators of thousands. */
export function count(value: number): string {
  return value.toLocaleString("en");
}

/** A number of things, with the right word for one. */
export function counted(value: number, one: string, many = `${one}s`): string {
  return `${count(value)} ${value === 1 ? one : many}`;
}
