import type { Json, JsonMembers } from "../document.js";
import { isValue, Joined, type Value } from "./joined.js";
import { integerOf, isEmpty, type FoldRules, type UnknownRules } from "./rules.js";

/** One element of a folded array. */
interface Element {
  /** What it is so far: an object that others are joined into, or a value of its own. */
  readonly joined: Value;
  /** Its key, but not less than those of the elements that began before it in its array. */
  readonly place: bigint;
  /** The number of the array that it was last found in. */
  array: number;
  /** Whether it has a key of its own. */
  readonly isKeyed: boolean;
}

/**
 * The elements that the arrays of a stream make.
 *
 * In the end they are sorted by their keys. An element without a key stays behind all that came before it, and those
 * that one array begins stay in its order.
 */
export class Elements {
  protected readonly all: Element[] = [];
  protected readonly byKey = new Map<bigint, Element>();
  protected array = 0;
  private lastPlace = 0n; // of those that began in this array
  private highestPlace = 0n;

  /** Begins the next array of the stream. */
  beginArray(): void {
    this.array++;
    this.lastPlace = 0n;
  }

  /** Adds an element that continues none. */
  add(joined: Value, key?: bigint): Element {
    const place = greater(this.lastPlace, key ?? this.highestPlace);
    const element = { joined, place, array: this.array, isKeyed: key !== undefined };
    this.lastPlace = place;
    this.highestPlace = greater(place, this.highestPlace);
    if (key !== undefined) this.byKey.set(key, element);
    this.all.push(element);
    return element;
  }

  /** What all elements are, in their order. */
  inOrder(): Value[] {
    const sorted = [...this.all].sort(({ place: left }, { place: right }) => (left < right ? -1 : left > right ? 1 : 0));
    return sorted.map(({ joined }) => joined);
  }
}

function greater(left: bigint, right: bigint): bigint {
  return left > right ? left : right;
}

/** Elements of a message type with a key, such as choices and tool calls. */
export class KeyedElements extends Elements {
  private readonly byIdentity = new Map<string, Element>();
  private latest: Element | undefined;

  constructor(readonly rules: FoldRules) {
    super();
  }

  /** The object to join an element into, which is at a position in an array with that many elements. */
  place(value: JsonMembers, position: number, count: number): Joined {
    const { key: keyName, identity: identityName } = this.rules;
    const key = keyName === undefined ? undefined : integerOf(value.get(keyName));
    if (identityName === undefined) {
      const place = key ?? BigInt(position);
      const known = this.byKey.get(place);
      // No chunk has one choice twice.
      return this.touch(known?.array === this.array ? undefined : known, place);
    }
    const identity = value.get(identityName);
    const known = this.find(value, key, identity, count > 1 ? BigInt(position) : undefined);
    const joined = this.touch(known, key);
    const latest = this.latest as Element;
    if (known === undefined && key === undefined) {
      const last = BigInt(this.all.length - 1);
      if (!this.byKey.has(last)) this.byKey.set(last, latest);
    }
    if (isText(identity)) this.byIdentity.set(identity, latest);
    return joined;
  }

  /** The element that another continues, if it has a key or an identity; undefined: it is new. */
  private find(
    value: JsonMembers,
    key: bigint | undefined,
    identity: Json | undefined,
    position: bigint | undefined,
  ): Element | undefined {
    if (key !== undefined) {
      const known = this.byKey.get(key);
      if (known === undefined || !isText(identity) || !this.isNamed(value)) return known;
      const old = (known.joined as Joined).members.get(this.rules.identity as string);
      return isNothing(old) || old === identity ? known : undefined;
    }
    if (isText(identity)) return this.byIdentity.get(identity);
    if (this.isNamed(value)) return undefined;
    return position === undefined ? this.latest : this.byKey.get(position);
  }

  private isNamed(value: JsonMembers): boolean {
    return this.rules.names.some(([outer, inner]) => {
      const holder = value.get(outer);
      return holder instanceof Map && isText(holder.get(inner));
    });
  }

  private touch(known: Element | undefined, key: bigint | undefined): Joined {
    const element = known ?? this.add(new Joined(), key);
    element.array = this.array;
    this.latest = element;
    return element.joined as Joined;
  }
}

function isText(value: Json | undefined): value is string {
  return typeof value === "string" && value !== "";
}

/** Whether a value that was joined is nothing, or false. */
function isNothing(value: Value | undefined): boolean {
  if (value === undefined || value === false) return true;
  if (value instanceof Joined) return value.members.size === 0 && value.wholes.size === 0;
  return Array.isArray(value) ? value.length === 0 : isEmpty(value as Json);
}

/** Elements of an array that the schema does not know, such as parts of a content. */
export class UnknownElements extends Elements {
  constructor(readonly rules: UnknownRules) {
    super();
  }

  /** The object to join an element into, which is at a position in its array. */
  place(value: JsonMembers, position: number): Joined {
    const key = integerOf(value.get(this.rules.key));
    let known = key === undefined ? (position === 0 ? this.all.at(-1) : undefined) : this.byKey.get(key);
    if (known !== undefined) {
      const continues =
        key === undefined
          ? this.continues(known, value)
          : known.array !== this.array && this.isSameKind(known.joined as Joined, value);
      if (!continues) known = undefined;
    }
    const element = known ?? this.add(new Joined(), key);
    element.array = this.array;
    return element.joined as Joined;
  }

  private isSameKind(old: Joined, value: JsonMembers): boolean {
    const before = old.members.get(this.rules.kind) ?? null;
    const now = value.get(this.rules.kind) ?? null;
    return before === null || now === null || isValue(before, now);
  }

  /** Whether an element only adds pieces to the one before it. */
  private continues(known: Element, value: JsonMembers): boolean {
    const { joined: old, isKeyed } = known;
    const { kind, pieces } = this.rules;
    const ofKind = value.get(kind);
    if (!(old instanceof Joined) || isKeyed || typeof ofKind !== "string" || ofKind !== old.members.get(kind)) return false;
    if (![...pieces].some((name) => old.members.has(name) || value.has(name))) return false;
    for (const [name, member] of value) {
      const before = old.members.get(name);
      if (pieces.has(name) || isEmpty(member) || before === undefined) continue;
      if (!isNothingYet(before) && !isValue(before, member)) return false;
    }
    return true;
  }
}

function isNothingYet(value: Value): boolean {
  return value !== false && isNothing(value);
}
