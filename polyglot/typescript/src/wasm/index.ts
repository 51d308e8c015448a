// The entry `chatpb/wasm` for browsers and bundlers.
import { isLoaded } from "./instance.js";
import { load, type WasmSource } from "./load.js";

export * from "./api.js";

/**
 * Loads chatpb.wasm, once; everything else of this entry is to be called after that.
 *
 * @param source Where it comes from; the file next to this module by default. Bundlers that do not know
 * `new URL("./chatpb.wasm", import.meta.url)` and pages that must not fetch give its bytes.
 */
export async function init(source?: WasmSource | PromiseLike<WasmSource>): Promise<void> {
  if (source !== undefined) await load(source);
  else if (!isLoaded()) await load(new URL("./chatpb.wasm", import.meta.url));
}
