import type { GameContent } from "./game";

const ICONS: Record<string, string> = { wood: "🪵", berry: "🫐", stone: "🪨" };
const HINT_MS = 15_000;

function element(id: string): HTMLElement {
  return document.getElementById(id)!;
}

/** Panels over the picture. */
export class Hud {
  held: Record<string, number> = {};
  onEat: (item: string) => void = () => {};
  onFetchAgain: () => void = () => {};
  /** Something was told for a moment. */
  onToast: (text: string) => void = () => {};
  /** The last toast. */
  toasted = "";
  private toastTimer?: ReturnType<typeof setTimeout>;
  private shownStatus = "";

  constructor() {
    const touches = matchMedia("(pointer: coarse)").matches;
    const tap = touches ? "Tap" : "Click";
    element("hint").textContent =
      `${tap} to walk · ${tap.toLowerCase()} a bush or tree to gather · ${tap.toLowerCase()} somebody to wave` +
      (touches ? "" : " · Enter to speak · H for keys");
    element("fetch-again").addEventListener("click", () => this.onFetchAgain());
  }

  show(): void {
    if (!element("hud").hidden) return;
    element("hud").hidden = false;
    element("scene").tabIndex = 0;
    setTimeout(() => element("hint").classList.add("read"), HINT_MS);
  }

  hide(): void {
    element("hud").hidden = true;
    element("scene").tabIndex = -1;
  }

  status(lines: string[]): void {
    const text = lines.join("\n");
    if (text === this.shownStatus) return;
    this.shownStatus = text;
    const panel = element("status");
    const title = document.createElement("b");
    title.textContent = lines[0] ?? "";
    panel.replaceChildren(title, "\n" + lines.slice(1).join("\n"));
  }

  /** Some of the land could not be fetched, or all of it is there. */
  trouble(isMissing: boolean): void {
    element("trouble").hidden = !isMissing;
  }

  inventory(held: Record<string, number>, game: GameContent): void {
    const before = this.held;
    this.held = held;
    const panel = element("inventory");
    const hadFocus = panel.contains(document.activeElement);
    panel.textContent = "";
    const items = game.naturals.map((natural) => natural.item).filter((item) => (held[item] ?? 0) > 0);
    if (items.length === 0) panel.textContent = "Empty hands";
    for (const item of items) {
      const entry = document.createElement("span");
      entry.className = held[item] === before[item] ? "item" : "item new";
      entry.textContent = `${ICONS[item] ?? ""} ${held[item]} ${item}`;
      panel.append(entry);
      if (item === "berry") {
        const eat = document.createElement("button");
        eat.type = "button";
        eat.textContent = "eat";
        eat.setAttribute("aria-label", `eat a ${item}`);
        eat.onclick = () => this.onEat(item);
        panel.append(eat);
        if (hadFocus) eat.focus();
      }
    }
    if (hadFocus && !panel.contains(document.activeElement)) element("scene").focus();
  }

  toast(text: string): void {
    const toast = element("toast");
    toast.textContent = text;
    this.toasted = text;
    this.onToast(text);
    toast.classList.add("shown");
    clearTimeout(this.toastTimer);
    this.toastTimer = setTimeout(() => toast.classList.remove("shown"), 2200);
  }
}

/** What is being loaded, and how far it has come. */
export class Loading {
  /** Shows how many of so many steps are done, and which one is under way. */
  show(sentence: string, done: number, of: number): void {
    element("loading").hidden = false;
    if (element("loading-sentence").textContent !== sentence) element("loading-sentence").textContent = sentence;
    const progress = element("progress") as HTMLProgressElement;
    progress.max = of;
    progress.value = done;
  }

  hide(): void {
    element("loading").hidden = true;
  }
}
