// The entry `chatpb/wasm` for Node, which does not fetch files.
import { readFile } from "node:fs/promises";
import { isLoaded } from "./instance.js";
import { load, type WasmSource } from "./load.js";

export * from "./api.js";

/**
 * Loads chatpb.wasm, once; everything else of this entry is to be called after that.
 *
 * @param source Where it comes from; the file next to this module by default.
 */
export async function init(source?: WasmSource | PromiseLike<WasmSource>): Promise<void> {
  const found = await source;
  if (found === undefined && isLoaded()) return;
  const isFile = found === undefined || (found instanceof URL && found.protocol === "file:");
  await load(isFile ? await readFile(found ?? new URL("./chatpb.wasm", import.meta.url)) : found);
}
