import { blake3 } from "@noble/hashes/blake3.js";
import { bytesToHex } from "@noble/hashes/utils.js";
import { Reader } from "./reader";
import { FETCH_PATIENCE, persist, type Patience } from "./retry";
import { CHUNK_UNITS, type Point } from "./trajectory";

export const CELLS_PER_SIDE = 15;

export interface Natural {
  kind: number;
  position: Point;
}

export interface Tile {
  ground: Uint8Array;
  naturals: Natural[];
}

/**
 * Pieces that are fetched at once, those that pause before another try included: more would delay what is needed first and
 * the pongs of the session, and would press a server that has trouble.
 */
const MAX_FETCHES = 6;

/** Content by hash: fetched once, checked, kept. A fetch that fails is tried again, with pauses, until its patience ends. */
export class Content {
  private readonly pending = new Map<string, Promise<Uint8Array>>();
  private readonly waiting: (() => void)[] = [];
  private running = 0;

  constructor(
    private readonly origin: string,
    private readonly patience: Patience = FETCH_PATIENCE,
  ) {}

  fetch(hash: string): Promise<Uint8Array> {
    let pending = this.pending.get(hash);
    if (!pending) {
      pending = this.inTurn(() => persist(() => this.load(hash), this.patience));
      this.pending.set(hash, pending);
      pending.catch(() => this.pending.delete(hash));
    }
    return pending;
  }

  private async inTurn<T>(fetch: () => Promise<T>): Promise<T> {
    if (this.running >= MAX_FETCHES) await new Promise<void>((resolve) => this.waiting.push(resolve));
    else this.running++;
    try {
      return await fetch();
    } finally {
      // Whoever waits takes over the turn.
      const next = this.waiting.shift();
      if (next) next();
      else this.running--;
    }
  }

  private async load(hash: string): Promise<Uint8Array> {
    const signal = AbortSignal.timeout(this.patience.tryMs);
    const response = await fetch(`${this.origin}content/${hash}`, { signal });
    if (!response.ok) throw new Error(`content ${hash}: ${response.status}`);
    const bytes = new Uint8Array(await response.arrayBuffer());
    if (bytesToHex(blake3(bytes)) !== hash) throw new Error(`content ${hash} is something else`);
    return bytes;
  }
}

/** Which content holds the land of which chunk. */
export class Manifest {
  private constructor(
    private readonly first: Point,
    readonly width: number,
    readonly height: number,
    private readonly hashes: Uint8Array,
  ) {}

  static decode(bytes: Uint8Array): Manifest {
    const reader = new Reader(bytes);
    reader.u8();
    const first = { x: reader.svarint(), y: reader.svarint() };
    const [width, height] = [reader.varint(), reader.varint()];
    return new Manifest(first, width, height, reader.rest());
  }

  tile(x: number, y: number): string | undefined {
    const [column, row] = [x - this.first.x, y - this.first.y];
    if (column < 0 || row < 0 || column >= this.width || row >= this.height) return undefined;
    const at = (row * this.width + column) * 32;
    return bytesToHex(this.hashes.subarray(at, at + 32));
  }
}

export function decodeTile(bytes: Uint8Array, x: number, y: number): Tile {
  const reader = new Reader(bytes);
  reader.u8();
  const side = reader.u8();
  const ground = reader.slice(side * side);
  const naturals = Array.from({ length: reader.varint() }, () => {
    const kind = reader.u8();
    const east = reader.u16();
    return { kind, position: { x: x * CHUNK_UNITS + east, y: y * CHUNK_UNITS + reader.u16() } };
  });
  return { ground, naturals };
}
