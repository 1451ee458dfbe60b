// The vectors of the protocol's page: whoever reproduces them understands it.
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { decodeRecords } from "../src/sdk/records";
import { Trajectory, type Point } from "../src/sdk/trajectory";

interface Path {
  start_ms: number;
  start: Point;
  speed: number;
  waypoints: Point[];
}

const read = (name: string) =>
  JSON.parse(readFileSync(new URL(`../../docs/vectors/${name}.json`, import.meta.url), "utf8"));
const bytes = (hex: string) => Uint8Array.from(hex.match(/../g) ?? [], (pair) => parseInt(pair, 16));
const toPath = (path: Trajectory): Path => ({
  start_ms: path.startTime,
  start: path.start,
  speed: path.speed,
  waypoints: [...path.waypoints],
});

describe("trajectories.json", () => {
  for (const { name, trajectory, end_ms, positions } of read("trajectories")) {
    it(name, () => {
      const { start_ms, start, speed, waypoints } = trajectory as Path;
      const path = new Trajectory(start_ms, start, speed, waypoints);
      expect(path.endTime).toBe(end_ms);
      for (const { at, x, y } of positions) expect(path.positionAt(at), `at ${at}`).toEqual({ x, y });
    });
  }
});

describe("records.json", () => {
  for (const { name, t0, corner, world, hex, record } of read("records")) {
    it(name, () => {
      const base = { t0, corner, world: (world as number).toString(16).padStart(5, "0") };
      const found = decodeRecords(bytes(hex), base)[0] as Record<string, unknown> | undefined;
      if (record === null) {
        expect(found).toBeUndefined();
        return;
      }
      expect(found?.kind).toBe({ head_count: "headCount" }[record.kind as string] ?? record.kind);
      for (const field of ["slot", "id", "stance", "name", "at", "speed", "start", "text", "gesture", "count"]) {
        if (field in record && found && field in found) expect(found[field] ?? null, field).toEqual(record[field]);
      }
      if (record.trajectory) expect(toPath(found?.trajectory as Trajectory)).toEqual(record.trajectory);
      if (record.epoch) expect(found?.epoch).toBe(Number(record.epoch));
      if (record.revision) expect(found?.revision).toBe(Number(record.revision));
    });
  }
});
