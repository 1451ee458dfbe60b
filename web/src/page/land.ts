import { Container, Sprite, Texture } from "pixi.js";
import { CELLS_PER_SIDE, Content, decodeTile, Manifest, type Natural, type Tile } from "../sdk/content";
import { Pause } from "../sdk/retry";
import { CHUNK_UNITS } from "../sdk/trajectory";
import { noise, hash } from "./noise";

/** Pixels of a baked chunk along a side. */
const BAKED = 240;
const DEEP = 0;
const SHALLOWS = 1;
const SAND = 2;

/** Colours of grounds; the first is deep water. */
const PALETTE: [number, number, number][] = [
  [38, 92, 138],
  [86, 165, 186],
  [231, 215, 168],
  [139, 181, 94],
  [86, 132, 66],
  [146, 141, 133],
];

/** Pauses before a tile is asked for again whose fetch has failed, after all its tries, in ms. */
const MISSED_PAUSE_MS = { first: 5000, last: 60_000 };

/** A tile that could not be fetched. */
interface Missed {
  pause: Pause;
  /** When it is asked for again. */
  again: number;
}

export interface PlacedNatural extends Natural {
  cx: number;
  cy: number;
  slot: number;
}

/** The land around the camera: tiles fetched by hash, each chunk painted once. */
export class Land {
  readonly layer = new Container();
  readonly naturals = new Map<string, PlacedNatural[]>();
  onChunk: (key: string, naturals: PlacedNatural[]) => void = () => {};
  onDrop: (key: string) => void = () => {};
  private readonly tiles = new Map<string, Tile | null>();
  private readonly painted = new Map<string, Sprite>();
  private readonly fetching = new Set<string>();
  private readonly missed = new Map<string, Missed>();

  constructor(
    private readonly content: Content,
    private readonly manifest: Manifest,
  ) {}

  /** How many tiles could not be fetched. */
  get missing(): number {
    return this.missed.size;
  }

  /** Asks at once for what could not be fetched. */
  fetchAgain(): void {
    for (const missed of this.missed.values()) missed.again = 0;
  }

  /** Keeps what is within `radius` chunks of a chunk; paints few chunks per call. */
  update(cx: number, cy: number, radius: number): void {
    const near: [number, number][] = [];
    for (let y = cy - radius - 1; y <= cy + radius + 1; y++) {
      for (let x = cx - radius - 1; x <= cx + radius + 1; x++) near.push([x, y]);
    }
    near.sort((a, b) => Math.hypot(a[0] - cx, a[1] - cy) - Math.hypot(b[0] - cx, b[1] - cy));
    // At first the surroundings at once, later a chunk per frame.
    let budget = this.painted.size < 9 ? 4 : 1;
    for (const [x, y] of near) {
      this.want(x, y);
      const key = `${x},${y}`;
      const inside = Math.max(Math.abs(x - cx), Math.abs(y - cy)) <= radius;
      if (budget > 0 && inside && !this.painted.has(key) && this.isSurrounded(x, y)) {
        this.paint(x, y);
        budget--;
      }
    }
    const isFar = (key: string) => {
      const [x, y] = key.split(",").map(Number) as [number, number];
      return Math.max(Math.abs(x - cx), Math.abs(y - cy)) > radius + 2;
    };
    for (const key of [...this.missed.keys()].filter(isFar)) this.missed.delete(key);
    for (const [key, sprite] of this.painted) {
      if (isFar(key)) {
        sprite.destroy({ texture: true, textureSource: true });
        this.painted.delete(key);
        this.naturals.delete(key);
        this.onDrop(key);
      }
    }
  }

  /** Forgets what was painted. */
  dispose(): void {
    for (const sprite of this.painted.values()) sprite.destroy({ texture: true, textureSource: true });
    this.painted.clear();
  }

  /** Whether the chunk of a cell has been painted. */
  isPainted(cellX: number, cellY: number): boolean {
    return this.painted.has(`${Math.floor(cellX / CELLS_PER_SIDE)},${Math.floor(cellY / CELLS_PER_SIDE)}`);
  }

  /** The kind of ground of a cell; what is not known is deep water. */
  groundAt(cellX: number, cellY: number): number {
    const [x, y] = [Math.floor(cellX / CELLS_PER_SIDE), Math.floor(cellY / CELLS_PER_SIDE)];
    const tile = this.tiles.get(`${x},${y}`);
    if (!tile) return DEEP;
    const [column, row] = [cellX - x * CELLS_PER_SIDE, cellY - y * CELLS_PER_SIDE];
    return tile.ground[row * CELLS_PER_SIDE + column] ?? DEEP;
  }

  private want(x: number, y: number): void {
    const key = `${x},${y}`;
    if (this.tiles.has(key) || this.fetching.has(key)) return;
    const missed = this.missed.get(key);
    if (missed && performance.now() < missed.again) return;
    const hash = this.manifest.tile(x, y);
    if (!hash) {
      this.tiles.set(key, null);
      return;
    }
    this.fetching.add(key);
    this.content
      .fetch(hash)
      .then((bytes) => {
        this.tiles.set(key, bytes.length > 0 ? decodeTile(bytes, x, y) : null);
        this.missed.delete(key);
      })
      .catch((error: unknown) => {
        console.warn("a tile could not be fetched", error);
        const pause = missed?.pause ?? new Pause(MISSED_PAUSE_MS.first, MISSED_PAUSE_MS.last);
        this.missed.set(key, { pause, again: performance.now() + pause.next() });
      })
      .finally(() => this.fetching.delete(key));
  }

  private isSurrounded(x: number, y: number): boolean {
    for (let dy = -1; dy <= 1; dy++) {
      for (let dx = -1; dx <= 1; dx++) if (!this.tiles.has(`${x + dx},${y + dy}`)) return false;
    }
    return true;
  }

  private paint(x: number, y: number): void {
    const canvas = document.createElement("canvas");
    canvas.width = canvas.height = BAKED;
    const context = canvas.getContext("2d")!;
    const image = context.createImageData(BAKED, BAKED);
    const cell = BAKED / CELLS_PER_SIDE;
    const [left, top] = [x * CELLS_PER_SIDE, y * CELLS_PER_SIDE];
    for (let py = 0; py < BAKED; py++) {
      for (let px = 0; px < BAKED; px++) {
        const gx = left + px / cell;
        const gy = top + py / cell;
        const [r, g, b] = this.colorAt(gx, gy, px, py);
        const at = (py * BAKED + px) * 4;
        image.data[at] = r;
        image.data[at + 1] = g;
        image.data[at + 2] = b;
        image.data[at + 3] = 255;
      }
    }
    context.putImageData(image, 0, 0);
    const sprite = new Sprite(Texture.from(canvas));
    sprite.position.set(x * CHUNK_UNITS, y * CHUNK_UNITS);
    // A hair of overlap hides the joints.
    sprite.width = sprite.height = CHUNK_UNITS + 6;
    this.layer.addChild(sprite);
    const key = `${x},${y}`;
    this.painted.set(key, sprite);
    const naturals = this.tiles.get(key)?.naturals ?? [];
    const placed = naturals.map((natural, slot) => ({ ...natural, cx: x, cy: y, slot }));
    this.naturals.set(key, placed);
    this.onChunk(key, placed);
  }

  /** The colour of a point: borders between grounds wander and blend, as if painted by hand. */
  private colorAt(gx: number, gy: number, px: number, py: number): [number, number, number] {
    const wx = gx + (noise(gx * 0.9, gy * 0.9, 1) - 0.5) * 1.5 + (noise(gx * 3.1, gy * 3.1, 2) - 0.5) * 0.5;
    const wy = gy + (noise(gx * 0.9, gy * 0.9, 3) - 0.5) * 1.5 + (noise(gx * 3.1, gy * 3.1, 4) - 0.5) * 0.5;
    const [fx, fy] = [wx - 0.5, wy - 0.5];
    const [ix, iy] = [Math.floor(fx), Math.floor(fy)];
    const sharpen = (t: number) => {
      const s = Math.min(1, Math.max(0, (t - 0.5) * 2.2 + 0.5));
      return s * s * (3 - 2 * s);
    };
    const [u, v] = [sharpen(fx - ix), sharpen(fy - iy)];
    let [r, g, b] = [0, 0, 0];
    let water = 0;
    let shore = 0;
    for (let dy = 0; dy < 2; dy++) {
      for (let dx = 0; dx < 2; dx++) {
        const ground = this.groundAt(ix + dx, iy + dy);
        const weight = (dx ? u : 1 - u) * (dy ? v : 1 - v);
        const color = PALETTE[ground] ?? PALETTE[3]!;
        r += color[0] * weight;
        g += color[1] * weight;
        b += color[2] * weight;
        if (ground <= SHALLOWS) water += weight;
        if (ground === SAND) shore += weight;
      }
    }
    const broad = (noise(gx * 0.22, gy * 0.22, 5) - 0.5) * 22;
    const fine = (noise(gx * 1.7, gy * 1.7, 6) - 0.5) * 14;
    const grain = (hash(px + Math.floor(gx) * 31, py + Math.floor(gy) * 17, 7) - 0.5) * 7;
    const light = (broad + fine) * (1 - water * 0.6) + grain * (1 - water * 0.7);
    // A line of foam where water meets sand.
    const foam = water > 0.25 && water < 0.6 && shore > 0.2 ? 34 : 0;
    return [r + light + foam, g + light + foam, b + light * 0.7 + foam];
  }
}
