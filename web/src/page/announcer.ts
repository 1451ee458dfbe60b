/** What is announced to those who do not see the picture. */
export type Manner = "everything" | "to me" | "nothing";

/** The least time between two announcements, in ms: speech needs time to be read out. */
export const GAP_MS = 1500;
/** Lines of others that are announced together; of more, only their number. */
export const MOST_LINES = 3;

/** Which words are announced, and when: few at a time, so that a crowd does not talk over the player. A machine. */
export class Announcements {
  manner: Manner = "everything";
  private own: string[] = [];
  private lines: string[] = [];
  private more = 0;
  private free = -Infinity;

  /** Something that the player has done or that is for nobody else. The newest of a kind replaces the others. */
  tell(sentence: string): void {
    if (this.manner !== "nothing" && !this.own.includes(sentence)) this.own.push(sentence);
    if (this.own.length > MOST_LINES) this.own.shift();
  }

  /** Somebody has spoken to all who hear. */
  overhear(line: string): void {
    if (this.manner !== "everything") return;
    if (this.lines.length < MOST_LINES) this.lines.push(line);
    else this.more++;
  }

  /** What to announce at `now`, if anything. */
  next(now: number): string | undefined {
    if (now < this.free || (this.own.length === 0 && this.lines.length === 0)) return undefined;
    const more = this.more > 0 ? [`And ${this.more} more.`] : [];
    const announced = [...this.own, ...this.lines, ...more].join(" ");
    [this.own, this.lines, this.more] = [[], [], 0];
    this.free = now + GAP_MS;
    return announced;
  }
}

/** Writes announcements where screen readers hear of them. */
export class Announcer extends Announcements {
  private readonly region = document.getElementById("announcements")!;

  constructor() {
    super();
    setInterval(() => {
      const announced = this.next(performance.now());
      if (announced !== undefined) this.region.textContent = announced;
    }, 250);
  }
}
