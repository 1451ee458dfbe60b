import { Malformed, Reader } from "./reader";
import { Trajectory, type Point } from "./trajectory";

/** What times, places and ids of a body are relative to. */
export interface Base {
  t0: number;
  corner: Point;
  /** The world of the channel's island: the first five digits of its id. */
  world: string;
}

export type Record =
  | {
      kind: "enter";
      slot: number;
      id: string;
      epoch: number;
      entityKind: number;
      stance: number;
      name: string;
      trajectory: Trajectory;
    }
  | { kind: "leave"; slot: number }
  | { kind: "arrive"; slot: number; from: number }
  | { kind: "turn"; slot: number; at: number; speed?: number; start?: Point; deltas: Point[] }
  | { kind: "stance"; slot: number; stance: number }
  | { kind: "say"; slot: number; text: string }
  | { kind: "object"; slot: number; revision: number; payload: Uint8Array }
  | { kind: "gesture"; slot: number; gesture: number; target: string }
  | { kind: "headCount"; count: number };

const MAX_WAYPOINTS = 8;
const MAX_SERIAL = 2 ** 44 - 1;
/** A turn's time is told from this long before its tick. */
const TURN_LEAD_MS = 50;

/** The records of some bytes. */
export function decodeRecords(bytes: Uint8Array, base: Base): Record[] {
  const reader = new Reader(bytes);
  const records: Record[] = [];
  while (!reader.isEmpty) {
    const head = reader.u8();
    const flags = head >> 4;
    switch (head & 15) {
      case 0:
        records.push(enter(reader, flags, base));
        break;
      case 1:
        records.push({ kind: "leave", slot: reader.varint() });
        break;
      case 2:
        records.push({ kind: "arrive", slot: reader.varint(), from: flags });
        break;
      case 4:
        records.push(turn(reader, flags, base));
        break;
      case 5:
        records.push({ kind: "stance", slot: reader.varint(), stance: reader.varint() });
        break;
      case 6:
        records.push({ kind: "say", slot: reader.varint(), text: reader.text() });
        break;
      case 7: {
        const slot = reader.varint();
        const revision = reader.varint();
        records.push({ kind: "object", slot, revision, payload: reader.slice(reader.varint()) });
        break;
      }
      case 8: {
        const slot = reader.varint();
        records.push({ kind: "gesture", slot, gesture: reader.varint(), target: reader.id() });
        break;
      }
      case 9:
        records.push({ kind: "headCount", count: reader.varint() });
        break;
      case 12:
      case 13:
      case 14:
      case 15:
        reader.slice(reader.varint());
        break;
      default:
        throw new Malformed("unknown kind of record");
    }
  }
  return records;
}

function enter(reader: Reader, flags: number, base: Base): Record {
  const slot = reader.varint();
  const id = flags & 8 ? native(reader, base) : reader.id();
  const epoch = reader.varint();
  const entityKind = reader.varint();
  const stance = flags & 1 ? reader.varint() : 0;
  const name = flags & 2 ? reader.text() : "";
  const time = base.t0 + reader.svarint();
  const start = place(reader, base);
  const pace = flags & 4 ? reader.varint() : 0;
  const waypoints = points(start, deltas(reader, pace & 15));
  const trajectory = new Trajectory(time, start, pace >> 4, waypoints);
  return { kind: "enter", slot, id, epoch, entityKind, stance, name, trajectory };
}

/** The id of what was made in the world of the island. */
function native(reader: Reader, base: Base): string {
  const serial = reader.varint();
  if (serial > MAX_SERIAL) throw new Malformed("a serial beyond 44 bits");
  return base.world + serial.toString(16).padStart(11, "0");
}

function turn(reader: Reader, flags: number, base: Base): Record {
  const slot = reader.varint();
  const at = base.t0 - TURN_LEAD_MS + reader.svarint();
  const speed = flags & 1 ? reader.varint() : undefined;
  const start = flags & 2 ? place(reader, base) : undefined;
  const count = flags >> 2;
  return { kind: "turn", slot, at, speed, start, deltas: deltas(reader, count === 3 ? reader.varint() : count) };
}

function place(reader: Reader, base: Base): Point {
  const x = base.corner.x + reader.svarint();
  return { x, y: base.corner.y + reader.svarint() };
}

function deltas(reader: Reader, count: number): Point[] {
  if (count > MAX_WAYPOINTS) throw new Malformed("too many waypoints");
  return Array.from({ length: count }, () => {
    const x = reader.svarint();
    return { x, y: reader.svarint() };
  });
}

/** Absolute points from a start and differences. */
export function points(start: Point, differences: readonly Point[]): Point[] {
  let from = start;
  return differences.map((delta) => (from = { x: from.x + delta.x, y: from.y + delta.y }));
}
