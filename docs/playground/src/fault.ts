// Where bytes stop to be a message: the library says what is wrong with them, but not where.
import { type DescMessage, ScalarType } from "@bufbuild/protobuf";
import { varintEnd } from "./nodes.js";
import { fromUtf8 } from "./text.js";

export interface Fault {
  offset: number;
  path: string;
  /** Where the outermost field begins that holds the fault: all before it can be read. */
  whole: number;
}

/** The place of the first fault in bytes; undefined if it is none that this finds. */
export function faultIn(type: DescMessage, bytes: Uint8Array): Fault | undefined {
  return faultBetween(type, bytes, 0, bytes.length, "$");
}

function faultBetween(
  type: DescMessage,
  bytes: Uint8Array,
  from: number,
  to: number,
  path: string,
): Fault | undefined {
  const counts = new Map<number, number>();
  for (let at = from; at < to; ) {
    const whole = at;
    const [tag, afterTag] = number(bytes, at);
    const field = type.fields.find((other) => other.number === Math.floor(tag / 8));
    const index = counts.get(tag) ?? 0;
    counts.set(tag, index + 1);
    const element = field?.fieldKind === "list" ? `[${index}]` : "";
    const place = field === undefined ? path : `${path}.${field.name}${element}`;
    const fault = (offset: number) => ({ offset, path: place, whole });
    if (afterTag > to || tag < 8) return fault(at);
    switch (tag % 8) {
      case 0:
        at = varintEnd(bytes, afterTag);
        if (at > to || at - afterTag > 10) return fault(afterTag);
        break;
      case 1:
      case 5:
        at = afterTag + (tag % 8 === 1 ? 8 : 4);
        if (at > to) return fault(afterTag);
        break;
      case 2: {
        const [length, start] = number(bytes, afterTag);
        if (start > to || start + length > to) return fault(afterTag);
        at = start + length;
        if (field?.message !== undefined && field.fieldKind !== "map") {
          const inside = faultBetween(field.message, bytes, start, at, place);
          if (inside !== undefined) return { ...inside, whole };
        } else if (field?.fieldKind === "scalar" && field.scalar === ScalarType.STRING) {
          if (fromUtf8(bytes.subarray(start, at)) === undefined) return fault(start);
        }
        break;
      }
      case 3:
        return undefined; // a group, which only an unknown field can be
      default:
        return fault(at);
    }
  }
  return undefined;
}

/** A number and where it ends; one that no length or tag can be is greater than any. */
function number(bytes: Uint8Array, at: number): [number, number] {
  const end = varintEnd(bytes, at);
  let value = 0;
  for (let index = end - 1; index >= at; index--) value = value * 128 + ((bytes[index] ?? 0) & 0x7f);
  return [value, end];
}
