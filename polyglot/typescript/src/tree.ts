import type { DescMessage, MessageShape } from "@bufbuild/protobuf";
import { depthOf, type JsonMembers } from "./document.js";
import { ConversionError } from "./errors.js";
import { MAX_DEPTH, parse, TOO_DEEP } from "./parse.js";
import { fromMembers } from "./read.js";
import { toJson } from "./write.js";

/** The JSON tree of a message. Numbers that are not finite are in it as words. */
export function toTree<Desc extends DescMessage>(
  schema: Desc,
  message: MessageShape<Desc>,
  ignoreUnknownFields = false,
): JsonMembers {
  return parse(toJson(schema, message, { allowNan: true, ignoreUnknownFields }), true) as JsonMembers;
}

/**
 * The message that a JSON tree is read into.
 *
 * @throws ConversionError: The tree nests deeper than JSON may.
 */
export function fromTree<Desc extends DescMessage>(schema: Desc, tree: JsonMembers): MessageShape<Desc> {
  if (depthOf(tree) > MAX_DEPTH) throw new ConversionError(TOO_DEEP);
  return fromMembers(schema, tree);
}
