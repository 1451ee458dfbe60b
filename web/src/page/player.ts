import { Refused } from "../sdk/events";
import type { Session } from "../sdk/session";
import { UNITS_PER_METER, type Point } from "../sdk/trajectory";
import type { Deeds } from "./controls";
import { reachable } from "./directions";
import type { GameContent } from "./game";
import type { PlacedNatural } from "./land";
import type { Scene } from "./scene";
import { MOVE_SENTENCES } from "./sentences";
import type { Stage } from "./stage";
import { Targets, type Target } from "./targets";

/** How near one goes to gather, in units. */
const NEAR_UNITS = 110;
/** How far ahead of a held key one walks, in units: more than is walked until the way is said anew. */
const AHEAD_UNITS = 6 * UNITS_PER_METER;
/** For how long a gesture between this player and somebody is taken as the answer to the player's own, in ms. */
const OWN_WAVE_MS = 3000;

/** What the player does, by taps and keys, and what comes of it. */
export class Player implements Deeds {
  private readonly targets: Targets;
  /** Whom this player has waved at, and until when. */
  private readonly wavedUntil = new Map<string, number>();
  private goal?: { natural: PlacedNatural; at: number };

  constructor(
    private readonly session: Session,
    private readonly scene: Scene,
    private readonly game: GameContent,
    private readonly stage: Stage,
  ) {
    this.targets = new Targets(session, game);
  }

  /** Marks what is chosen, and gathers when the player has arrived. */
  frame(now: number): void {
    this.scene.target = this.targets.current(this.scene)?.at;
    if (!this.goal || now < this.goal.at) return;
    const { natural } = this.goal;
    this.goal = undefined;
    void this.gather(natural.cx, natural.cy, natural.slot);
  }

  cancelGoal(): void {
    this.goal = undefined;
  }

  /** Two people were part of a gesture. What this player has done is not told again. */
  gestured(one: string, other: string, gesture: number): void {
    const own = this.session.avatar;
    if ((one === own) === (other === own)) return;
    const somebody = one === own ? other : one;
    if (performance.now() < (this.wavedUntil.get(somebody) ?? 0)) return;
    const name = this.session.view.seen().get(somebody)?.name ?? "Somebody";
    const deed = this.game.gestures?.[gesture] === "push" ? "pushes you" : "waves at you";
    this.stage.hud.toast(`${name} ${deed}.`);
  }

  /** The picture was tapped. */
  tapped(x: number, y: number): void {
    const { scene } = this;
    if (!this.session.isPlaying) return;
    document.getElementById("scene")!.focus();
    const point = scene.toWorld(x, y);
    const somebody = scene.figureAt(point);
    const natural = scene.naturalAt(point);
    if (somebody) {
      this.waveAt(somebody.id, somebody.name);
    } else if (natural) {
      this.walkTo(natural);
    } else {
      this.goal = undefined;
      scene.mark(point);
      this.walkThere(point);
    }
  }

  private waveAt(id: string, name: string): void {
    this.wavedUntil.set(id, performance.now() + OWN_WAVE_MS);
    this.session.actLive({ wave: id }).then(
      () => this.stage.hud.toast(`You wave at ${name}.`),
      (error: unknown) => this.refused(error),
    );
  }

  /** Goes near something, to gather from it on arrival. */
  private walkTo(natural: PlacedNatural): void {
    const here = this.here;
    const { x, y } = natural.position;
    const distance = Math.hypot(x - here.x, y - here.y);
    if (distance > NEAR_UNITS) {
      const share = 1 - NEAR_UNITS / distance;
      const there = { x: here.x + (x - here.x) * share, y: here.y + (y - here.y) * share };
      this.scene.mark(natural.position);
      if (!this.walkThere(there)) return;
    }
    const wait = Math.max(0, this.session.path.endTime - this.session.islandNow());
    this.goal = { natural, at: performance.now() + (distance > NEAR_UNITS ? wait + 150 : 0) };
  }

  walkThere(point: Point): boolean {
    return this.session.move(this.speed, [point]);
  }

  walk(way: Point): void {
    const { scene, game } = this;
    this.goal = undefined;
    const isWalkable = ({ x, y }: Point) => {
      const ground = scene.land.groundAt(Math.floor(x / 128), Math.floor(y / 128));
      return game.ground[ground]?.walkable ?? false;
    };
    const there = reachable(this.here, way, AHEAD_UNITS, isWalkable);
    if (there) this.walkThere(there);
    else if (this.session.path.endTime <= this.session.islandNow()) this.stage.hud.toast(MOVE_SENTENCES.blocked!);
  }

  stop(): void {
    this.session.move(this.speed, []);
  }

  choose(step: 1 | -1): void {
    const target = this.targets.step(this.scene, step);
    this.stage.hud.toast(target ? this.targets.describe(target, this.scene) : "Nobody and nothing is near.");
  }

  act(): void {
    const target = this.targets.current(this.scene);
    if (target) this.deal(target);
    else this.stage.hud.toast("Choose something with T first.");
  }

  gatherNearest(): void {
    const target = this.targets.nearest(this.scene, "natural");
    if (target) this.deal(target);
    else this.stage.hud.toast("There is nothing to gather near.");
  }

  waveNearest(): void {
    const target = this.targets.nearest(this.scene, "person");
    if (target) this.deal(target);
    else this.stage.hud.toast("Nobody is near.");
  }

  private deal(target: Target): void {
    if (target.kind === "person") this.waveAt(target.id, target.name);
    else this.walkTo(target.natural);
  }

  look(): void {
    this.stage.hud.toast(this.targets.overview(this.scene));
  }

  zoom(factor: number): void {
    this.scene.zoomBy(factor);
  }

  cancel(): void {
    this.targets.clear();
    this.goal = undefined;
  }

  gather(x: number, y: number, slot: number): Promise<unknown> {
    return this.do({ gather: { x, y, slot } });
  }

  private get here(): Point {
    return this.session.path.positionAt(this.session.islandNow());
  }

  private get speed(): number {
    return this.game.entities[0]?.speed_units_per_s ?? 256;
  }

  /** Does something that lasts, and shows what came of it. */
  async do(payload: unknown): Promise<unknown> {
    try {
      const effects = (await this.session.act(payload)) as { item: string; count: number; held: Record<string, number> };
      this.stage.hud.inventory(effects.held, this.game);
      this.stage.hud.toast(`${effects.count > 0 ? "+" : "−"}${Math.abs(effects.count)} ${effects.item}`);
      return effects;
    } catch (error) {
      this.refused(error);
      return undefined;
    }
  }

  private refused(error: unknown): void {
    if (error instanceof Refused) this.stage.hud.toast(error.message);
    else console.error(error);
  }
}
