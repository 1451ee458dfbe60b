import { Reader } from "./reader";
import { decodeRecords, points, type Base, type Record } from "./records";
import { decodeFrames, isFrames, Kind } from "./stream";
import { CHUNK_UNITS, Trajectory } from "./trajectory";

/** An entity in sight. */
export interface Seen {
  id: string;
  epoch: number;
  kind: number;
  stance: number;
  name: string;
  trajectory: Trajectory;
  alias: number;
}

export type Change =
  | { kind: "said"; id: string; text: string }
  | { kind: "gesture"; id: string; gesture: number; target: string }
  | { kind: "object"; x: number; y: number; slot: number };

interface Stream {
  island: string;
  x: number;
  y: number;
  objects: boolean;
  publisher: number;
  sequence: number;
}

export interface IslandClock {
  worldMs: number;
  islandMs: number;
  speedPermille: number;
}

/** Island time at a world time; between milliseconds if that is. */
export function islandTime(clock: IslandClock, world: number): number {
  return clock.islandMs + ((world - clock.worldMs) * clock.speedPermille) / 1000;
}

/** Everything in sight, kept from frames and snapshots. No socket, no clock, no page. */
export class View {
  readonly objects = new Map<string, Uint8Array>();
  /** Counted: frames, bytes of frames and snapshots, gaps. */
  frames = 0;
  gaps = 0;
  updates = 0;
  private readonly revisions = new Map<string, number>();
  private readonly streams = new Map<number, Stream>();
  private readonly entities = new Map<string, Seen>();

  constructor(
    private readonly home: string,
    private readonly clock: IslandClock,
    private tick: number,
  ) {}

  /** Entities in sight; of two with the same id the one with the greater epoch. */
  seen(): Map<string, Seen> {
    const best = new Map<string, Seen>();
    for (const seen of this.entities.values()) {
      const other = best.get(seen.id);
      if (!other || other.epoch <= seen.epoch) best.set(seen.id, seen);
    }
    return best;
  }

  receive(kind: number, payload: Uint8Array, changes: Change[]): void {
    if (isFrames(kind)) this.receiveFrames(kind, payload, changes);
    else if (kind === Kind.snapshot) this.receiveSnapshot(payload, changes);
    else if (kind === Kind.close) {
      const reader = new Reader(payload);
      while (!reader.isEmpty) {
        const alias = reader.varint();
        this.forget(alias);
        this.streams.delete(alias);
      }
    }
  }

  private receiveFrames(kind: number, payload: Uint8Array, changes: Change[]): void {
    const { delta, frames } = decodeFrames(kind, payload);
    this.tick += delta;
    for (const { alias, body } of frames) {
      const stream = this.streams.get(alias);
      if (!stream || body.length === 0) {
        this.gaps++;
        continue;
      }
      this.frames++;
      const ahead = ((body[0]! & 15) - stream.sequence) & 15;
      if (!stream.objects && ahead > 1) this.gaps++;
      stream.sequence = body[0]! & 15;
      const tick = this.tick - ((this.tick - (body[0]! >> 4)) & 15);
      this.apply(alias, stream, decodeRecords(body.subarray(1), this.base(stream, tick)), changes);
    }
  }

  private receiveSnapshot(payload: Uint8Array, changes: Change[]): void {
    const reader = new Reader(payload);
    const alias = reader.varint();
    const flags = reader.u8();
    const x = reader.svarint();
    const y = reader.svarint();
    if (flags & 2) {
      reader.varint();
      reader.u8();
    }
    const island = flags & 4 ? reader.id() : this.home;
    const publisher = reader.varint();
    const tick = reader.varint();
    const stamp = reader.u8();
    this.forget(alias);
    const stream = { island, x, y, objects: (flags & 1) !== 0, publisher, sequence: stamp & 15 };
    this.streams.set(alias, stream);
    if (stream.objects) changes.push({ kind: "object", x, y, slot: -1 });
    this.apply(alias, stream, decodeRecords(reader.rest(), this.base(stream, tick)), changes);
  }

  private base(stream: Stream, tick: number): Base {
    return {
      t0: Math.floor(islandTime(this.clock, tick * 100)),
      corner: { x: stream.x * CHUNK_UNITS, y: stream.y * CHUNK_UNITS },
      world: stream.island.slice(0, 5),
    };
  }

  private forget(alias: number): void {
    const stream = this.streams.get(alias);
    if (!stream) return;
    if (stream.objects) {
      const prefix = `${stream.x},${stream.y},`;
      for (const key of [...this.objects.keys()].filter((key) => key.startsWith(prefix))) {
        this.objects.delete(key);
        this.revisions.delete(key);
      }
    } else {
      for (const [key, seen] of this.entities) {
        if (seen.alias === alias && key.startsWith(`${stream.publisher}:`)) this.entities.delete(key);
      }
    }
  }

  private apply(alias: number, stream: Stream, records: Record[], changes: Change[]): void {
    this.updates += records.length;
    for (const record of records) {
      const key = "slot" in record ? `${stream.publisher}:${record.slot}` : "";
      const seen = this.entities.get(key);
      switch (record.kind) {
        case "enter": {
          const { id, epoch, entityKind, stance, name, trajectory } = record;
          this.entities.set(key, { id, epoch, kind: entityKind, stance, name, trajectory, alias });
          break;
        }
        case "leave":
          if (seen?.alias === alias) this.entities.delete(key);
          break;
        case "arrive":
          if (seen) seen.alias = alias;
          break;
        case "turn":
          if (seen) {
            const start = record.start ?? seen.trajectory.positionAt(record.at);
            const speed = record.speed ?? seen.trajectory.speed;
            seen.trajectory = new Trajectory(record.at, start, speed, points(start, record.deltas));
          }
          break;
        case "stance":
          if (seen) seen.stance = record.stance;
          break;
        case "say":
          if (seen) changes.push({ kind: "said", id: seen.id, text: record.text });
          break;
        case "gesture":
          if (seen) {
            const { gesture, target } = record;
            changes.push({ kind: "gesture", id: seen.id, gesture, target });
          }
          break;
        case "object": {
          const object = `${stream.x},${stream.y},${record.slot}`;
          if ((this.revisions.get(object) ?? -1) < record.revision) {
            this.revisions.set(object, record.revision);
            this.objects.set(object, record.payload);
            changes.push({ kind: "object", x: stream.x, y: stream.y, slot: record.slot });
          }
          break;
        }
        case "headCount":
          break;
      }
    }
  }
}
