/** Bytes that are not what the protocol says. */
export class Malformed extends Error {}

/** Reads from the front of some bytes; every read fails with `Malformed` beyond the end. */
export class Reader {
  private at = 0;
  private readonly view: DataView;

  constructor(private readonly bytes: Uint8Array) {
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  get isEmpty(): boolean {
    return this.at >= this.bytes.length;
  }

  get remaining(): number {
    return this.bytes.length - this.at;
  }

  u8(): number {
    return this.view.getUint8(this.take(1));
  }

  u16(): number {
    return this.view.getUint16(this.take(2), true);
  }

  /** Eight bytes as 16 hexadecimal digits: the written form of ids. */
  id(): string {
    return this.view.getBigUint64(this.take(8), true).toString(16).padStart(16, "0");
  }

  i64(): number {
    return Number(this.view.getBigInt64(this.take(8), true));
  }

  /** An unsigned LEB128 number in its shortest form; beyond 2^53 the nearest that a double can hold. */
  varint(): number {
    let value = 0;
    for (let index = 0; index < 10; index++) {
      const byte = this.u8();
      if ((byte === 0 && index > 0) || (index === 9 && byte > 1)) {
        throw new Malformed("a varint is not in its shortest form");
      }
      value += (byte & 0x7f) * 2 ** (7 * index);
      if (byte < 0x80) return value;
    }
    throw new Malformed("a varint is too long");
  }

  /** A signed number in zigzag form. */
  svarint(): number {
    const value = this.varint();
    return value % 2 === 0 ? value / 2 : -(value + 1) / 2;
  }

  slice(length: number): Uint8Array {
    const start = this.take(length);
    return this.bytes.subarray(start, start + length);
  }

  rest(): Uint8Array {
    return this.slice(this.remaining);
  }

  text(): string {
    try {
      return new TextDecoder("utf-8", { fatal: true }).decode(this.slice(this.varint()));
    } catch {
      throw new Malformed("a text is not UTF-8");
    }
  }

  private take(count: number): number {
    if (count > this.remaining) throw new Malformed("the bytes end too early");
    this.at += count;
    return this.at - count;
  }
}
