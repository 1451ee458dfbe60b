import { Content, Manifest } from "../sdk/content";
import type { Loss } from "../sdk/losses";
import { Doors } from "../sdk/nodes";
import { Refused } from "../sdk/events";
import { Session } from "../sdk/session";
import type { Change } from "../sdk/view";
import type { Said, Words } from "./chat";
import type { GameContent } from "./game";
import type { Picture } from "./picture";
import type { Scene } from "./scene";
import { MOVE_SENTENCES, told, type Way } from "./sentences";
import { tokenOf } from "./storage";
import { Player } from "./player";
import { NoPicture, type Stage } from "./stage";

const STATUS_EVERY_MS = 1000;

const LABELS: Record<Way, string> = {
  name: "Another name",
  again: "Try again",
  "take over": "Play here",
  reload: "Load again",
};

/** A notice of a grant: what was given, and the player's state with it. */
interface Granted {
  granted?: { items?: Record<string, number>; muted_seconds?: number };
  state?: { held?: Record<string, number> };
}

/** One name in the world: a session, and what its player is shown and told of it. */
export class Play {
  readonly session: Session;
  readonly heard: { channel: string; name: string; text: string }[] = [];
  scene?: Scene;
  game?: GameContent;
  /** What the player does; nobody does anything before there is something to be seen. */
  player?: Player;
  /** The player wants another name, or has to choose one because of a trouble. */
  onEnd: (trouble?: string) => void = () => {};
  private readonly content = new Content("");
  private picture?: Picture;
  /** The land that is drawn. */
  private drawn = "";
  private manifest?: Manifest;
  /** Counts welcomes: what an earlier one has begun to load is not shown. */
  private welcomes = 0;
  private statusAt = 0;
  private bytesBefore = 0;
  private updatesBefore = 0;

  constructor(
    readonly name: string,
    private readonly stage: Stage,
    node: number | undefined,
  ) {
    this.session = new Session(new Doors(new URL("nodes", document.baseURI).href, node), name, tokenOf(name), {
      connecting: () => this.progress(),
      welcomed: () => void this.welcomed(),
      changed: (changes) => this.changed(changes),
      moveRefused: (code) => {
        this.player?.cancelGoal();
        const sentence = MOVE_SENTENCES[code];
        if (sentence) stage.hud.toast(sentence);
      },
      noticed: (notice) => this.noticed(notice as Granted),
      line: (line) => {
        this.heard.push(line);
        stage.chat.line(line);
        if (line.avatar === this.session.avatar) return;
        if (line.channel === "whisper") stage.announcer.tell(`${line.name} whispers: ${line.text}`);
        else stage.announcer.overhear(`${line.name} to everybody: ${line.text}`);
      },
      unsettled: (sentence) => stage.hud.toast(sentence),
      lost: (loss, retryInMs) => this.lost(loss, retryInMs),
    });
    stage.chat.onSay = (words) => this.say(words);
    stage.hud.onEat = (item) => void this.player?.do({ eat: { item } });
    stage.hud.onFetchAgain = () => this.scene?.land.fetchAgain();
    this.progress();
    this.session.connect();
  }

  /** The session is over for this name. */
  end(): void {
    this.welcomes++;
    this.session.leave();
    this.disposeScene();
    if (this.picture) this.picture.onFrame = this.picture.onState = () => {};
    this.stage.notice.clear();
    this.stage.hud.hide();
    this.stage.loading.hide();
  }

  private lost(loss: Loss, retryInMs: number): void {
    this.player?.cancelGoal();
    if (loss.code === "left") return;
    const { sentence, ways } = told(loss, this.name);
    this.progress();
    this.showStatus(performance.now());
    if (ways.every((way) => way === "name")) return this.onEnd(sentence);
    const deeds: Record<Way, () => void> = {
      name: () => this.onEnd(),
      again: () => this.again(),
      "take over": () => this.again(),
      reload: () => location.reload(),
    };
    if (loss.final) {
      this.stage.loading.hide();
      this.stage.notice.show(sentence, ways.map((way) => ({ label: LABELS[way], choose: deeds[way] })));
    } else {
      this.stage.notice.show(sentence, [{ label: "Try now", choose: () => this.session.hurry() }], retryInMs);
    }
  }

  private again(): void {
    this.stage.notice.wait("Connecting…");
    this.session.again();
  }

  /** Shows how far it has come, until there is something to be seen. */
  private progress(): void {
    if (this.scene || !this.stage.isWanted(this)) return;
    const steps = [
      { sentence: "Connecting…", done: this.session.isPlaying },
      { sentence: "Loading the picture…", done: this.picture !== undefined },
      { sentence: "Fetching the land…", done: false },
    ];
    const next = steps.find(({ done }) => !done)!;
    this.stage.loading.show(next.sentence, steps.filter(({ done }) => done).length, steps.length);
  }

  private async welcomed(): Promise<void> {
    const welcome = ++this.welcomes;
    const { session, stage } = this;
    stage.notice.clear();
    stage.hud.show();
    this.progress();
    try {
      const [game, manifest, picture] = await Promise.all([
        this.content.fetch(session.content),
        this.content.fetch(session.manifest),
        stage.picture(),
      ]);
      if (welcome !== this.welcomes) return;
      this.game = JSON.parse(new TextDecoder().decode(game)) as GameContent;
      this.manifest = Manifest.decode(manifest);
      this.picture = picture;
      this.progress();
      const state = session.state as { held?: Record<string, number> };
      stage.hud.inventory(state.held ?? {}, this.game);
      await this.draw(picture);
    } catch (error) {
      console.error(error);
      if (welcome !== this.welcomes) return;
      stage.loading.hide();
      const sentence =
        error instanceof NoPicture ? "This browser cannot draw the island: it needs WebGL." : "The land could not be fetched.";
      stage.notice.show(sentence, [
        { label: LABELS.again, choose: () => void this.welcomed() },
        { label: LABELS.reload, choose: () => location.reload() },
      ]);
    }
  }

  /** Draws the land of this session, anew if it is another one than before. */
  private async draw(picture: Picture): Promise<void> {
    const { session, game, manifest, stage } = this;
    if (!game || !manifest) return;
    picture.onState = () => this.pictureChanged(picture);
    if (picture.state !== "there") return this.pictureChanged(picture);
    const { Land, Scene } = await stage.drawing();
    const land = `${session.island}/${session.manifest}/${session.avatar}`;
    if (this.scene && this.drawn === land) return;
    this.disposeScene();
    this.drawn = land;
    this.scene = new Scene(picture, session, new Land(this.content, manifest), game);
    const player = new Player(session, this.scene, game, stage);
    this.player = player;
    picture.onFrame = (elapsed) => this.frame(elapsed);
    picture.onTapped = (x, y) => player.tapped(x, y);
    picture.onWheel = (delta) => player.zoom(Math.exp(-delta * 0.001));
  }

  /** The picture was taken away, or is there again. */
  private pictureChanged(picture: Picture): void {
    const { notice } = this.stage;
    if (picture.state === "there") {
      if (this.session.isPlaying) notice.clear();
      return void this.draw(picture);
    }
    this.disposeScene();
    if (picture.state === "lost") notice.wait("The picture was lost. It is drawn anew…");
    else notice.show("The picture was lost.", [{ label: LABELS.again, choose: () => picture.again() }]);
  }

  private disposeScene(): void {
    try {
      this.scene?.dispose();
    } catch (error) {
      console.warn("a picture could not be put away", error);
    }
    this.scene = undefined;
    this.player = undefined;
    this.drawn = "";
  }

  /** Something was granted. */
  private noticed({ granted, state }: Granted): void {
    if (this.game) this.stage.hud.inventory(state?.held ?? this.stage.hud.held, this.game);
    const given = Object.entries(granted?.items ?? {}).map(([item, count]) => `${count} ${item}`);
    if (given.length > 0) this.stage.hud.toast(`You were given ${given.join(" and ")}.`);
    if (granted?.muted_seconds) this.stage.chat.note(`You may not speak for ${granted.muted_seconds} seconds.`);
  }

  private changed(changes: Change[]): void {
    const seen = this.session.view.seen();
    for (const change of changes) {
      if (change.kind === "object") continue;
      const name = seen.get(change.id)?.name ?? "";
      if (change.kind === "said") {
        this.heard.push({ channel: "near", name, text: change.text });
        this.stage.chat.near(name, change.text);
        this.scene?.figures.get(change.id)?.say(change.text, performance.now());
        if (change.id !== this.session.avatar) this.stage.announcer.overhear(`${name}: ${change.text}`);
      } else {
        this.player?.gestured(change.id, change.target, change.gesture);
      }
    }
  }

  /** Says what the player has typed. */
  async say({ channel, name, text }: Words): Promise<Said> {
    try {
      if (channel === "near") await this.session.say(text);
      if (channel === "island") await this.session.sayIsland(text);
      if (channel === "whisper") await this.session.whisper(name, text);
      return undefined;
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      return { code: error.code, sentence: error.message };
    }
  }

  private frame(elapsed: number): void {
    const { scene, stage } = this;
    if (!scene) return;
    const now = performance.now();
    this.player?.frame(now);
    scene.draw(elapsed, stage.settings.isStill);
    stage.hud.trouble(scene.land.missing > 0);
    if (scene.isPainted || scene.land.missing > 0) stage.loading.hide();
    if (now - this.statusAt > STATUS_EVERY_MS) this.showStatus(now);
  }

  private showStatus(now: number): void {
    const seconds = (now - this.statusAt) / 1000;
    const { view, bytes, roundTripMs, node, isPlaying } = this.session;
    const updates = Math.max(0, view.updates - this.updatesBefore);
    const line = Number.isFinite(roundTripMs) ? `${Math.round(roundTripMs)} ms` : "…";
    this.stage.hud.status(
      isPlaying
        ? [
            "Pelago",
            `node ${node} · ${line}`,
            `${view.seen().size} in sight`,
            `${Math.round(updates / seconds)} updates/s · ${((bytes - this.bytesBefore) / seconds / 1000).toFixed(1)} kB/s`,
            `${this.picture?.framesPerSecond ?? 0} frames/s`,
          ]
        : ["Pelago", this.session.isOver ? "not connected" : "reconnecting…"],
    );
    this.statusAt = now;
    this.bytesBefore = bytes;
    this.updatesBefore = view.updates;
  }
}
