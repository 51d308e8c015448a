import * as pure from "chatpb";
import * as wasm from "chatpb/wasm";

/** What converts. */
export type Core = Pick<
  typeof pure,
  "binaryToJson" | "fromJson" | "jsonToBinary" | "toJson" | "fold" | "unfold" | "Restorer" | "ChunkDecoder"
>;

await wasm.init();

/** The library in TypeScript and the core in WebAssembly: a case is ok if each of them gives what it should. */
export const cores: readonly Core[] = [pure, wasm as unknown as Core];
