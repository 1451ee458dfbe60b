import type { GameContent } from "./game";

const ICONS: Record<string, string> = { wood: "🪵", berry: "🫐", stone: "🪨" };

function element(id: string): HTMLElement {
  return document.getElementById(id)!;
}

/** Panels over the picture. */
export class Hud {
  held: Record<string, number> = {};
  onEat: (item: string) => void = () => {};
  /** The last toast. */
  toasted = "";
  private toastTimer?: ReturnType<typeof setTimeout>;

  constructor() {
    element("hud").hidden = false;
    setTimeout(() => (element("hint").style.opacity = "0"), 15_000);
  }

  status(lines: string[]): void {
    const panel = element("status");
    panel.textContent = "";
    const title = document.createElement("b");
    title.textContent = lines[0] ?? "";
    panel.append(title, "\n" + lines.slice(1).join("\n"));
  }

  inventory(held: Record<string, number>, game: GameContent): void {
    const before = this.held;
    this.held = held;
    const panel = element("inventory");
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
        eat.textContent = "eat";
        eat.onclick = () => this.onEat(item);
        panel.append(eat);
      }
    }
  }

  toast(text: string): void {
    const toast = element("toast");
    toast.textContent = text;
    this.toasted = text;
    toast.classList.add("shown");
    clearTimeout(this.toastTimer);
    this.toastTimer = setTimeout(() => toast.classList.remove("shown"), 2200);
  }

  banner(text: string | undefined): void {
    const banner = element("banner");
    banner.hidden = text === undefined;
    banner.textContent = text ?? "";
  }
}

/** Asks for a name, unless the address or an earlier visit gave one. */
export function askName(given: string | null): Promise<string> {
  if (given) return Promise.resolve(given);
  const form = element("welcome");
  const input = element("name") as HTMLInputElement;
  input.value = localStorage.getItem("pelago.name") ?? "";
  form.hidden = false;
  input.focus();
  return new Promise((resolve) => {
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const name = input.value.trim();
      if (!name) return;
      localStorage.setItem("pelago.name", name);
      form.hidden = true;
      resolve(name);
    });
  });
}
