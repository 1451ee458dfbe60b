/** A point in 1/64 m. */
export interface Point {
  x: number;
  y: number;
}

export const UNITS_PER_METER = 64;
export const CHUNK_UNITS = 1920;

/** floor(sqrt(value)), exact for integers below 2^53. */
function isqrt(value: number): number {
  let root = Math.floor(Math.sqrt(value));
  while (root * root > value) root--;
  while ((root + 1) * (root + 1) <= value) root++;
  return root;
}

/**
 * A path as a function of island time: integers throughout, as laid down in section 5 of the protocol.
 */
export class Trajectory {
  /** End of each leg, ms after the start. */
  private readonly ends: number[] = [];

  constructor(
    readonly startTime: number,
    readonly start: Point,
    readonly speed: number,
    readonly waypoints: readonly Point[],
  ) {
    let length = 0;
    let from = start;
    for (const to of waypoints) {
      const dx = to.x - from.x;
      const dy = to.y - from.y;
      length += isqrt(256 * (dx * dx + dy * dy));
      this.ends.push(speed > 0 ? Math.floor((1000 * length) / (16 * speed)) : 0);
      from = to;
    }
  }

  /** Where it is, in whole units. */
  positionAt(time: number): Point {
    return this.evaluate(time, (a, b, elapsed, duration) =>
      a + Math.floor((2 * (b - a) * elapsed + duration) / (2 * duration)));
  }

  /** Where it is between units and milliseconds, for drawing. */
  smoothAt(time: number): Point {
    return this.evaluate(time, (a, b, elapsed, duration) => a + ((b - a) * elapsed) / duration);
  }

  get endTime(): number {
    return this.startTime + (this.ends[this.ends.length - 1] ?? 0);
  }

  /** The trajectory that leaves this one at `at`. */
  turned(at: number, speed: number, waypoints: readonly Point[]): Trajectory {
    return new Trajectory(at, this.positionAt(at), speed, waypoints);
  }

  private evaluate(
    time: number,
    between: (a: number, b: number, elapsed: number, duration: number) => number,
  ): Point {
    const elapsed = time - this.startTime;
    if (elapsed <= 0) return this.start;
    let from = this.start;
    let began = 0;
    for (let index = 0; index < this.ends.length; index++) {
      const end = this.ends[index]!;
      const to = this.waypoints[index]!;
      if (elapsed < end) {
        const duration = end - began;
        return {
          x: between(from.x, to.x, elapsed - began, duration),
          y: between(from.y, to.y, elapsed - began, duration),
        };
      }
      from = to;
      began = end;
    }
    return from;
  }
}
