export { ConversionError } from "../errors.js";
export { binaryToJson, binaryToJsonBytes, fromJson, jsonToBinary, toJson, toJsonBytes } from "./convert.js";
export type { WasmSource } from "./load.js";
export { ChunkDecoder, fold, Folder, readChunks, Restorer, unfold } from "./stream.js";
