import { Application } from "pixi.js";
import { Content, Manifest } from "../sdk/content";
import { Refused, Session } from "../sdk/session";
import type { Point } from "../sdk/trajectory";
import type { Change } from "../sdk/view";
import type { GameContent } from "./game";
import { Chat, type Words } from "./chat";
import { askName, Hud } from "./hud";
import { Land, type PlacedNatural } from "./land";
import { Scene } from "./scene";
import "./style.css";
import { tokenOf } from "./tokens";

const MOVE_SENTENCES: Record<string, string> = {
  blocked: "The way is blocked.",
  too_long: "That is too far.",
};
/** How near one goes to gather, in units. */
const NEAR_UNITS = 110;

interface Doors {
  nodes: { id: number; ws: string }[];
}

/** Names of this machine, or of no machine in particular: the page's own host is meant. */
const HERE = ["127.0.0.1", "[::1]", "0.0.0.0", "[::]"];

function doorOf(ws: string): string {
  const url = new URL(ws);
  if (HERE.includes(url.hostname)) url.hostname = location.hostname;
  return url.href;
}

async function start(): Promise<void> {
  const parameters = new URLSearchParams(location.search);
  const app = new Application();
  await app.init({
    resizeTo: window,
    background: 0x265c8a,
    antialias: true,
    autoDensity: true,
    resolution: Math.min(window.devicePixelRatio || 1, 2),
    preference: "webgl",
  });
  document.getElementById("scene")!.append(app.canvas);
  const name = await askName(parameters.get("name"));
  const doors = (await (await fetch("nodes")).json()) as Doors;
  const wanted = parameters.get("node");
  const node =
    doors.nodes.find(({ id }) => String(id) === wanted) ??
    doors.nodes[Math.floor(Math.random() * doors.nodes.length)]!;
  const hud = new Hud();
  const page = new Page(app, hud, doorOf(node.ws), name);
  page.session.connect();
}

/** A notice of a grant: what was given, and the player's state with it. */
interface Granted {
  granted?: { items?: Record<string, number>; muted_seconds?: number };
  state?: { held?: Record<string, number> };
}

/** The client: a session, a picture, and what a player does with them. */
class Page {
  readonly session: Session;
  readonly heard: { channel: string; name: string; text: string }[] = [];
  private readonly chat = new Chat();
  private readonly content = new Content("");
  private scene?: Scene;
  private game?: GameContent;
  private goal?: { natural: PlacedNatural; at: number };
  private lastFrame = performance.now();
  private statusAt = 0;
  private bytesBefore = 0;
  private updatesBefore = 0;

  constructor(
    private readonly app: Application,
    private readonly hud: Hud,
    url: string,
    name: string,
  ) {
    this.session = new Session(url, name, tokenOf(name), {
      welcomed: () => void this.welcomed(),
      changed: (changes) => this.changed(changes),
      moveRefused: (code) => {
        this.goal = undefined;
        const sentence = MOVE_SENTENCES[code];
        if (sentence) this.hud.toast(sentence);
      },
      noticed: (notice) => this.noticed(notice as Granted),
      line: (line) => {
        this.heard.push(line);
        this.chat.line(line);
      },
      unsettled: (sentence) => this.hud.toast(sentence),
      lost: (sentence, retry) => this.hud.banner(retry ? `${sentence} Trying again…` : sentence),
    });
    this.chat.onSay = (words) => void this.say(words);
    hud.onEat = (item) => void this.act({ eat: { item } });
    app.canvas.addEventListener("pointerdown", (event) => this.tapped(event.offsetX, event.offsetY));
    app.ticker.add(() => this.frame());
    exposeForTests(this);
  }

  private async welcomed(): Promise<void> {
    this.hud.banner(undefined);
    try {
      const [game, manifest] = await Promise.all([
        this.content.fetch(this.session.content),
        this.content.fetch(this.session.manifest),
      ]);
      this.game = JSON.parse(new TextDecoder().decode(game)) as GameContent;
      const state = this.session.state as { held?: Record<string, number> };
      this.hud.inventory(state.held ?? {}, this.game);
      if (!this.scene) {
        const land = new Land(this.content, Manifest.decode(manifest));
        this.scene = new Scene(this.app, this.session, land, this.game);
      }
    } catch (error) {
      console.error(error);
      this.hud.banner("The land could not be fetched.");
    }
  }

  /** Something was granted. */
  private noticed({ granted, state }: Granted): void {
    if (this.game) this.hud.inventory(state?.held ?? this.hud.held, this.game);
    const given = Object.entries(granted?.items ?? {}).map(([item, count]) => `${count} ${item}`);
    if (given.length > 0) this.hud.toast(`You were given ${given.join(" and ")}.`);
    if (granted?.muted_seconds) this.chat.note(`You may not speak for ${granted.muted_seconds} seconds.`);
  }

  private changed(changes: Change[]): void {
    for (const change of changes) {
      if (change.kind !== "said") continue;
      const name = this.session.view.seen().get(change.id)?.name ?? "";
      this.heard.push({ channel: "near", name, text: change.text });
      this.chat.near(name, change.text);
      this.scene?.figures.get(change.id)?.say(change.text, performance.now());
    }
  }

  /** Says what the player has typed; a refusal stands in the log. */
  private async say({ channel, name, text }: Words): Promise<string> {
    try {
      if (channel === "near") await this.session.say(text);
      if (channel === "island") await this.session.sayIsland(text);
      if (channel === "whisper") {
        await this.session.whisper(name, text);
        this.chat.whispered(name, text);
      }
      return "";
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      this.chat.note(error.message);
      return error.code;
    }
  }

  private frame(): void {
    const now = performance.now();
    const elapsed = Math.min(now - this.lastFrame, 250);
    this.lastFrame = now;
    this.scene?.draw(elapsed);
    if (this.goal && now >= this.goal.at) {
      const { natural } = this.goal;
      this.goal = undefined;
      void this.gather(natural.cx, natural.cy, natural.slot);
    }
    if (now - this.statusAt > 1000) this.showStatus(now);
  }

  private showStatus(now: number): void {
    const seconds = (now - this.statusAt) / 1000;
    const { view, bytes } = this.session;
    const updates = Math.max(0, view.updates - this.updatesBefore);
    this.hud.status([
      "Pelago",
      `node ${this.session.node} · ${Math.round(this.session.roundTripMs)} ms`,
      `${view.seen().size} in sight`,
      `${Math.round(updates / seconds)} updates/s · ${((bytes - this.bytesBefore) / seconds / 1000).toFixed(1)} kB/s`,
      `${Math.round(this.app.ticker.FPS)} frames/s`,
    ]);
    this.statusAt = now;
    this.bytesBefore = bytes;
    this.updatesBefore = view.updates;
  }

  private tapped(x: number, y: number): void {
    const { scene } = this;
    if (!scene) return;
    (document.activeElement as HTMLElement | null)?.blur();
    const point = scene.toWorld(x, y);
    const somebody = scene.figureAt(point);
    const natural = scene.naturalAt(point);
    if (somebody) {
      this.session.actLive({ wave: somebody.id }).then(
        () => this.hud.toast(`You wave at ${somebody.name}.`),
        (error: unknown) => this.refused(error),
      );
    } else if (natural) {
      this.walkTo(natural);
    } else {
      this.goal = undefined;
      scene.mark(point);
      this.walk(point);
    }
  }

  /** Goes near something, to gather from it on arrival. */
  private walkTo(natural: PlacedNatural): void {
    const here = this.session.path.positionAt(this.session.islandNow());
    const { x, y } = natural.position;
    const distance = Math.hypot(x - here.x, y - here.y);
    if (distance > NEAR_UNITS) {
      const share = 1 - NEAR_UNITS / distance;
      const there = { x: here.x + (x - here.x) * share, y: here.y + (y - here.y) * share };
      this.scene?.mark(natural.position);
      this.walk(there);
    }
    const wait = Math.max(0, this.session.path.endTime - this.session.islandNow());
    this.goal = { natural, at: performance.now() + (distance > NEAR_UNITS ? wait + 150 : 0) };
  }

  walk(point: Point): void {
    this.session.move(this.game?.entities[0]?.speed_units_per_s ?? 256, [point]);
  }

  gather(x: number, y: number, slot: number): Promise<unknown> {
    return this.act({ gather: { x, y, slot } });
  }

  private async act(payload: unknown): Promise<unknown> {
    try {
      const effects = (await this.session.act(payload)) as {
        item: string;
        count: number;
        held: Record<string, number>;
      };
      if (this.game) this.hud.inventory(effects.held, this.game);
      this.hud.toast(`${effects.count > 0 ? "+" : "−"}${Math.abs(effects.count)} ${effects.item}`);
      return effects;
    } catch (error) {
      this.refused(error);
      return undefined;
    }
  }

  private refused(error: unknown): void {
    if (error instanceof Refused) this.hud.toast(error.message);
    else console.error(error);
  }

  /** What tests may see and do. */
  handle() {
    const scene = () => this.scene;
    const metres = (point: Point) => ({ x: point.x / 64, y: point.y / 64 });
    return {
      get ready() {
        return scene() !== undefined && scene()!.figures.size > 0 && scene()!.standing.size > 0;
      },
      entities: () =>
        [...(scene()?.figures.values() ?? [])].map((figure) => ({
          id: figure.id,
          name: figure.name,
          self: figure.self,
          ...metres(figure),
        })),
      /** Where everybody truly is by the trajectories known, without delay. */
      known: () =>
        [...this.session.view.seen().values()].map((seen) => ({
          id: seen.id,
          name: seen.name,
          stance: seen.stance,
          ...metres(seen.trajectory.positionAt(this.session.islandNow())),
        })),
      self: () => ({
        id: this.session.avatar,
        node: this.session.node,
        ...metres(this.session.path.positionAt(this.session.islandNow())),
      }),
      moveTo: (x: number, y: number) => this.walk({ x: x * 64, y: y * 64 }),
      say: (text: string) => this.say({ channel: "near", name: "", text }),
      sayIsland: (text: string) => this.say({ channel: "island", name: "", text }),
      whisper: (name: string, text: string) => this.say({ channel: "whisper", name, text }),
      wave: (id: string) => this.session.actLive({ wave: id }),
      gather: (x: number, y: number, slot: number) => this.gather(x, y, slot),
      naturals: () =>
        [...(scene()?.standing.values() ?? [])].flat().map(({ natural }) => ({
          cx: natural.cx,
          cy: natural.cy,
          slot: natural.slot,
          kind: natural.kind,
          ...metres(natural.position),
          stock: scene()!.stockOf(natural),
        })),
      isWalkable: (x: number, y: number) => {
        const ground = scene()?.land.groundAt(Math.floor(x / 2), Math.floor(y / 2)) ?? 0;
        return this.game?.ground[ground]?.walkable ?? false;
      },
      inventory: () => this.hud.held,
      toast: () => this.hud.toasted,
      heard: () => this.heard,
      url: () => this.session.url,
      stats: () => ({
        maxStepError_m: scene()?.maxStepError ?? 0,
        frames: scene()?.framesDrawn ?? 0,
        gaps: this.session.view.gaps,
      }),
    };
  }
}

function exposeForTests(page: Page): void {
  (window as unknown as { pelago: unknown }).pelago = page.handle();
}

void start();
