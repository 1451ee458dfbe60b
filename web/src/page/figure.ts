import { Container, Graphics, Text } from "pixi.js";
import type { Point } from "../sdk/trajectory";
import type { Seen } from "../sdk/view";
import { textHash } from "./noise";
import { shade } from "./sprites";

/** The farthest that a drawn step may be off its path's, in units: 0.25 m. */
const MOST_CORRECTION = 16;
/** Beyond this an avatar is not walked but put where it is, in units: 12 m. */
const JUMP = 12 * 64;
const BUBBLE_MS = 5000;

const SHIRTS = [0xd9603b, 0x3f7fb5, 0xe0a83a, 0x7a55a8, 0x3f9b7c, 0xc24e7a, 0x5566c9, 0x8a6b3a];
const HAIR = [0x3a2a20, 0x6a4a2b, 0x222831, 0xb98744, 0x8c3f2b];

/** An avatar as it is drawn: follows its trajectory smoothly, is corrected without jumps. */
export class Figure {
  readonly body = new Container();
  readonly label = new Container();
  /** Where it is drawn, in units. */
  x = 0;
  y = 0;
  /** The largest difference between a drawn step and the path's, in metres. */
  stepError = 0;
  private readonly figure = new Container();
  private readonly arm = new Graphics();
  private bubble?: { box: Container; until: number };
  private phase = 0;
  private placed = false;
  private facing = 1;

  constructor(
    readonly id: string,
    readonly name: string,
    readonly self: boolean,
  ) {
    const seed = textHash(name || id);
    const shirt = SHIRTS[seed % SHIRTS.length]!;
    const ground = new Graphics().ellipse(4, 0, 26, 11).fill({ color: 0x1b2b1a, alpha: 0.28 });
    if (self) ground.ellipse(0, 0, 34, 16).stroke({ width: 3, color: 0xffffff, alpha: 0.75 });
    const shape = new Graphics();
    shape.roundRect(-13, -26, 11, 26, 5).fill(0x3d4455);
    shape.roundRect(2, -26, 11, 26, 5).fill(0x343b4a);
    shape.roundRect(-19, -66, 38, 46, 15).fill(shirt);
    shape.roundRect(-19, -66, 17, 46, 15).fill(shade(shirt, 18));
    shape.circle(0, -84, 20).fill(0xf1c9a0);
    shape.moveTo(-20, -86).arc(0, -86, 20, Math.PI, 0).closePath().fill(HAIR[(seed >> 4) % HAIR.length]!);
    shape.circle(7, -83, 2.6).circle(-3, -83, 2.6).fill(0x2b2320);
    this.arm.roundRect(-5, -4, 10, 34, 5).fill(shade(shirt, -24));
    this.arm.position.set(17, -58);
    this.figure.addChild(shape, this.arm);
    this.body.addChild(ground, this.figure);
    const text = new Text({
      text: name,
      style: {
        fontFamily: "system-ui, sans-serif",
        fontSize: 26,
        fontWeight: "600",
        fill: self ? 0xfff3c4 : 0xffffff,
        stroke: { color: 0x1d2a33, width: 5, join: "round" },
      },
    });
    text.anchor.set(0.5, 1);
    text.scale.set(0.5);
    this.label.addChild(text);
  }

  say(text: string, now: number): void {
    this.bubble?.box.destroy({ children: true });
    const words = new Text({
      text,
      style: {
        fontFamily: "system-ui, sans-serif",
        fontSize: 28,
        fill: 0x26333b,
        wordWrap: true,
        breakWords: true,
        wordWrapWidth: 420,
        align: "center",
      },
    });
    words.anchor.set(0.5, 1);
    words.scale.set(0.5);
    words.position.set(0, -26);
    const [w, h] = [words.width + 22, words.height + 14];
    const back = new Graphics()
      .roundRect(-w / 2, -19 - h, w, h, 10)
      .moveTo(-6, -20)
      .lineTo(6, -20)
      .lineTo(0, -12)
      .fill({ color: 0xffffff, alpha: 0.94 });
    const box = new Container();
    box.addChild(back, words);
    this.label.addChild(box);
    this.bubble = { box, until: now + BUBBLE_MS };
  }

  /** Draws the next frame: `time` is the island time to show, `elapsed` how much of it has passed. */
  step(seen: Seen, time: number, elapsed: number, now: number, still: boolean): void {
    const target = seen.trajectory.smoothAt(time);
    if (!this.placed || distance(this, target) > JUMP) {
      this.x = target.x;
      this.y = target.y;
      this.placed = true;
    } else {
      const before = seen.trajectory.smoothAt(time - elapsed);
      const along = { x: target.x - before.x, y: target.y - before.y };
      const off = { x: target.x - this.x - along.x, y: target.y - this.y - along.y };
      const wanted = Math.hypot(off.x, off.y);
      const share = wanted === 0 ? 0 : Math.min(wanted * Math.min(1, elapsed / 120), MOST_CORRECTION) / wanted;
      const step = { x: along.x + off.x * share, y: along.y + off.y * share };
      this.x += step.x;
      this.y += step.y;
      const error = Math.abs(Math.hypot(step.x, step.y) - Math.hypot(along.x, along.y)) / 64;
      this.stepError = Math.max(this.stepError, error);
      if (!still) this.walk(step, elapsed);
    }
    this.gesture(seen.stance, still ? 0 : now);
    if (this.bubble && this.bubble.until < now) {
      this.bubble.box.destroy({ children: true });
      this.bubble = undefined;
    } else if (this.bubble && !still) {
      this.bubble.box.alpha = Math.min(1, (this.bubble.until - now) / 600);
    }
  }

  private walk(step: Point, elapsed: number): void {
    const speed = (Math.hypot(step.x, step.y) / Math.max(elapsed, 1)) * 1000;
    if (speed > 12) {
      this.phase += elapsed * 0.011;
      if (Math.abs(step.x) > 0.05) this.facing = step.x > 0 ? 1 : -1;
      this.figure.y = -Math.abs(Math.sin(this.phase)) * 7;
      this.figure.rotation = Math.sin(this.phase) * 0.05;
      this.arm.rotation = Math.sin(this.phase) * 0.5;
    } else {
      this.figure.y *= 0.8;
      this.figure.rotation *= 0.8;
      this.arm.rotation *= 0.8;
    }
    this.figure.scale.x = this.facing;
  }

  private gesture(stance: number, now: number): void {
    if (stance === 1) this.arm.rotation = Math.PI - 0.5 + Math.sin(now * 0.014) * 0.5;
    if (stance === 2) this.figure.rotation = 0.35 + Math.sin(now * 0.02) * 0.1;
  }

  destroy(): void {
    this.body.destroy({ children: true });
    this.label.destroy({ children: true });
  }
}

function distance(a: Point, b: Point): number {
  return Math.hypot(a.x - b.x, a.y - b.y);
}
