import type { Line } from "../sdk/lines";

/** Lines that the log shows at once; the oldest makes room. */
const MOST_LINES = 100;

export type Channel = "near" | "island" | "whisper";

/** What a player wants to say. */
export interface Words {
  channel: Channel;
  /** To whom, if it is a whisper. */
  name: string;
  text: string;
}

const HINTS: Record<Channel, string> = {
  near: "Say something…",
  island: "Say something to everybody…",
  whisper: "@name and what you whisper…",
};

/** What somebody typed: `@name text`, or `@"a name" text`, is a whisper whatever is chosen. */
export function wordsOf(chosen: Channel, typed: string): Words | undefined {
  const whisper = /^@(?:"([^"]+)"|(\S+))\s+(.+)$/su.exec(typed);
  if (whisper) return { channel: "whisper", name: whisper[1] ?? whisper[2]!, text: whisper[3]! };
  if (chosen === "whisper" || typed === "") return undefined;
  return { channel: chosen, name: "", text: typed };
}

/** The line in which one types, and the log of what was said. */
export class Chat {
  onSay: (words: Words) => void = () => {};
  private readonly log = document.getElementById("log")!;
  private readonly channel = document.getElementById("channel") as HTMLSelectElement;
  private readonly words = document.getElementById("words") as HTMLInputElement;

  constructor() {
    document.getElementById("speech")!.addEventListener("submit", (event) => {
      event.preventDefault();
      this.submit();
    });
    this.channel.addEventListener("change", () => {
      this.words.placeholder = HINTS[this.chosen];
      this.words.focus();
    });
    window.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && document.activeElement !== this.words) {
        this.words.focus();
        event.preventDefault();
      }
      if (event.key === "Escape") this.words.blur();
    });
  }

  private get chosen(): Channel {
    return this.channel.value as Channel;
  }

  private submit(): void {
    const typed = this.words.value.trim();
    const words = wordsOf(this.chosen, typed);
    if (!words && typed !== "") return this.note("A whisper begins with @ and a name.");
    if (words) this.onSay(words);
    this.words.value = "";
    this.words.blur();
  }

  /** Somebody near has said something. */
  near(name: string, text: string): void {
    this.append("near", name, text);
  }

  /** A line to the island or a whisper has come. */
  line({ channel, name, text }: Line): void {
    this.append(channel, channel === "whisper" ? `${name} whispers` : name, text);
  }

  /** The player has whispered something. */
  whispered(name: string, text: string): void {
    this.append("whisper", `to ${name}`, text);
  }

  /** Something could not be said. */
  note(sentence: string): void {
    this.append("note", "", sentence);
  }

  private append(kind: Channel | "note", name: string, text: string): void {
    const item = document.createElement("li");
    item.className = kind;
    if (name) {
      const whose = document.createElement("b");
      whose.textContent = `${name}: `;
      item.append(whose);
    }
    item.append(text);
    this.log.append(item);
    while (this.log.childElementCount > MOST_LINES) this.log.firstElementChild!.remove();
    this.log.scrollTop = this.log.scrollHeight;
  }
}
