import { WireType } from "@bufbuild/protobuf/wire";

/** Bytes that are no protobuf message. */
export class WireError extends Error {}

/** How deep messages and groups may stand in one another, as in the usual runtimes. */
export const MAX_NESTING = 100;

const strictUtf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** The text of UTF-8 bytes, with a byte order mark if they have one. */
export function utf8Text(data: Uint8Array): string {
  try {
    return strictUtf8.decode(data);
  } catch {
    throw new WireError("text that is not UTF-8");
  }
}

/** A reader of fields that minds where its bytes end and which wire type each field has. */
export class WireReader {
  number = 0;
  type: WireType = WireType.Varint;

  constructor(
    readonly data: Uint8Array,
    public at = 0,
    readonly end = data.length,
  ) {}

  /** Reads a tag; false at the end. */
  next(): boolean {
    if (this.at >= this.end) return false;
    const start = this.at;
    const tag = this.length();
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
  private length(): number {
    const byte = this.data[this.at];
    if (byte === undefined || byte >= 0x80 || this.at >= this.end) return Number(this.varint());
    this.at++;
    return byte;
  }

  double(): number {
    const start = this.skipBytes(8);
    return new DataView(this.data.buffer, this.data.byteOffset + start, 8).getFloat64(0, true);
  }

  /** Reads bytes behind their length. */
  bytes(): Uint8Array {
    const { at, end } = this.inside();
    return this.data.subarray(at, end);
  }

  /** Reads what has its length before it, as a reader of its own. */
  inside(): WireReader {
    const start = this.skipBytes(this.length());
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
        this.inside();
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
