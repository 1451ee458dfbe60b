import { UNITS_PER_METER, type Point } from "../sdk/trajectory";

const NAMES = ["east", "south-east", "south", "south-west", "west", "north-west", "north", "north-east"];

/** Keys that walk, and where to: x is east, y is south. */
const HEADINGS: Record<string, Point> = {
  ArrowUp: { x: 0, y: -1 },
  ArrowDown: { x: 0, y: 1 },
  ArrowLeft: { x: -1, y: 0 },
  ArrowRight: { x: 1, y: 0 },
  KeyW: { x: 0, y: -1 },
  KeyS: { x: 0, y: 1 },
  KeyA: { x: -1, y: 0 },
  KeyD: { x: 1, y: 0 },
};

/** Where a thing is, in words. */
export function bearing(from: Point, to: Point): string {
  const [x, y] = [to.x - from.x, to.y - from.y];
  const metres = Math.round(Math.hypot(x, y) / UNITS_PER_METER);
  if (metres < 1) return "here";
  const eighth = (Math.round((Math.atan2(y, x) * 4) / Math.PI) + 8) % 8;
  return `${metres} m ${NAMES[eighth]}`;
}

/** The way that held keys go: of length 1, or none. */
export function heading(codes: Iterable<string>): Point | undefined {
  let [x, y] = [0, 0];
  for (const code of codes) {
    x += HEADINGS[code]?.x ?? 0;
    y += HEADINGS[code]?.y ?? 0;
  }
  const length = Math.hypot(x, y);
  return length === 0 ? undefined : { x: x / length, y: y / length };
}

export function isHeading(code: string): boolean {
  return code in HEADINGS;
}

/** How finely a way is looked at, in units. */
const STEP = 16;

/** The farthest point of a straight way that can be walked to, at most `reach` away; nothing if that is no step at all. */
export function reachable(from: Point, way: Point, reach: number, isWalkable: (point: Point) => boolean): Point | undefined {
  let far = 0;
  while (far + STEP <= reach && isWalkable({ x: from.x + way.x * (far + STEP), y: from.y + way.y * (far + STEP) })) far += STEP;
  return far === 0 ? undefined : { x: Math.round(from.x + way.x * far), y: Math.round(from.y + way.y * far) };
}
