/** A hash of a lattice point, between 0 and 1. For looks only: the land itself comes from the server. */
export function hash(x: number, y: number, seed: number): number {
  let h = Math.imul(x, 374761393) ^ Math.imul(y, 668265263) ^ Math.imul(seed, 1274126177);
  h = Math.imul(h ^ (h >>> 13), 1274126177);
  return ((h ^ (h >>> 16)) >>> 0) / 4294967296;
}

/** Smooth noise between 0 and 1. */
export function noise(x: number, y: number, seed: number): number {
  const [left, top] = [Math.floor(x), Math.floor(y)];
  const [u, v] = [x - left, y - top];
  const [s, t] = [u * u * (3 - 2 * u), v * v * (3 - 2 * v)];
  const upper = hash(left, top, seed) * (1 - s) + hash(left + 1, top, seed) * s;
  const lower = hash(left, top + 1, seed) * (1 - s) + hash(left + 1, top + 1, seed) * s;
  return upper * (1 - t) + lower * t;
}

/** A number from a text, to choose colours by. */
export function textHash(text: string): number {
  let h = 2166136261;
  for (const char of text) h = Math.imul(h ^ char.codePointAt(0)!, 16777619);
  return h >>> 0;
}
