import type { pelago } from "./generated.js";
import { toNumber } from "./numbers";
import { Trajectory } from "./trajectory";

/** A path as control messages tell it. */
export function toTrajectory(path: pelago.client.v1.IPath | null | undefined): Trajectory {
  const flat = path?.waypoints ?? [];
  const waypoints = [];
  for (let index = 0; index + 1 < flat.length; index += 2) {
    waypoints.push({ x: flat[index]!, y: flat[index + 1]! });
  }
  const start = { x: path?.x ?? 0, y: path?.y ?? 0 };
  return new Trajectory(toNumber(path?.startMs), start, path?.speed ?? 0, waypoints);
}
