import { ConversionError, hasLoneSurrogate } from "./errors.js";

const utf8 = new TextEncoder();
const MOST_KEPT = 64 * 1024;

/** A writer of fields, into memory that grows. */
export class ByteWriter {
  private data = new Uint8Array(1024);
  private view = new DataView(this.data.buffer);
  private at = 0;

  /** All that was written. The writer is empty then. */
  finish(): Uint8Array {
    const data = this.data.slice(0, this.at);
    this.at = 0;
    return data;
  }

  /** Whether it has so little memory that it may be kept. */
  get isSmall(): boolean {
    return this.data.length <= MOST_KEPT;
  }

  private reserve(count: number): void {
    const size = this.at + count;
    if (size <= this.data.length) return;
    const grown = new Uint8Array(Math.max(size, 2 * this.data.length));
    grown.set(this.data.subarray(0, this.at));
    this.data = grown;
    this.view = new DataView(grown.buffer);
  }

  tag(number: number, wireType: number): this {
    return this.uint32(number * 8 + wireType);
  }

  uint32(value: number): this {
    if (!(value >= 0 && value <= 0xffffffff) || !Number.isInteger(value)) refuse("uint32", value);
    this.reserve(5);
    let rest = value;
    while (rest > 0x7f) {
      this.data[this.at++] = (rest & 0x7f) | 0x80;
      rest >>>= 7;
    }
    this.data[this.at++] = rest;
    return this;
  }

  int32(value: number): this {
    if (!(value >= -0x80000000 && value <= 0x7fffffff) || !Number.isInteger(value)) refuse("int32", value);
    return value >= 0 ? this.uint32(value) : this.int64(BigInt(value));
  }

  int64(value: bigint | number | string): this {
    if (typeof value === "number" && !Number.isInteger(value)) refuse("int64", value);
    const exact = BigInt(value);
    if (BigInt.asIntN(64, exact) !== exact) refuse("int64", value);
    if (exact >= 0n && exact <= 0xffffffffn) return this.uint32(Number(exact));
    this.reserve(10);
    let rest = BigInt.asUintN(64, exact);
    while (rest > 0x7fn) {
      this.data[this.at++] = Number(rest & 0x7fn) | 0x80;
      rest >>= 7n;
    }
    this.data[this.at++] = Number(rest);
    return this;
  }

  bool(value: boolean): this {
    this.reserve(1);
    this.data[this.at++] = value ? 1 : 0;
    return this;
  }

  double(value: number): this {
    this.reserve(8);
    this.view.setFloat64(this.at, value, true);
    this.at += 8;
    return this;
  }

  /**
   * Writes a text behind its length.
   *
   * @throws ConversionError It has a lone surrogate, which UTF-8 does not have.
   */
  string(text: string): this {
    const { length } = text;
    if (length < 0x80) {
      this.reserve(length + 1);
      const { data } = this;
      let at = this.at + 1;
      let index = 0;
      for (; index < length; index++) {
        const unit = text.charCodeAt(index);
        if (unit >= 0x80) break;
        data[at++] = unit;
      }
      if (index === length) {
        data[this.at] = length;
        this.at = at;
        return this;
      }
    }
    if (hasLoneSurrogate(text)) throw new ConversionError("a text has a lone surrogate, which UTF-8 has not");
    const start = this.begin();
    this.reserve(3 * length);
    this.at += utf8.encodeInto(text, this.data.subarray(this.at)).written;
    return this.end(start);
  }

  /** Writes bytes behind their length. */
  bytes(data: Uint8Array): this {
    return this.uint32(data.length).raw(data);
  }

  raw(data: Uint8Array): this {
    this.reserve(data.length);
    this.data.set(data, this.at);
    this.at += data.length;
    return this;
  }

  /** Begins what has its length before it. Returns where it begins, for `end`. */
  begin(): number {
    this.reserve(1);
    return ++this.at;
  }

  /** Ends what was begun, and writes its length. */
  end(start: number): this {
    const size = this.at - start;
    if (size < 0x80) {
      this.data[start - 1] = size;
      return this;
    }
    const end = this.at;
    const wide = size < 0x4000 ? 2 : size < 0x200000 ? 3 : size < 0x10000000 ? 4 : 5;
    this.reserve(5); // as `uint32` does, so that it keeps the memory
    this.data.copyWithin(start - 1 + wide, start, end);
    this.at = start - 1;
    this.uint32(size);
    this.at += size;
    return this;
  }
}

function refuse(type: string, value: unknown): never {
  throw new ConversionError(`${String(value)} is not a number of the type ${type}`);
}
