import type { DescMessage, MessageShape } from "@bufbuild/protobuf";
import { dump } from "./document.js";
import { ConversionError, segment } from "./errors.js";
import { getField, sortedEntries, type Entries, type Members } from "./fields.js";
import type { Residue } from "./gen/chatpb/v1/residue_pb.js";
import { mappingOf, type Mapping } from "./mapping.js";
import { parse } from "./parse.js";

/** A JSON member that the typed fields cannot say. */
export interface ResidueMember {
  /** Where it stands, such as `$.choices[0].finish_reason`. */
  readonly path: string;
  /**
   * `null`, `absent` or `empty` where the schema knows the member but an unset field stands for another value;
   * `extra` where the schema does not know the member, or its value does not fit the field.
   */
  readonly state: "null" | "absent" | "empty" | "extra";
  /** The value as compact JSON text, as it was spelled; undefined where the member is absent. */
  readonly value: string | undefined;
}

/**
 * What a message and the messages in it hold beyond their typed fields, outer before inner.
 *
 * @throws ConversionError: A residue holds text that is not a JSON object.
 */
export function residue<Desc extends DescMessage>(schema: Desc, message: MessageShape<Desc>): ResidueMember[] {
  return [...walk(mappingOf(schema), message as Members, "$")];
}

function* walk(mapping: Mapping, message: Members, path: string): Generator<ResidueMember> {
  const said = mapping.residue && (getField(message, mapping.residue) as Residue | undefined);
  if (said !== undefined) yield* membersOf(mapping, said, path);
  for (const { field, name } of mapping.rules) {
    if (field.message === undefined) continue;
    const inner = mappingOf(field.message);
    const below = mapping.isUnion ? path : path + segment(name);
    const value = getField(message, field);
    if (value === undefined) continue;
    if (field.fieldKind === "list") {
      for (const [index, item] of (value as Members[]).entries()) yield* walk(inner, item, below + segment(index));
    } else if (field.fieldKind === "map") {
      for (const [key, item] of sortedEntries(value as Entries)) {
        yield* walk(inner, item as Members, below + segment(key));
      }
    } else yield* walk(inner, value as Members, below);
  }
}

function* membersOf({ byNumber }: Mapping, said: Residue, path: string): Generator<ResidueMember> {
  const place = (number: number): string => path + segment(byNumber.get(number)?.name ?? `<field ${number}>`);
  for (const number of said.nullFields) yield { path: place(number), state: "null", value: "null" };
  for (const number of said.absentFields) yield { path: place(number), state: "absent", value: undefined };
  for (const number of said.emptyFields) {
    yield { path: place(number), state: "empty", value: byNumber.get(number)?.isMap ? "{}" : "[]" };
  }
  if (said.extraJson === "") return;
  const extra = parse(said.extraJson, true);
  if (!(extra instanceof Map)) throw new ConversionError("extra_json is not a JSON object", path);
  for (const [name, value] of extra) yield { path: path + segment(name), state: "extra", value: dump(value) };
}
