import assert from "node:assert/strict";
import { test } from "node:test";
import { create, createFileRegistry, isFieldSet, setExtension, toBinary, type DescMessage } from "@bufbuild/protobuf";
import {
  DescriptorProtoSchema,
  FieldDescriptorProto_Label as Label,
  FieldDescriptorProto_Type as Type,
  FieldDescriptorProtoSchema,
  FieldOptionsSchema,
  file_google_protobuf_descriptor,
  FileDescriptorProtoSchema,
  FileDescriptorSetSchema,
  MessageOptionsSchema,
  type DescriptorProto,
} from "@bufbuild/protobuf/wkt";
import { fromJson, toJson } from "../src/index.js";
import {
  file_chatpb_v1_options,
  file_chatpb_v1_residue,
  json_alternative_to,
  json_encoding,
  json_union,
  json_unset,
  JsonEncoding,
} from "../src/v1.js";

/** A field of a message that a test builds. */
interface Spec {
  type?: Type;
  label?: "implicit" | "repeated";
  isRaw?: boolean;
  alternativeTo?: string;
  unset?: string;
}

/** A message with the fields f0, f1 and so on, and a residue if it is not a union. */
function build(specs: readonly Spec[], isUnion = false): DescMessage {
  const message = create(DescriptorProtoSchema, { name: "Root", options: create(MessageOptionsSchema) });
  for (const [place, spec] of specs.entries()) addField(message, place, spec);
  if (isUnion && message.options !== undefined) setExtension(message.options, json_union, true);
  const residue = { name: "residue", number: 15, label: Label.OPTIONAL, type: Type.MESSAGE, typeName: ".chatpb.v1.Residue" };
  if (!isUnion) message.field.push(create(FieldDescriptorProtoSchema, residue));
  const imports = [file_google_protobuf_descriptor, file_chatpb_v1_options, file_chatpb_v1_residue].map(({ proto }) => proto);
  const file = create(FileDescriptorProtoSchema, {
    name: "test.proto",
    package: "chatpb.test",
    syntax: "proto3",
    dependency: imports.slice(1).map(({ name }) => name),
    messageType: [message],
  });
  const found = createFileRegistry(create(FileDescriptorSetSchema, { file: [...imports, file] })).getMessage("chatpb.test.Root");
  assert.ok(found);
  return found;
}

function addField(message: DescriptorProto, place: number, spec: Spec): void {
  const options = create(FieldOptionsSchema);
  if (spec.isRaw) setExtension(options, json_encoding, JsonEncoding.RAW);
  if (spec.alternativeTo !== undefined) setExtension(options, json_alternative_to, spec.alternativeTo);
  if (spec.unset !== undefined) setExtension(options, json_unset, spec.unset);
  const field = create(FieldDescriptorProtoSchema, { name: `f${place}`, number: place + 1, options });
  field.type = spec.type ?? Type.STRING;
  field.label = spec.label === "repeated" ? Label.REPEATED : Label.OPTIONAL;
  if (spec.label === undefined) {
    field.proto3Optional = true;
    field.oneofIndex = message.oneofDecl.push({ $typeName: "google.protobuf.OneofDescriptorProto", name: `_f${place}` }) - 1;
  }
  message.field.push(field);
}

const SHARED: Spec[] = [
  { isRaw: true, alternativeTo: "f1" },
  { label: "implicit", unset: '"one"' },
  { type: Type.INT32, label: "repeated" },
  { isRaw: true, alternativeTo: "f2" },
];

for (const [text, ...names] of [
  ['{"f1":"a","f2":[1]}', "f1", "f2"],
  ['{"f1":[{"a":1.50}],"f2":["a"]}', "f0", "f3"],
  ['{"f1":[],"f2":{}}', "f0", "f3"],
  ['{"f1":{},"f2":[]}', "f0"],
  ['{"f1":1,"f2":"a"}'],
  ['{"f1":"one","f2":null,"f0":[1],"f3":[1]}'],
] as const) {
  test(`an array or an object that does not fit is in the field that shares the member: ${text}`, () => {
    const schema = build(SHARED);
    const message = fromJson(schema, text);
    const set = schema.fields.filter((field) => field.name !== "residue" && isFieldSet(message, field));
    assert.deepEqual(set.map(({ name }) => name), names);
    assert.equal(toJson(schema, message), text);
    assert.ok(toBinary(schema, message).length > 0);
  });
}

const OTHER: Spec = {};
const ALTERNATIVE: Spec = { isRaw: true, alternativeTo: "f1" };

for (const [name, specs, isUnion] of [
  ["text", [{ alternativeTo: "f1" }, OTHER]],
  ["a number", [{ type: Type.INT32, alternativeTo: "f1" }, OTHER]],
  ["a list", [{ ...ALTERNATIVE, label: "repeated" }, OTHER]],
  ["without presence", [{ ...ALTERNATIVE, label: "implicit" }, OTHER]],
  ["stands for null", [{ ...ALTERNATIVE, unset: "null" }, OTHER]],
  ["to no field", [ALTERNATIVE]],
  ["to no name", [{ ...ALTERNATIVE, alternativeTo: "" }]],
  ["to itself", [OTHER, ALTERNATIVE]],
  ["to the residue", [{ ...ALTERNATIVE, alternativeTo: "residue" }]],
  ["two", [ALTERNATIVE, OTHER, ALTERNATIVE]],
  ["to an alternative", [OTHER, { ...ALTERNATIVE, alternativeTo: "f0" }, ALTERNATIVE]],
  ["in a union", [ALTERNATIVE, OTHER], true],
] as [string, Spec[], boolean?][]) {
  test(`an alternative that the mapping does not allow is refused: ${name}`, () => {
    assert.throws(() => fromJson(build(specs, isUnion), "{}"), /cannot share the member of/);
  });
}
