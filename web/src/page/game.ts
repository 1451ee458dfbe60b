/** What the reference game tells its clients about itself. */
export interface GameContent {
  ground: { name: string; color: string; walkable: boolean }[];
  naturals: { name: string; item: string; stock: number }[];
  entities: { name: string; speed_units_per_s: number }[];
  reach_units: number;
  gestures?: string[];
}

/** How many a natural object holds now, from its record's payload; full without one. */
export function stockAt(payload: Uint8Array | undefined, full: number, islandNow: number): number {
  if (!payload || payload.length < 25) return full;
  const view = new DataView(payload.buffer, payload.byteOffset, payload.byteLength);
  const value = Number(view.getBigInt64(0, true));
  const since = Number(view.getBigInt64(8, true));
  const rate = Number(view.getBigInt64(16, true));
  return Math.min(payload[24]!, (value + rate * Math.max(0, islandNow - since)) / 1e9);
}
