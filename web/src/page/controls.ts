import type { Point } from "../sdk/trajectory";
import { heading, isHeading } from "./directions";

/** How often a way that a held key goes is said anew, in ms: nodes take ten moves in a second. */
const WALK_EVERY_MS = 350;

/** What the keys do. */
export interface Deeds {
  walk(way: Point): void;
  stop(): void;
  choose(step: 1 | -1): void;
  act(): void;
  gatherNearest(): void;
  waveNearest(): void;
  look(): void;
  zoom(factor: number): void;
  cancel(): void;
}

/** Plays by keys alone, while the picture has the focus or nothing has. */
export class Controls {
  private readonly held = new Set<string>();
  private walking?: ReturnType<typeof setInterval>;

  constructor(
    /** Who plays now, if anybody does. */
    private readonly player: () => Deeds | undefined,
    private readonly speak: () => void,
    private readonly settings: () => void,
  ) {
    window.addEventListener("keydown", (event) => this.down(event));
    window.addEventListener("keyup", (event) => this.up(event.code));
    window.addEventListener("blur", () => this.release());
    document.addEventListener("focusin", (event) => {
      if (!isOfPicture(event.target)) this.release();
    });
    for (const [id, factor] of [["closer", 1.3], ["farther", 1 / 1.3]] as const) {
      document.getElementById(id)!.addEventListener("click", () => player()?.zoom(factor));
    }
  }

  private down(event: KeyboardEvent): void {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    if (document.querySelector("dialog[open]") || !isOfPicture(document.activeElement)) return;
    if (document.getElementById("hud")!.hidden) return;
    const { code } = event;
    if (isHeading(code)) {
      event.preventDefault();
      if (!this.held.has(code)) this.turn(() => this.held.add(code));
      return;
    }
    const deed = this.deedOf(event);
    if (!deed || (event.repeat && !["+", "-", "t", "T"].includes(event.key))) return;
    event.preventDefault();
    deed();
  }

  private deedOf(event: KeyboardEvent): (() => void) | undefined {
    const deeds = this.player();
    switch (event.key) {
      case "Enter":
        return this.speak;
      case "Escape":
        return () => deeds?.cancel();
      case " ":
        return () => deeds?.act();
      case "+":
      case "=":
        return () => deeds?.zoom(1.15);
      case "-":
        return () => deeds?.zoom(1 / 1.15);
      case "?":
        return this.settings;
    }
    switch (event.key.toLowerCase()) {
      case "t":
        return () => deeds?.choose(event.shiftKey ? -1 : 1);
      case "e":
        return () => deeds?.act();
      case "g":
        return () => deeds?.gatherNearest();
      case "v":
        return () => deeds?.waveNearest();
      case "l":
        return () => deeds?.look();
      case "h":
        return this.settings;
    }
    return undefined;
  }

  private up(code: string): void {
    if (this.held.has(code)) this.turn(() => this.held.delete(code));
  }

  private release(): void {
    if (this.held.size > 0) this.turn(() => this.held.clear());
  }

  private turn(change: () => void): void {
    change();
    clearInterval(this.walking);
    const way = heading(this.held);
    if (!way) return this.player()?.stop();
    this.player()?.walk(way);
    this.walking = setInterval(() => this.player()?.walk(way), WALK_EVERY_MS);
  }
}

/** Whether keys are meant for the picture. */
function isOfPicture(element: EventTarget | null): boolean {
  return element === null || element === document.body || (element as Element).id === "scene";
}
