/** Something that a player can do about a trouble. */
export interface Choice {
  label: string;
  choose: () => void;
}

/** What is wrong at large, and what can be done about it. */
export class Notice {
  private readonly box = document.getElementById("notice")!;
  private readonly sentence = document.getElementById("notice-sentence")!;
  private readonly when = document.getElementById("notice-when")!;
  private readonly choices = document.getElementById("notice-choices")!;
  private counting?: ReturnType<typeof setInterval>;

  /** Shows a sentence and ways on. What nothing will be done about by itself takes the focus; with `againInMs` it says when. */
  show(sentence: string, choices: Choice[], againInMs?: number): void {
    this.stopCounting();
    const wasHidden = this.box.hidden;
    this.box.hidden = false;
    // The same sentence is not announced again.
    if (this.sentence.textContent !== sentence) this.sentence.textContent = sentence;
    const labels = choices.map(({ label }) => label).join();
    if (this.choices.dataset.labels !== labels || wasHidden) {
      this.choices.replaceChildren(...choices.map(({ label }) => button(label)));
      this.choices.dataset.labels = labels;
    }
    [...this.choices.children].forEach((button, index) => {
      (button as HTMLButtonElement).onclick = () => choices[index]!.choose();
    });
    if (againInMs === undefined) {
      this.when.textContent = "";
      (this.choices.firstElementChild as HTMLElement | null)?.focus();
    } else {
      this.count(performance.now() + againInMs);
    }
  }

  /** Something is being done that the player has asked for. */
  wait(sentence: string): void {
    const hadFocus = this.box.contains(document.activeElement);
    this.show(sentence, []);
    if (hadFocus) document.getElementById("scene")!.focus();
  }

  /** Everything is well, or something is being done about it. */
  clear(): void {
    this.stopCounting();
    if (this.box.hidden) return;
    const hadFocus = this.box.contains(document.activeElement);
    this.box.hidden = true;
    this.sentence.textContent = "";
    if (hadFocus) document.getElementById("scene")!.focus();
  }

  get shown(): string {
    return this.box.hidden ? "" : `${this.sentence.textContent} ${this.when.textContent}`.trim();
  }

  private count(due: number): void {
    const tell = () => {
      const seconds = Math.ceil((due - performance.now()) / 1000);
      this.when.textContent = seconds > 0 ? `Reconnecting in ${seconds} s…` : "Reconnecting…";
    };
    tell();
    this.counting = setInterval(tell, 250);
  }

  private stopCounting(): void {
    clearInterval(this.counting);
  }
}

function button(label: string): HTMLButtonElement {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = label;
  return button;
}
