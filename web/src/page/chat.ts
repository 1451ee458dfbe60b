import type { Line } from "../sdk/lines";
import { unsaid, wordsTrouble } from "./sentences";

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

/** What became of words: the code of a refusal and its sentence, or nothing. */
export type Said = { code: string; sentence: string } | undefined;

/** The line in which one types, and the log of what was said. */
export class Chat {
  onSay: (words: Words) => Promise<Said> = () => Promise.resolve(undefined);
  /** Something is told to this player alone. */
  onNote: (sentence: string) => void = () => {};
  private readonly log = document.getElementById("log")!;
  private readonly channel = document.getElementById("channel") as HTMLSelectElement;
  private readonly words = document.getElementById("words") as HTMLInputElement;

  constructor() {
    document.getElementById("speech")!.addEventListener("submit", (event) => {
      event.preventDefault();
      void this.submit();
    });
    this.channel.addEventListener("change", () => (this.words.placeholder = HINTS[this.chosen]));
    this.words.addEventListener("keydown", (event) => {
      if (event.key === "Escape") document.getElementById("scene")!.focus();
    });
  }

  /** Somebody wants to type. */
  focus(): void {
    this.words.focus();
  }

  private get chosen(): Channel {
    return this.channel.value as Channel;
  }

  private async submit(): Promise<void> {
    const typed = this.words.value.trim();
    const words = wordsOf(this.chosen, typed);
    if (!words && typed !== "") return this.note("A whisper begins with @ and a name.");
    const trouble = words && wordsTrouble(words.text);
    if (trouble) return this.note(trouble);
    this.words.value = "";
    document.getElementById("scene")!.focus();
    if (words) await this.say(words, typed);
  }

  /** Says something. What is refused is told of, and stands in the line again if nothing else does. */
  async say(words: Words, typed = words.text): Promise<Said> {
    const refused = await this.onSay(words);
    if (refused) {
      this.note(unsaid(refused.code, refused.sentence, words.text));
      if (this.words.value === "") this.words.value = typed;
    } else if (words.channel === "whisper") {
      this.append("whisper", `to ${words.name}`, words.text);
    }
    return refused;
  }

  /** Somebody near has said something. */
  near(name: string, text: string): void {
    this.append("near", name, text);
  }

  /** A line to the island or a whisper has come. */
  line({ channel, name, text }: Line): void {
    this.append(channel, channel === "whisper" ? `${name} whispers` : name, text);
  }

  /** Something that only this player is told. */
  note(sentence: string): void {
    this.append("note", "", sentence);
    this.onNote(sentence);
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
    // Whoever reads what was said before is left alone.
    const isAtEnd = this.log.scrollTop + this.log.clientHeight > this.log.scrollHeight - 30;
    this.log.append(item);
    while (this.log.childElementCount > MOST_LINES) this.log.firstElementChild!.remove();
    if (isAtEnd) this.log.scrollTop = this.log.scrollHeight;
  }
}
