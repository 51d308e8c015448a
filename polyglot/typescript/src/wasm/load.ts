import { setModule } from "./instance.js";

/** Where chatpb.wasm comes from: its bytes, compiled or not, a response that has them, or their URL. */
export type WasmSource = BufferSource | WebAssembly.Module | Response | URL | string;

/** Loads chatpb.wasm. */
export async function load(source: WasmSource | PromiseLike<WasmSource>): Promise<void> {
  const found = await source;
  const response = found instanceof URL || typeof found === "string" ? await fetch(found) : found;
  setModule(await compiled(response));
}

async function compiled(source: BufferSource | WebAssembly.Module | Response): Promise<WebAssembly.Module> {
  if (source instanceof WebAssembly.Module) return source;
  if (!(source instanceof Response)) return await WebAssembly.compile(source);
  if (!source.ok) throw new Error(`chatpb.wasm cannot be loaded: ${source.url} gives ${source.status}`);
  return await WebAssembly.compile(await source.arrayBuffer()); // whatever type the server says that it has
}
