import type { Line } from "./lines";
import type { Loss } from "./losses";
import type { Change } from "./view";

/** A command that was refused, with its public code. */
export class Refused extends Error {
  constructor(
    readonly code: string,
    sentence: string,
  ) {
    super(sentence);
  }
}

export interface Events {
  welcomed(): void;
  changed(changes: Change[]): void;
  moveRefused(code: string): void;
  /** The game tells this player alone, in words of its own: a grant, for one. */
  noticed(notice: unknown): void;
  /** Somebody has said something to the island, or to this player: each line once, in order. Who is near is in `changed`. */
  line(line: Line): void;
  /** The node cannot tell whether a durable command happened; the session asks again by itself. */
  unsettled(sentence: string): void;
  /** Another attempt begins. */
  connecting(): void;
  /** There is no session, or an attempt has failed. After a final loss only `again` makes another attempt; otherwise one follows. */
  lost(loss: Loss, retryInMs: number): void;
}

/** Tells where to connect: asked before every attempt, with how many have failed since the last session that proved itself. */
export interface Addresses {
  next(failures: number): Promise<string>;
}
