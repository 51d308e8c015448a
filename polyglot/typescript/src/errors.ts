/** A value that cannot be converted, and where it stands. */
export class ConversionError extends Error {
  override readonly name = "ConversionError";

  constructor(
    /** What is wrong there, in lower case, with what was wanted. */
    readonly reason: string,
    /** The place in the JSON document, such as `$.choices[0].logprobs`. */
    readonly path = "$",
    /** The byte offset in the JSON text; undefined where there is no text. */
    readonly offset?: number,
  ) {
    super(`${path}${offset === undefined ? "" : ` (byte ${offset})`}: ${reason}`);
  }
}

/** A member name or an array index. */
export type Step = string | number;

/** A path of steps, as it stands in an error. */
export function pathOf(steps: readonly (Step | undefined)[]): string {
  return steps.reduce<string>((path, step) => path + segment(step), "$");
}

/** A step as it stands in a path. */
export function segment(step: Step | undefined): string {
  if (step === undefined) return "";
  if (typeof step === "number") return `[${step}]`;
  if (/^[A-Za-z_][A-Za-z0-9_]*$/.test(step)) return `.${step}`;
  const quoted = step.replace(/[\\']/g, "\\$&").replace(LONE_SURROGATES, escapeUnit);
  return `['${quoted}']`;
}

/** Lone surrogates, which UTF-8 does not have. */
const LONE_SURROGATES = /\p{Surrogate}/gu;

/** Whether a text has a lone surrogate. */
export function hasLoneSurrogate(text: string): boolean {
  const { isWellFormed } = text as { isWellFormed?: () => boolean }; // ES2024
  return isWellFormed === undefined ? text.search(LONE_SURROGATES) >= 0 : !isWellFormed.call(text);
}

function escapeUnit(unit: string): string {
  return `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`;
}

/**
 * Returns an argument that has to be bytes, or a text where one is taken. Callers without types give anything.
 *
 * @throws TypeError It is something else.
 */
export function checked<T extends string | Uint8Array>(value: T, takesText: boolean): T {
  if ((takesText && typeof value === "string") || ArrayBuffer.isView(value)) return value; // of any window or context
  const given = value === null || value === undefined ? String(value) : `${/^[aeiou]/.test(typeof value) ? "an" : "a"} ${typeof value}`;
  throw new TypeError(`expected ${takesText ? "a string or " : ""}a Uint8Array, got ${given}`);
}
