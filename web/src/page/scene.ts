import { Container, Sprite } from "pixi.js";
import { CELLS_PER_SIDE } from "../sdk/content";
import type { Session } from "../sdk/session";
import { CHUNK_UNITS, type Point } from "../sdk/trajectory";
import type { Seen } from "../sdk/view";
import { Figure } from "./figure";
import { stockAt, type GameContent } from "./game";
import { Land, type PlacedNatural } from "./land";
import { hash } from "./noise";
import type { Picture } from "./picture";
import { drawArt, DRAWN, type Art } from "./sprites";

/** Others are drawn this much in the past, in ms: by then their turns have come. */
const DELAY_MS = 200;
const ZOOM = { least: 14, usual: 34, most: 80 };
/** Drawn pixels of a sprite per unit. */
const SPRITE_SCALE = 64 / DRAWN;
const WAVES = 50;

interface Standing {
  natural: PlacedNatural;
  sprite: Sprite;
  bare?: boolean;
}

/** The picture: land, things, avatars, and a camera that follows one of them. */
export class Scene {
  readonly figures = new Map<string, Figure>();
  readonly standing = new Map<string, Standing[]>();
  maxStepError = 0;
  framesDrawn = 0;
  private readonly world = new Container();
  private readonly waves = new Container();
  private readonly things = new Container();
  private readonly labels = new Container();
  private readonly marker: Sprite;
  private readonly ring: Sprite;
  private markerUntil = 0;
  private readonly art: Art;
  private zoom = ZOOM.usual;
  private readonly camera: Point = { x: 0, y: 0 };
  private centred = false;

  constructor(
    private readonly picture: Picture,
    private readonly session: Session,
    readonly land: Land,
    private readonly game: GameContent,
  ) {
    this.art = drawArt(picture.renderer);
    this.things.sortableChildren = true;
    this.marker = new Sprite(this.art.marker);
    this.marker.anchor.set(0.5);
    this.marker.visible = false;
    this.marker.scale.set(SPRITE_SCALE);
    this.ring = new Sprite(this.art.marker);
    for (let index = 0; index < WAVES; index++) {
      const wave = new Sprite(this.art.wave);
      wave.anchor.set(0.5);
      wave.alpha = 0;
      this.waves.addChild(wave);
    }
    this.ring.anchor.set(0.5);
    this.ring.scale.set(SPRITE_SCALE * 1.4);
    this.ring.tint = 0xffe14d;
    this.world.addChild(land.layer, this.waves, this.marker, this.ring, this.things);
    picture.stage.addChild(this.world, this.labels);
    land.onChunk = (key, naturals) => this.standing.set(key, naturals.map((n) => this.stand(n)));
    land.onDrop = (key) => {
      this.standing.get(key)?.forEach(({ sprite }) => sprite.destroy());
      this.standing.delete(key);
    };
  }

  /** Whether there is land where the camera looks. */
  get isPainted(): boolean {
    const cell = CHUNK_UNITS / CELLS_PER_SIDE;
    return this.centred && this.land.isPainted(Math.floor(this.camera.x / cell), Math.floor(this.camera.y / cell));
  }

  /** Takes everything from the stage. */
  dispose(): void {
    this.land.dispose();
    this.world.destroy({ children: true });
    this.labels.destroy({ children: true });
  }

  /** Goes closer, by a factor. */
  zoomBy(factor: number): void {
    this.zoom = clamp(this.zoom * factor, ZOOM.least, ZOOM.most);
  }

  /** Where a point of the window is, in units. */
  toWorld(x: number, y: number): Point {
    const scale = this.zoom / 64;
    return {
      x: this.camera.x + (x - this.picture.width / 2) / scale,
      y: this.camera.y + (y - this.picture.height / 2) / scale,
    };
  }

  /** Who is drawn near a point. */
  figureAt(point: Point): Figure | undefined {
    return [...this.figures.values()].find(
      (figure) => !figure.self && Math.hypot(figure.x - point.x, figure.y - 50 - point.y) < 60,
    );
  }

  /** What stands near a point. */
  naturalAt(point: Point): PlacedNatural | undefined {
    let best: PlacedNatural | undefined;
    let nearest = 90;
    for (const list of this.standing.values()) {
      for (const { natural } of list) {
        const tall = natural.kind === 0 ? 70 : 20;
        const { x, y } = natural.position;
        const distance = Math.hypot(x - point.x, (y - tall - point.y) * (natural.kind === 0 ? 0.6 : 1));
        if (distance < nearest) [nearest, best] = [distance, natural];
      }
    }
    return best;
  }

  stockOf(natural: PlacedNatural): number {
    const payload = this.session.view.objects.get(`${natural.cx},${natural.cy},${natural.slot}`);
    const full = this.game.naturals[natural.kind]?.stock ?? 1;
    return stockAt(payload, full, this.session.islandNow());
  }

  /** Where a ring is drawn around what is chosen, if anything. */
  target?: Point;

  mark(point: Point): void {
    this.marker.position.set(point.x, point.y);
    this.markerUntil = performance.now() + 900;
  }

  /** Draws a frame. */
  draw(elapsed: number, still: boolean): void {
    this.framesDrawn++;
    const now = performance.now();
    const islandNow = this.session.islandNow();
    this.drawFigures(islandNow, elapsed, now, still);
    this.follow(elapsed);
    this.drawThings();
    this.waves.visible = !still;
    if (!still) this.drawWaves(now);
    this.ring.visible = this.target !== undefined;
    if (this.target) this.ring.position.set(this.target.x, this.target.y);
    this.marker.visible = now < this.markerUntil;
    this.marker.alpha = Math.min(1, (this.markerUntil - now) / 400);
    const scale = this.zoom / 64;
    const { width, height } = this.picture;
    this.world.scale.set(scale);
    this.world.position.set(width / 2 - this.camera.x * scale, height / 2 - this.camera.y * scale);
    for (const figure of this.figures.values()) {
      figure.label.position.set(
        this.world.x + figure.x * scale,
        this.world.y + (figure.y - 118) * scale,
      );
    }
    const reach = Math.ceil(Math.max(width, height) / 2 / scale / CHUNK_UNITS);
    const [cx, cy] = [Math.floor(this.camera.x / CHUNK_UNITS), Math.floor(this.camera.y / CHUNK_UNITS)];
    this.land.update(cx, cy, Math.min(reach, 4));
  }

  private drawFigures(islandNow: number, elapsed: number, now: number, still: boolean): void {
    const seen = this.session.view.seen();
    const own = seen.get(this.session.avatar);
    const self: Seen = {
      id: this.session.avatar,
      epoch: own?.epoch ?? 0,
      kind: 0,
      stance: own?.stance ?? 0,
      name: own?.name ?? "",
      trajectory: this.session.path,
      alias: -1,
    };
    if (own) seen.set(self.id, self);
    for (const [id, entity] of seen) {
      let figure = this.figures.get(id);
      if (!figure) {
        figure = new Figure(id, entity.name, id === this.session.avatar);
        this.figures.set(id, figure);
        this.things.addChild(figure.body);
        this.labels.addChild(figure.label);
      }
      const time = figure.self ? islandNow : islandNow - DELAY_MS;
      figure.step(entity, time, elapsed, now, still);
      figure.body.position.set(figure.x, figure.y);
      figure.body.zIndex = figure.y;
      this.maxStepError = Math.max(this.maxStepError, figure.stepError);
    }
    for (const [id, figure] of this.figures) {
      if (!seen.has(id)) {
        figure.destroy();
        this.figures.delete(id);
      }
    }
  }

  private follow(elapsed: number): void {
    const self = this.figures.get(this.session.avatar);
    if (!self) return;
    const share = this.centred ? 1 - Math.exp(-elapsed / 140) : 1;
    this.camera.x += (self.x - this.camera.x) * share;
    this.camera.y += (self.y - 40 - this.camera.y) * share;
    this.centred = true;
  }

  private drawThings(): void {
    for (const list of this.standing.values()) {
      for (const standing of list) {
        const bare = this.stockOf(standing.natural) < 1;
        if (bare !== standing.bare) {
          standing.bare = bare;
          standing.sprite.texture = this.textureOf(standing.natural, bare);
        }
      }
    }
  }

  private stand(natural: PlacedNatural): Standing {
    const sprite = new Sprite(this.textureOf(natural, false));
    const { x, y } = natural.position;
    sprite.anchor.set(0.5, 0.8);
    sprite.position.set(x, y);
    sprite.scale.set(SPRITE_SCALE * (0.85 + 0.3 * hash(x, y, 8)));
    if (hash(x, y, 10) < 0.5) sprite.scale.x *= -1;
    sprite.zIndex = y;
    this.things.addChild(sprite);
    return { natural, sprite };
  }

  private textureOf(natural: PlacedNatural, bare: boolean) {
    const { trees, stumps, bushes, bareBushes, stones, fewStones } = this.art;
    const kinds = [
      [trees, stumps],
      [bushes, bareBushes],
      [stones, fewStones],
    ];
    const variants = kinds[natural.kind]?.[bare ? 1 : 0] ?? stones;
    return variants[Math.floor(hash(natural.position.x, natural.position.y, 9) * variants.length)]!;
  }

  /** Glints that come and go on the water. */
  private drawWaves(now: number): void {
    this.waves.children.forEach((wave, index) => {
      const period = 2600 + 900 * hash(index, 0, 12);
      const turn = Math.floor(now / period + hash(index, 1, 12));
      const phase = (now / period + hash(index, 1, 12)) % 1;
      const span = (this.picture.width / this.zoom) * 64;
      const x = this.camera.x + (hash(index, turn, 13) - 0.5) * span;
      const y = this.camera.y + (hash(index, turn, 14) - 0.5) * span;
      if (phase < 0.02 || wave.label !== `${turn}`) {
        wave.label = `${turn}`;
        wave.position.set(x, y);
        const [cellX, cellY] = [Math.floor(x / 128), Math.floor(y / 128)];
        wave.visible = this.land.isPainted(cellX, cellY) && this.land.groundAt(cellX, cellY) <= 1;
      }
      wave.alpha = Math.sin(phase * Math.PI) * 0.45;
      wave.scale.set(SPRITE_SCALE * (0.6 + phase * 0.5));
    });
  }
}

function clamp(value: number, least: number, most: number): number {
  return Math.max(least, Math.min(most, value));
}
