// Tokens that are parts of characters: where the bytes of several make one.
import { fromUtf8 } from "./text.js";

const LONGEST = 16;

/** A run of tokens whose bytes are text only together. */
export interface Together {
  first: number;
  last: number;
  text: string;
}

/** For each token, the run that it is a part of, if it is no text by itself. */
export function splitCharacters(tokens: readonly Uint8Array[]): (Together | undefined)[] {
  const found = new Array<Together | undefined>(tokens.length).fill(undefined);
  for (let first = 0; first < tokens.length; first++) {
    if (fromUtf8(tokens[first] as Uint8Array) !== undefined) continue;
    let joined: number[] = [];
    for (let last = first; last < Math.min(tokens.length, first + LONGEST); last++) {
      joined = [...joined, ...(tokens[last] as Uint8Array)];
      const text = fromUtf8(Uint8Array.from(joined));
      if (text === undefined) continue;
      found.fill({ first, last, text }, first, last + 1);
      first = last;
      break;
    }
  }
  return found;
}
