import type { DescField, DescMessage, MessageShape } from "@bufbuild/protobuf";
import { WireType } from "@bufbuild/protobuf/wire";
import { ByteWriter } from "./bytes.js";
import { checked, ConversionError } from "./errors.js";
import { blankOf, getField, isSetOf, setEntry, setField, sortedEntries, type Entries, type Members } from "./fields.js";
import { codecOf } from "./scalar.js";
import { MAX_NESTING, WireError, WireReader } from "./wire.js";

/**
 * Parses a message.
 *
 * Unlike the function of that name in protobuf-es it refuses every message that is cut, takes a known number with
 * another wire type for an unknown field, and keeps a byte order mark at the beginning of a text.
 *
 * @throws ConversionError: The bytes are no message of the type.
 */
export function fromBinary<Desc extends DescMessage>(schema: Desc, data: Uint8Array): MessageShape<Desc> {
  const message = blankOf(schema)();
  try {
    readerOf(schema)(message, new WireReader(checked(data, false)), 0);
  } catch (error) {
    if (!(error instanceof WireError)) throw error;
    throw new ConversionError(`not the binary form of a ${schema.typeName}: ${error.message}`);
  }
  return message as MessageShape<Desc>;
}

/**
 * Serializes a message: fields by their numbers, the entries of maps by their keys' bytes, unknown fields last.
 *
 * Every implementation of chatpb gives these bytes.
 */
export function toBinary<Desc extends DescMessage>(schema: Desc, message: MessageShape<Desc>): Uint8Array {
  const writer = free ?? new ByteWriter();
  free = undefined;
  writerOf(schema)(message as Members, writer);
  const data = writer.finish();
  if (writer.isSmall) free = writer;
  return data;
}

/** A writer that nobody uses: small messages would spend more time on its memory than on anything else. */
let free: ByteWriter | undefined;

type MessageReader = (message: Members, reader: WireReader, depth: number) => void;
/** Reads a value into the field of a message; false if it has the wire type of another field. */
type FieldReader = (message: Members, reader: WireReader, depth: number) => boolean;
type MessageWriter = (message: Members, writer: ByteWriter) => void;
type ValueWriter = (writer: ByteWriter, value: never) => void;

const readers = new WeakMap<DescMessage, MessageReader>();
const writers = new WeakMap<DescMessage, MessageWriter>();

function readerOf(schema: DescMessage): MessageReader {
  const known = readers.get(schema);
  if (known !== undefined) return known;
  const fields: (FieldReader | undefined)[] = [];
  const read: MessageReader = (message, reader, depth) => {
    if (depth > MAX_NESTING) throw new WireError("messages that nest too deep");
    while (reader.next()) {
      const start = reader.at;
      const field = fields[reader.number];
      if (field !== undefined && field(message, reader, depth)) continue;
      const { number, type } = reader;
      reader.skip(depth);
      const unknown = (message.$unknown ??= []);
      unknown.push({ no: number, wireType: type, data: reader.data.slice(start, reader.at) });
    }
  };
  readers.set(schema, read); // before the fields: messages recurse
  for (const field of schema.fields) fields[field.number] = fieldReader(field);
  return read;
}

function fieldReader(field: DescField): FieldReader {
  switch (field.fieldKind) {
    case "message": {
      const blank = blankOf(field.message);
      return messageReader(field.message, (message) => {
        const found = (getField(message, field) as Members | undefined) ?? blank();
        setField(message, field, found);
        return found;
      });
    }
    case "list": {
      const { localName } = field;
      const list = (message: Members): unknown[] => message[localName] as unknown[];
      if (field.listKind === "message") {
        const blank = blankOf(field.message);
        return messageReader(field.message, (message) => {
          const item = blank();
          list(message).push(item);
          return item;
        });
      }
      const codec = codecOf(field.listKind === "scalar" ? field.scalar : undefined, field);
      return (message, reader) => {
        if (reader.type === codec.wireType) {
          list(message).push(codec.read(reader));
          return true;
        }
        if (reader.type !== WireType.LengthDelimited) return false;
        const end = reader.enter();
        while (reader.at < reader.end) list(message).push(codec.read(reader));
        reader.leave(end);
        return true;
      };
    }
    case "map":
      return mapReader(field);
    default: {
      const codec = codecOf(field.fieldKind === "scalar" ? field.scalar : undefined, field);
      return (message, reader) => {
        if (reader.type !== codec.wireType) return false;
        setField(message, field, codec.read(reader));
        return true;
      };
    }
  }
}

function messageReader(schema: DescMessage, target: (message: Members) => Members): FieldReader {
  const read = readerOf(schema);
  return (message, reader, depth) => {
    if (reader.type !== WireType.LengthDelimited) return false;
    const end = reader.enter();
    read(target(message), reader, depth + 1);
    reader.leave(end);
    return true;
  };
}

function mapReader(field: DescField & { fieldKind: "map" }): FieldReader {
  const keys = codecOf(field.mapKey, field);
  const schema = field.mapKind === "message" ? field.message : undefined;
  const values = codecOf(field.mapKind === "scalar" ? field.scalar : undefined, field);
  return (message, reader, depth) => {
    if (reader.type !== WireType.LengthDelimited) return false;
    const entry = reader.inside();
    let key = keys.zero;
    let value: unknown = schema === undefined ? values.zero : blankOf(schema)();
    while (entry.next()) {
      if (entry.number === 1 && entry.type === keys.wireType) key = keys.read(entry);
      else if (entry.number !== 2) entry.skip(depth);
      else if (schema !== undefined && entry.type === WireType.LengthDelimited) {
        readerOf(schema)(value as Members, entry.inside(), depth + 2);
      } else if (schema === undefined && entry.type === values.wireType) value = values.read(entry);
      else entry.skip(depth);
    }
    setEntry(message[field.localName] as Entries, key as string, value);
    return true;
  };
}

function writerOf(schema: DescMessage): MessageWriter {
  const known = writers.get(schema);
  if (known !== undefined) return known;
  const fields: ((message: Members, writer: ByteWriter) => void)[] = [];
  const write: MessageWriter = (message, writer) => {
    for (const each of fields) each(message, writer);
    for (const { no, wireType, data } of message.$unknown ?? []) writer.tag(no, wireType).raw(data);
  };
  writers.set(schema, write); // before the fields: messages recurse
  const sorted = [...schema.fields].sort((left, right) => left.number - right.number);
  for (const field of sorted) {
    const writeSet = fieldWriter(field);
    const isSet = isSetOf(field);
    fields.push((message, writer) => {
      const value = getField(message, field);
      if (isSet(value)) writeSet(writer, value as never);
    });
  }
  return write;
}

function fieldWriter(field: DescField): ValueWriter {
  switch (field.fieldKind) {
    case "message":
      return messageWriter(field.message, field.number);
    case "list": {
      if (field.listKind === "message") {
        const write = messageWriter(field.message, field.number);
        return (writer, items: never[]) => items.forEach((item) => write(writer, item));
      }
      const { wireType, write } = codecOf(field.listKind === "scalar" ? field.scalar : undefined, field);
      if (!field.packed) {
        return (writer, items: never[]) => items.forEach((item) => write(writer.tag(field.number, wireType), item));
      }
      return (writer, items: never[]) => {
        const start = writer.tag(field.number, WireType.LengthDelimited).begin();
        for (const item of items) write(writer, item);
        writer.end(start);
      };
    }
    case "map": {
      const keys = codecOf(field.mapKey, field);
      const values = codecOf(field.mapKind === "scalar" ? field.scalar : undefined, field);
      const write: ValueWriter =
        field.mapKind === "message"
          ? messageWriter(field.message, 2)
          : (writer, value) => values.write(writer.tag(2, values.wireType), value);
      return (writer, entries: Entries) => {
        for (const [key, value] of sortedEntries(entries)) {
          const start = writer.tag(field.number, WireType.LengthDelimited).begin();
          keys.write(writer.tag(1, keys.wireType), key as never);
          write(writer, value as never);
          writer.end(start);
        }
      };
    }
    default: {
      const { wireType, write } = codecOf(field.fieldKind === "scalar" ? field.scalar : undefined, field);
      return (writer, value) => write(writer.tag(field.number, wireType), value);
    }
  }
}

function messageWriter(schema: DescMessage, number: number): ValueWriter {
  const write = writerOf(schema);
  return (writer, value: Members) => {
    const start = writer.tag(number, WireType.LengthDelimited).begin();
    write(value, writer);
    writer.end(start);
  };
}
