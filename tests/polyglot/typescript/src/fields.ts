import { reflect, type ReflectMessage } from "@bufbuild/protobuf/reflect";
import type { DescMessage, Message } from "@bufbuild/protobuf";

/** A line of NAME.fields.json. */
export type Assertion = [path: (string | number)[], kind: string, value: unknown];

/** Throws if a message does not hold what an assertion says. */
export function checkField(schema: DescMessage, message: Message, [path, kind, expected]: Assertion): void {
  const found = kindOf(kind, valueAt(reflect(schema, message), path), expected);
  if (JSON.stringify(found) !== JSON.stringify(expected)) {
    throw new Error(`${path.join(".")}: expected ${kind} ${JSON.stringify(expected)}, got ${JSON.stringify(found)}`);
  }
}

interface Container {
  readonly size: number;
  get(step: string | number): unknown;
}

function valueAt(message: ReflectMessage, path: (string | number)[]): unknown {
  let value: unknown = message;
  for (const step of path) {
    const isMessage = typeof step === "string" && "desc" in (value as object);
    value = isMessage ? (value as ReflectMessage).get(fieldNamed(value as ReflectMessage, step)) : (value as Container).get(step);
  }
  return value;
}

function fieldNamed(message: ReflectMessage, name: string) {
  const field = message.fields.find((each) => each.name === name);
  if (field === undefined) throw new Error(`${message.desc} has no field ${name}`);
  return field;
}

/** A value in the form in which the assertion tells it. */
function kindOf(kind: string, value: unknown, expected: unknown): unknown {
  switch (kind) {
    case "set":
    case "unset": {
      const message = value as ReflectMessage;
      const isSet = kind === "set";
      return (expected as string[]).filter((name) => message.isSet(fieldNamed(message, name)) === isSet);
    }
    case "size":
      return (value as Container).size;
    case "bytes":
      return Buffer.from(value as Uint8Array).toString("base64");
    case "double": {
      const bits = Buffer.alloc(8);
      bits.writeDoubleBE(value as number);
      return bits.toString("hex");
    }
    case "int":
      return typeof value === "bigint" || Number.isInteger(value) ? String(value) : value;
    case "string":
    case "bool":
    case "enum":
      return value;
    default:
      throw new Error(`no kind ${kind}`);
  }
}
