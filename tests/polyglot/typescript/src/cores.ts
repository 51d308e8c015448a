import * as pure from "chatpb";

/** What converts, in JavaScript alone. */
export type Core = Pick<
  typeof pure,
  "binaryToJson" | "fromJson" | "jsonToBinary" | "toJson" | "fold" | "unfold" | "Restorer" | "ChunkDecoder"
>;

/** What converts: a case is ok if each of them gives what it should. */
export const cores: readonly Core[] = [pure];
