import type { DescMessage } from "@bufbuild/protobuf";
import { ConversionError } from "../errors.js";

/** What chatpb.wasm exports: the functions of chatpb.h. Pointers and sizes are numbers. */
interface Exports {
  readonly memory: WebAssembly.Memory;
  readonly [name: string]: unknown;
}

type Call = (...values: number[]) => number;

const OK = 0;
const REFUSED = 1;
/** The flags of chatpb.h. */
export const ALLOW_NAN = 1;
export const IGNORE_UNKNOWN_FIELDS = 2;
const NO_OFFSET = 0xffffffff;

/** The most memory that an instance keeps. One that grew further is given up: memory of WebAssembly does not shrink. */
const MOST_MEMORY = 32 * 1024 * 1024;

const utf8 = new TextEncoder();
const text = new TextDecoder();

let module: WebAssembly.Module | undefined;
let current: Instance | undefined;

/** Whether chatpb.wasm is loaded. */
export function isLoaded(): boolean {
  return module !== undefined;
}

/** Takes the compiled chatpb.wasm. */
export function setModule(loaded: WebAssembly.Module): void {
  module = loaded;
  current = undefined;
}

/** The instance that calls use. */
export function instance(): Instance {
  if (module === undefined) throw new Error("chatpb.wasm is not loaded: call init() of chatpb/wasm and wait for it");
  return (current ??= new Instance(module));
}

/** One instance of chatpb.wasm, with memory of its own. */
export class Instance {
  private readonly exports: Exports;
  private readonly result: number;
  private readonly types = new Map<string, number>();
  private isBroken = false;

  constructor(loaded: WebAssembly.Module) {
    this.exports = new WebAssembly.Instance(loaded, {}).exports as Exports;
    this.result = this.call("chatpb_result_new");
  }

  /**
   * Calls a function. If it traps, which is a bug or a lack of memory, this instance is not used any more.
   */
  call(name: string, ...values: number[]): number {
    if (this.isBroken) throw new Error("chatpb.wasm has failed before");
    try {
      return (this.exports[name] as Call)(...values) >>> 0;
    } catch (error) {
      this.isBroken = true;
      if (current === this) current = undefined;
      throw new Error(`chatpb.wasm failed in ${name}`, { cause: error });
    }
  }

  /** The number of a message type. */
  typeOf(schema: DescMessage): number {
    const name = schema.typeName;
    let number = this.types.get(name);
    if (number === undefined) {
      const data = utf8.encode(name);
      number = this.lend(data, (at) => this.call("chatpb_message_type", at, data.length));
      if ((number | 0) < 0) throw new TypeError(`${name} is not a message type of chatpb.wasm`);
      this.types.set(name, number);
    }
    return number;
  }

  /** Calls a function that takes a handle, if it has one, and bytes. Returns the pieces that it gives. */
  pieces(name: string, before: readonly number[], data: Uint8Array, ...after: number[]): Uint8Array[] {
    this.check(name, this.lend(data, (at) => this.call(name, ...before, at, data.length, ...after, this.result)));
    return this.taken();
  }

  /** Calls a function that takes a handle alone. Returns the pieces that it gives. */
  ended(name: string, handle: number): Uint8Array[] {
    this.check(name, this.call(name, handle, this.result));
    return this.taken();
  }

  private check(name: string, status: number): void {
    if (status === OK) return;
    const { result } = this;
    const read = (part: string): string =>
      text.decode(this.view(this.call(`chatpb_result_${part}`, result), this.call(`chatpb_result_${part}_size`, result)));
    const reason = read("reason").replace("allow_nan=True", "allowNan");
    if (status !== REFUSED) throw new Error(`${name} of chatpb.wasm: ${reason}`);
    const offset = this.call("chatpb_result_offset", result);
    const error = new ConversionError(reason, read("path"), offset === NO_OFFSET ? undefined : offset);
    this.rest();
    throw error;
  }

  /** The pieces that the last call gave. */
  private taken(): Uint8Array[] {
    const pieces: Uint8Array[] = [];
    const count = this.call("chatpb_result_count", this.result);
    for (let index = 0; index < count; index++) {
      const at = this.call("chatpb_result_data", this.result, index);
      pieces.push(this.view(at, this.call("chatpb_result_size", this.result, index)).slice());
    }
    this.rest();
    return pieces;
  }

  /** Gives up an instance whose memory has grown. Who has a handle of it still uses it. */
  private rest(): void {
    if (current === this && this.exports.memory.buffer.byteLength > MOST_MEMORY) current = undefined;
  }

  private view(at: number, size: number): Uint8Array {
    return new Uint8Array(this.exports.memory.buffer, at, size);
  }

  /** Puts bytes into the memory for a call. */
  private lend<T>(data: Uint8Array, use: (at: number) => T): T {
    const at = this.call("chatpb_allocate", data.length);
    if (at === 0) throw new RangeError(`chatpb.wasm has no memory for ${data.length} bytes`);
    this.view(at, data.length).set(data);
    const used = use(at);
    this.call("chatpb_deallocate", at, data.length);
    return used;
  }
}

/** A handle of chatpb.wasm that is freed when nobody has it any more. */
export class Handle {
  readonly instance = instance();
  readonly pointer: number;

  constructor(kind: string, ...values: number[]) {
    this.pointer = this.instance.call(`chatpb_${kind}_new`, ...values);
    if (this.pointer === 0) throw new Error(`chatpb_${kind}_new of chatpb.wasm: an argument is wrong`);
    const { instance: owner, pointer } = this;
    unused.register(this, () => owner.call(`chatpb_${kind}_free`, pointer));
  }
}

const unused = new FinalizationRegistry<() => void>((free) => {
  try {
    free();
  } catch {
    // The instance has failed; its memory goes with it.
  }
});
