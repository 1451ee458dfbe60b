import type { Manner } from "./announcer";
import { keep, kept } from "./storage";

/** What a player has chosen, and the keys that there are: a dialog. */
export class Settings {
  onManner: (manner: Manner) => void = () => {};
  onLeave: () => void = () => {};
  private readonly dialog = document.getElementById("settings") as HTMLDialogElement;
  private readonly manner = document.getElementById("manner") as HTMLSelectElement;
  private readonly still = document.getElementById("still") as HTMLInputElement;
  private readonly system = matchMedia("(prefers-reduced-motion: reduce)");

  constructor() {
    this.manner.value = kept("manner") ?? "everything";
    if (this.manner.selectedIndex < 0) this.manner.value = "everything";
    this.still.checked = (kept("still") ?? String(this.system.matches)) === "true";
    this.manner.addEventListener("change", () => {
      keep("manner", this.manner.value);
      this.onManner(this.manner.value as Manner);
    });
    this.still.addEventListener("change", () => {
      keep("still", String(this.still.checked));
      this.apply();
    });
    this.system.addEventListener("change", () => {
      if (kept("still") === undefined) this.still.checked = this.system.matches;
      this.apply();
    });
    document.getElementById("open-settings")!.addEventListener("click", () => this.open());
    document.getElementById("leave")!.addEventListener("click", () => {
      this.dialog.close();
      this.onLeave();
    });
    this.apply();
  }

  get chosenManner(): Manner {
    return this.manner.value as Manner;
  }

  /** Whether what need not move stands still. */
  get isStill(): boolean {
    return this.still.checked;
  }

  open(): void {
    if (this.dialog.open) return;
    this.dialog.showModal();
    document.getElementById("close-settings")!.focus();
  }

  private apply(): void {
    document.documentElement.classList.toggle("still", this.still.checked);
  }
}
