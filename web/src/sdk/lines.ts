import type { pelago } from "./generated.js";
import { toId, toNumber } from "./numbers";

/** Something that was said to the island, or whispered to this player. */
export interface Line {
  channel: "island" | "whisper";
  /** Counts up by island, and by player. */
  number: number;
  /** Whose words they are. */
  avatar: string;
  name: string;
  text: string;
  /** Island time. */
  atMs: number;
}

const ISLAND = 1;
const WHISPER = 2;

/** Which lines the player was shown: a connection begins with the last ones, whoever has read them. */
export class Lines {
  private island = "";
  private lastOfIsland = 0;
  /** The last whisper that the player was shown. */
  lastWhisper = 0;

  /** The line if it is new. */
  take(island: string, message: pelago.client.v1.IChatLine): Line | undefined {
    if (this.island !== island) {
      this.island = island;
      this.lastOfIsland = 0;
    }
    const number = toNumber(message.number);
    if (message.channel === ISLAND && number > this.lastOfIsland) this.lastOfIsland = number;
    else if (message.channel === WHISPER && number > this.lastWhisper) this.lastWhisper = number;
    else return undefined;
    return {
      channel: message.channel === ISLAND ? "island" : "whisper",
      number,
      avatar: toId(message.avatar),
      name: message.name ?? "",
      text: message.text ?? "",
      atMs: toNumber(message.atMs),
    };
  }
}
