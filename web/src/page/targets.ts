import type { Session } from "../sdk/session";
import type { Point } from "../sdk/trajectory";
import { bearing } from "./directions";
import type { GameContent } from "./game";
import type { PlacedNatural } from "./land";
import type { Scene } from "./scene";

/** How far one looks for things to choose, in units: 30 m. */
const SIGHT = 30 * 64;

/** What keys can choose. */
export type Target =
  | { kind: "person"; key: string; at: Point; id: string; name: string }
  | { kind: "natural"; key: string; at: Point; natural: PlacedNatural };

/** What is near and can be chosen, and what is chosen. */
export class Targets {
  private chosen?: string;

  constructor(
    private readonly session: Session,
    private readonly game: GameContent,
  ) {}

  /** People and things in sight, the nearest first. */
  around(scene: Scene): Target[] {
    const here = this.here;
    const far = ({ at }: Target) => Math.hypot(at.x - here.x, at.y - here.y);
    const people = [...scene.figures.values()]
      .filter((figure) => !figure.self)
      .map(({ id, name, x, y }): Target => ({ kind: "person", key: id, at: { x, y }, id, name }));
    const things = [...scene.standing.values()].flat().map(({ natural }): Target => {
      const { cx, cy, slot, position } = natural;
      return { kind: "natural", key: `${cx},${cy},${slot}`, at: position, natural };
    });
    return [...people, ...things].filter((target) => far(target) <= SIGHT).sort((a, b) => far(a) - far(b));
  }

  /** The nearest of a kind; of things, the nearest that has something. */
  nearest(scene: Scene, kind: Target["kind"]): Target | undefined {
    return this.around(scene).find(
      (target) => target.kind === kind && (target.kind === "person" || scene.stockOf(target.natural) >= 1),
    );
  }

  /** What is chosen, if it is still in sight. */
  current(scene: Scene): Target | undefined {
    return this.chosen === undefined ? undefined : this.around(scene).find(({ key }) => key === this.chosen);
  }

  /** Chooses the next one that is farther away, or nearer. */
  step(scene: Scene, step: 1 | -1): Target | undefined {
    const around = this.around(scene);
    const at = around.findIndex(({ key }) => key === this.chosen);
    const next = at < 0 ? (step > 0 ? 0 : around.length - 1) : (at + step + around.length) % around.length;
    this.chosen = around[next]?.key;
    return around[next];
  }

  clear(): void {
    this.chosen = undefined;
  }

  /** What it is and where, in words. */
  describe(target: Target, scene: Scene): string {
    const where = bearing(this.here, target.at);
    if (target.kind === "person") return `${target.name || "Somebody"}, ${where}.`;
    const kind = this.game.naturals[target.natural.kind];
    const stock = Math.floor(scene.stockOf(target.natural));
    const holds = stock > 0 ? `${stock} × ${kind?.item ?? "something"}` : "empty";
    const name = kind?.name ?? "something";
    return `${name[0]!.toUpperCase()}${name.slice(1)}, ${where}, ${holds}.`;
  }

  /** What is around, in words. */
  overview(scene: Scene): string {
    const around = this.around(scene);
    const people = around.filter(({ kind }) => kind === "person").slice(0, 5);
    const things = around.filter(({ kind }) => kind === "natural").slice(0, 3);
    const { x, y } = this.here;
    const where = `You are at ${Math.round(x / 64)} east, ${Math.round(y / 64)} south.`;
    const told = [...people, ...things].map((target) => this.describe(target, scene));
    return [where, ...(told.length > 0 ? told : ["Nobody and nothing is near."])].join(" ");
  }

  private get here(): Point {
    return this.session.path.positionAt(this.session.islandNow());
  }
}
