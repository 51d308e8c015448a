import { WireType } from "@bufbuild/protobuf/wire";

/** Bytes that are no protobuf message. */
export class WireError extends Error {}

/** How deep messages and groups may stand in one another, as in the usual runtimes. */
export const MAX_NESTING = 100;

const strictUtf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** A text that is longer, or not ASCII, is decoded by the platform. Each call of it takes longer than a token does here. */
const SHORT = 32;

/** The text of UTF-8 bytes, with a byte order mark if they have one. */
function utf8Text(data: Uint8Array, start: number, end: number): string {
  let at = start;
  if (end - start <= SHORT) while (at < end && (data[at] as number) < 0x80) at++;
  if (at === end) return asciiText(data, start, end);
  try {
    return strictUtf8.decode(data.subarray(start, end));
  } catch {
    throw new WireError("text that is not UTF-8");
  }
}

function asciiText(data: Uint8Array, start: number, end: number): string {
  const d = data as Uint8Array & Record<number, number>;
  let text = "";
  let at = start;
  for (; end - at >= 8; at += 8) {
    text += char(d[at]!, d[at + 1]!, d[at + 2]!, d[at + 3]!, d[at + 4]!, d[at + 5]!, d[at + 6]!, d[at + 7]!);
  }
  switch (end - at) {
    case 0:
      return text;
    case 1:
      return text + char(d[at]!);
    case 2:
      return text + char(d[at]!, d[at + 1]!);
    case 3:
      return text + char(d[at]!, d[at + 1]!, d[at + 2]!);
    case 4:
      return text + char(d[at]!, d[at + 1]!, d[at + 2]!, d[at + 3]!);
    case 5:
      return text + char(d[at]!, d[at + 1]!, d[at + 2]!, d[at + 3]!, d[at + 4]!);
    case 6:
      return text + char(d[at]!, d[at + 1]!, d[at + 2]!, d[at + 3]!, d[at + 4]!, d[at + 5]!);
    default:
      return text + char(d[at]!, d[at + 1]!, d[at + 2]!, d[at + 3]!, d[at + 4]!, d[at + 5]!, d[at + 6]!);
  }
}

const char = String.fromCharCode;

/** A reader of fields that minds where its bytes end and which wire type each field has. */
export class WireReader {
  number = 0;
  type: WireType = WireType.Varint;

  private readonly view: DataView;

  constructor(
    readonly data: Uint8Array,
    public at = 0,
    public end = data.length,
  ) {
    this.view = new DataView(data.buffer, data.byteOffset, data.length);
  }

  /** Reads a tag; false at the end. */
  next(): boolean {
    if (this.at >= this.end) return false;
    const start = this.at;
    const tag = this.small();
    if (this.at - start > 5 || tag > 0xffffffff) throw new WireError("a tag that is too long");
    this.number = tag >>> 3;
    this.type = tag & 7;
    if (this.number === 0 || this.type > 5) throw new WireError("a tag that there is not");
    return true;
  }

  /** Reads a varint as 64 bits without sign. */
  varint(): bigint {
    let low = 0;
    for (let shift = 0; shift < 28; shift += 7) {
      const byte = this.byte();
      low |= (byte & 0x7f) << shift;
      if (byte < 0x80) return BigInt(low);
    }
    let number = BigInt(low);
    for (let shift = 28n; shift < 70n; shift += 7n) {
      const byte = this.byte();
      number |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return BigInt.asUintN(64, number);
    }
    throw new WireError("a number that is too long");
  }

  /** Reads a varint that is small, or else is refused: a tag or a length. */
  private small(): number {
    const { data, at, end } = this;
    const byte = at < end ? (data[at] as number) : 0x80;
    if (byte < 0x80) {
      this.at = at + 1;
      return byte;
    }
    const next = at + 1 < end ? (data[at + 1] as number) : 0x80;
    if (next >= 0x80) return Number(this.varint());
    this.at = at + 2;
    return (byte & 0x7f) | (next << 7);
  }

  /** Reads a varint as 32 bits with a sign. */
  int32(): number {
    const byte = this.at < this.end ? (this.data[this.at] as number) : 0x80;
    if (byte >= 0x80) return Number(BigInt.asIntN(32, this.varint()));
    this.at++;
    return byte;
  }

  double(): number {
    return this.view.getFloat64(this.skipBytes(8), true);
  }

  /** Reads bytes behind their length. */
  bytes(): Uint8Array {
    const start = this.skipBytes(this.small());
    return this.data.subarray(start, this.at);
  }

  /** Reads a text behind its length. */
  text(): string {
    const start = this.skipBytes(this.small());
    return utf8Text(this.data, start, this.at);
  }

  /** Enters what has its length before it. Returns where the surroundings end, for `leave`. */
  enter(): number {
    const size = this.small();
    const { at, end } = this;
    if (size > end - at) throw new WireError("a length beyond the end");
    this.end = at + size;
    return end;
  }

  /** Leaves what was entered, and is read. */
  leave(end: number): void {
    this.end = end;
  }

  /** Reads what has its length before it, as a reader of its own. */
  inside(): WireReader {
    const start = this.skipBytes(this.small());
    return new WireReader(this.data, start, this.at);
  }

  /** Skips the value of the field whose tag was read. */
  skip(depth = 0): void {
    switch (this.type) {
      case WireType.Varint:
        this.varint();
        return;
      case WireType.Bit64:
        this.skipBytes(8);
        return;
      case WireType.Bit32:
        this.skipBytes(4);
        return;
      case WireType.LengthDelimited:
        this.skipBytes(this.small());
        return;
      case WireType.StartGroup:
        this.skipGroup(this.number, depth + 1);
        return;
      default:
        throw new WireError("the end of a group that did not begin");
    }
  }

  private skipGroup(number: number, depth: number): void {
    if (depth > MAX_NESTING) throw new WireError("groups that nest too deep");
    while (this.next()) {
      if (this.type === WireType.EndGroup) {
        if (this.number !== number) throw new WireError("the end of another group");
        return;
      }
      this.skip(depth);
    }
    throw new WireError("a group without an end");
  }

  private byte(): number {
    const byte = this.at < this.end ? this.data[this.at++] : undefined;
    if (byte === undefined) throw new WireError("cut in a number");
    return byte;
  }

  private skipBytes(count: number): number {
    const start = this.at;
    if (count > this.end - start) throw new WireError("a length beyond the end");
    this.at += count;
    return start;
  }
}
