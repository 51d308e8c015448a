import { ConversionError } from "../errors.js";

/** The data of the event that ends a stream. */
export const DONE = "[DONE]";

/** One event of a stream. */
export interface StreamEvent {
  /** The data, a JSON text or `DONE`; its lines are joined by line feeds. */
  readonly data: Uint8Array;
  /** Whether the data is `DONE`. */
  readonly isDone: boolean;
  /** The name of the event. Of the names, only `error` has a meaning. */
  readonly event: string;
}

/** What the bytes of an event stream complete: events, and then perhaps an error. */
export interface Cut {
  readonly events: readonly StreamEvent[];
  readonly failure: ConversionError | undefined;
}

const LF = 0x0a;
const CR = 0x0d;
const COLON = 0x3a;
const OPENING = [0x7b, 0x5b]; // "{" and "["
const CLOSING = 0x7d; // "}"
const NOTHING = new Uint8Array();
const utf8 = new TextDecoder("utf-8", { ignoreBOM: true });

/**
 * Cuts the bytes of an event stream, however they arrive, into events: those of the HTML standard, and what real servers
 * send in addition, which docs/mapping.md lists. Time is linear in the bytes, and no more than one event is held.
 */
export class EventDecoder {
  private readonly line = new Bytes();
  private data: Uint8Array[] = [];
  private hasText = false; // whether the data has more than white space
  private endsObject = false; // whether it ends with "}"
  private size = 0;
  private event = "";
  private afterCr = false;
  private isStarted = false;

  constructor(private readonly maxEventBytes: number) {}

  /** Takes the next bytes and gives the events that they complete. An error is final. */
  feed(data: Uint8Array): Cut {
    const events: StreamEvent[] = [];
    let at = 0;
    if (data.length > 0) {
      if (this.afterCr && data[0] === LF) at = 1;
      this.afterCr = data.length > at ? data.at(-1) === CR : false;
    }
    let cr = data.indexOf(CR, at);
    let lf = data.indexOf(LF, at);
    while (cr >= 0 || lf >= 0) {
      const end = lf < 0 || (cr >= 0 && cr < lf) ? cr : lf;
      this.line.add(data.subarray(at, end));
      if (this.isTooLong) break; // as if the line had come in pieces
      this.take(this.line.taken(), events);
      at = end === cr && lf === cr + 1 ? end + 2 : end + 1;
      if (cr >= 0 && cr < at) cr = data.indexOf(CR, at);
      if (lf >= 0 && lf < at) lf = data.indexOf(LF, at);
    }
    if (!this.isTooLong) this.line.add(data.subarray(at));
    return { events, failure: this.isTooLong ? tooLong(this.maxEventBytes) : undefined };
  }

  /** Gives the event that the end of the stream completes, if there is one. */
  close(): readonly StreamEvent[] {
    const events: StreamEvent[] = [];
    this.take(this.line.taken(), events);
    this.dispatch(events);
    return events;
  }

  private get isTooLong(): boolean {
    return this.size + this.line.size > this.maxEventBytes;
  }

  private take(bytes: Uint8Array, events: StreamEvent[]): void {
    let line = bytes;
    if (!this.isStarted) {
      this.isStarted = true;
      if (line[0] === 0xef && line[1] === 0xbb && line[2] === 0xbf) line = line.subarray(3);
    }
    if (line.length === 0) {
      this.dispatch(events);
      return;
    }
    const colon = line.indexOf(COLON);
    const end = colon < 0 ? line.length : colon;
    const name = end > 5 ? "" : utf8.decode(line.subarray(0, end));
    let value = colon < 0 ? NOTHING : line.subarray(colon + 1);
    if (value[0] === 0x20) value = value.subarray(1);
    if (name === "event") this.event = utf8.decode(value);
    else if (name === "data") this.takeData(value, events);
  }

  private takeData(value: Uint8Array, events: StreamEvent[]): void {
    const text = trimmed(value);
    if (text[0] === COLON && !this.hasText) return; // a comment: no JSON text begins with a colon
    // No JSON text goes on with a bracket after "}": a new text begins.
    if (this.endsObject && OPENING.includes(text[0] as number)) this.dispatch(events);
    if (text.length > 0) {
      this.hasText = true;
      this.endsObject = text.at(-1) === CLOSING;
    }
    this.size += value.length + (this.data.length > 0 ? 1 : 0); // lines are joined by a line feed
    this.data.push(value);
  }

  private dispatch(events: StreamEvent[]): void {
    if (this.hasText) {
      const data = this.data.length === 1 ? (this.data[0] as Uint8Array) : joinedLines(this.data, this.size);
      const text = trimmed(data);
      const isDone = text.length === DONE.length && utf8.decode(text) === DONE;
      events.push({ data, isDone, event: this.event === "" ? "message" : this.event });
    }
    this.data = [];
    this.hasText = this.endsObject = false;
    this.size = 0;
    this.event = "";
  }
}

/** Bytes that come in pieces. */
class Bytes {
  private buffer = NOTHING;
  size = 0;

  add(data: Uint8Array): void {
    if (data.length === 0) return;
    const size = this.size + data.length;
    if (size > this.buffer.length) {
      const grown = new Uint8Array(this.size === 0 ? size : 2 * size);
      grown.set(this.buffer.subarray(0, this.size));
      this.buffer = grown;
    }
    this.buffer.set(data, this.size);
    this.size = size;
  }

  /** All bytes so far, with which the next ones have nothing to do. */
  taken(): Uint8Array {
    const all = this.buffer.subarray(0, this.size);
    this.buffer = NOTHING;
    this.size = 0;
    return all;
  }
}

function joinedLines(lines: readonly Uint8Array[], size: number): Uint8Array {
  const all = new Uint8Array(size);
  let at = 0;
  for (const [index, line] of lines.entries()) {
    if (index > 0) all[at++] = LF;
    all.set(line, at);
    at += line.length;
  }
  return all;
}

/** Bytes without the white space of JSON around them. */
function trimmed(bytes: Uint8Array): Uint8Array {
  let start = 0;
  let end = bytes.length;
  while (start < end && isSpace(bytes[start] as number)) start++;
  while (end > start && isSpace(bytes[end - 1] as number)) end--;
  return bytes.subarray(start, end);
}

function isSpace(byte: number): boolean {
  return byte === 0x20 || byte === 0x09 || byte === LF || byte === CR;
}

function tooLong(most: number): ConversionError {
  return new ConversionError(`an event of the stream is longer than ${most} bytes`);
}
