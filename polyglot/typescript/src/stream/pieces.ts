import { base64Decode, base64Encode } from "@bufbuild/protobuf/wire";

const BASE64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;

/** A string that comes in pieces, one after the other. */
export class Text {
  private readonly pieces: string[];

  /** `isBase64` tells that the pieces are base64, each of its own bytes. */
  constructor(
    first: string,
    private readonly isBase64: boolean,
  ) {
    this.pieces = [first];
  }

  add(piece: string): void {
    this.pieces.push(piece);
  }

  get isEmpty(): boolean {
    return this.pieces.every((piece) => piece === "");
  }

  /** The string. Surrogates of which each piece has one make a character. */
  finish(): string {
    const { pieces } = this;
    if (!this.isBase64 || pieces.length === 1 || !pieces.every((piece) => BASE64.test(piece))) return pieces.join("");
    const decoded = pieces.map((piece) => base64Decode(piece));
    const all = new Uint8Array(decoded.reduce((size, bytes) => size + bytes.length, 0));
    let at = 0;
    for (const bytes of decoded) {
      all.set(bytes, at);
      at += bytes.length;
    }
    return base64Encode(all);
  }
}

/** A name that comes in pieces, again, or longer than before. */
export class Name {
  private pieces: string[];
  private length: number;

  constructor(first: string) {
    this.pieces = [first];
    this.length = first.length;
  }

  /** Adds the next piece, in time that depends only on its length, on average. */
  add(piece: string): void {
    if (piece.length >= this.length && piece.startsWith(this.finish())) {
      this.pieces = [piece];
      this.length = piece.length;
    } else {
      this.pieces.push(piece);
      this.length += piece.length;
    }
  }

  finish(): string {
    return this.pieces.join("");
  }
}
