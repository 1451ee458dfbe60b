import { Graphics, type Renderer, type Texture } from "pixi.js";
import { hash } from "./noise";

/** Pixels per metre at which things are drawn once, to be shown at any size. */
export const DRAWN = 96;

export interface Art {
  trees: Texture[];
  stumps: Texture[];
  bushes: Texture[];
  bareBushes: Texture[];
  stones: Texture[];
  fewStones: Texture[];
  marker: Texture;
  wave: Texture;
}

/** Draws every sprite once. Each stands with its foot at (0.5, anchor). */
export function drawArt(renderer: Renderer): Art {
  const bake = (draw: (g: Graphics) => void, size: number): Texture => {
    const graphics = new Graphics();
    // An invisible frame gives all variants the same size.
    graphics.rect(-size / 2, -size, size, size * 1.25).fill({ color: 0, alpha: 0 });
    draw(graphics);
    const texture = renderer.generateTexture({ target: graphics, resolution: 1, antialias: true });
    graphics.destroy();
    return texture;
  };
  const variants = (count: number, size: number, draw: (g: Graphics, seed: number) => void) =>
    Array.from({ length: count }, (_, seed) => bake((g) => draw(g, seed), size));
  return {
    trees: variants(4, 4.2 * DRAWN, tree),
    stumps: variants(1, 4.2 * DRAWN, stump),
    bushes: variants(3, 2 * DRAWN, (g, seed) => bush(g, seed, true)),
    bareBushes: variants(3, 2 * DRAWN, (g, seed) => bush(g, seed, false)),
    stones: variants(3, 1.6 * DRAWN, (g, seed) => stones(g, seed, 3)),
    fewStones: variants(1, 1.6 * DRAWN, (g) => stones(g, 1, 1)),
    marker: bake((g) => {
      g.ellipse(0, 0, 0.42 * DRAWN, 0.24 * DRAWN).stroke({ width: 7, color: 0xffffff, alpha: 0.9 });
      g.ellipse(0, 0, 0.12 * DRAWN, 0.07 * DRAWN).fill({ color: 0xffffff, alpha: 0.9 });
    }, DRAWN),
    wave: bake((g) => {
      g.moveTo(-0.7 * DRAWN, 0)
        .bezierCurveTo(-0.35 * DRAWN, -0.18 * DRAWN, 0.1 * DRAWN, 0.12 * DRAWN, 0.7 * DRAWN, -0.04 * DRAWN)
        .stroke({ width: 6, color: 0xdff4fa, alpha: 0.9, cap: "round" });
    }, 1.6 * DRAWN),
  };
}

function shadow(g: Graphics, width: number): void {
  g.ellipse(width * 0.18, 0, width * DRAWN, width * 0.42 * DRAWN).fill({ color: 0x1b2b1a, alpha: 0.24 });
}

const LEAVES = [0x4f8a3c, 0x5c9645, 0x467d44, 0x6a9a3e];

function tree(g: Graphics, seed: number): void {
  const m = DRAWN;
  shadow(g, 1.15);
  g.moveTo(-0.16 * m, 0.02 * m)
    .lineTo(-0.1 * m, -1.4 * m)
    .lineTo(0.1 * m, -1.4 * m)
    .lineTo(0.18 * m, 0.02 * m)
    .fill(0x6b4d34);
  const leaf = LEAVES[seed % LEAVES.length]!;
  for (let layer = 0; layer < 3; layer++) {
    for (let index = 0; index < 7; index++) {
      const angle = (index / 7) * Math.PI * 2 + hash(seed, index, layer);
      const far = (0.72 - layer * 0.2) * (0.75 + 0.4 * hash(index, seed, layer + 9));
      const x = Math.cos(angle) * far * m;
      const y = (-2.05 - layer * 0.34) * m + Math.sin(angle) * far * 0.75 * m;
      const size = (0.52 - layer * 0.08) * (0.85 + 0.3 * hash(index, layer, seed + 3)) * m;
      g.circle(x, y, size).fill({ color: shade(leaf, -26 + layer * 26), alpha: 1 });
    }
  }
  for (let index = 0; index < 14; index++) {
    const x = (hash(index, seed, 21) - 0.6) * 1.3 * m;
    const y = (-2.45 + (hash(index, seed, 22) - 0.6) * 1.1) * m;
    g.circle(x, y, 0.06 * m).fill({ color: shade(leaf, 52), alpha: 0.55 });
  }
}

function stump(g: Graphics): void {
  const m = DRAWN;
  shadow(g, 0.45);
  g.roundRect(-0.28 * m, -0.42 * m, 0.56 * m, 0.46 * m, 0.1 * m).fill(0x6b4d34);
  g.ellipse(0, -0.42 * m, 0.28 * m, 0.15 * m).fill(0xd2ad7c);
  g.ellipse(0, -0.42 * m, 0.14 * m, 0.075 * m).stroke({ width: 3, color: 0xa97f52 });
}

function bush(g: Graphics, seed: number, berries: boolean): void {
  const m = DRAWN;
  shadow(g, 0.6);
  const leaf = berries ? 0x4d8b4a : 0x6f8f55;
  for (let index = 0; index < 9; index++) {
    const angle = (index / 9) * Math.PI * 2;
    const x = Math.cos(angle) * 0.38 * m;
    const y = -0.36 * m + Math.sin(angle) * 0.2 * m;
    g.circle(x, y, (0.26 + 0.08 * hash(index, seed, 4)) * m).fill(shade(leaf, y < -0.36 * m ? -18 : -4));
  }
  g.circle(0, -0.5 * m, 0.38 * m).fill(shade(leaf, 14));
  g.circle(-0.1 * m, -0.6 * m, 0.2 * m).fill(shade(leaf, 30));
  if (!berries) return;
  for (let index = 0; index < 8; index++) {
    const x = (hash(index, seed, 11) - 0.5) * 0.95 * m;
    const y = (-0.42 + (hash(index, seed, 12) - 0.5) * 0.55) * m;
    g.circle(x, y, 0.075 * m).fill(0xc2283f);
    g.circle(x - 0.02 * m, y - 0.025 * m, 0.025 * m).fill({ color: 0xffffff, alpha: 0.75 });
  }
}

function stones(g: Graphics, seed: number, count: number): void {
  const m = DRAWN;
  shadow(g, 0.4);
  for (let index = 0; index < count; index++) {
    const x = (index - (count - 1) / 2) * 0.34 * m;
    const size = (0.2 + 0.1 * hash(index, seed, 5)) * m;
    g.ellipse(x, -size * 0.6, size, size * 0.75).fill(0x8d887f);
    g.ellipse(x - size * 0.2, -size * 0.85, size * 0.6, size * 0.38).fill(0xb1aca2);
  }
}

export function shade(color: number, amount: number): number {
  const channel = (shift: number) => Math.max(0, Math.min(255, ((color >> shift) & 255) + amount)) << shift;
  return channel(16) | channel(8) | channel(0);
}
