import type { Loss } from "../sdk/losses";

/** The most that a name may have, in bytes of UTF-8. */
export const MAX_NAME_BYTES = 48;
/** The most that one can say at once, in bytes of UTF-8. */
export const MAX_WORDS_BYTES = 200;

/**
 * What a player can do about the end of a session: choose another name, try again, take over from another window, or load
 * the page anew.
 */
export type Way = "name" | "again" | "take over" | "reload";

interface Told {
  sentence: string;
  ways: Way[];
}

/** What a player is told of codes. Where there is no sentence, that of the node is shown. */
const TOLD: Record<string, { sentence?: string; ways: Way[] }> = {
  token: {
    sentence: "belongs to somebody else, or to another browser of yours. Please choose another name.",
    ways: ["name"],
  },
  name: { ways: ["name"] },
  version: { sentence: "This page is older or newer than the server. Please load it again.", ways: ["reload"] },
  superseded: { sentence: "You are playing in another window or on another device.", ways: ["take over", "name"] },
  malformed: { sentence: "The server did not understand this page.", ways: ["again", "reload"] },
  slow: { sentence: "Your connection is too slow for what there is to see.", ways: ["again"] },
  full: { sentence: "The server is full.", ways: ["again"] },
  busy: { sentence: "Too many people arrive at once.", ways: ["again"] },
  unavailable: { sentence: "The server cannot let you in just now.", ways: ["again"] },
  shutdown: { sentence: "The server is being restarted.", ways: ["again"] },
  idle: { sentence: "Nothing was heard of you for too long.", ways: ["again"] },
  stalled: { sentence: "The connection came to a halt.", ways: ["again"] },
  flood: { sentence: "This page said too much at once.", ways: ["again"] },
  lost: { sentence: "The connection was lost.", ways: ["again"] },
  silent: { sentence: "The server does not answer.", ways: ["again"] },
  unreachable: { sentence: "The server cannot be reached.", ways: ["again"] },
  no_answer: { sentence: "The server does not answer.", ways: ["again"] },
  out_of_step: { sentence: "The connection is renewed.", ways: ["again"] },
};

/** What a player is told when a session ends or does not begin, and what may be done about it. Every code has a way on. */
export function told(loss: Loss, name: string): Told {
  const { sentence, ways } = TOLD[loss.code] ?? { ways: ["again", "name"] };
  if (loss.code === "token") return { sentence: `“${name}” ${sentence}`, ways };
  return { sentence: sentence ?? (loss.sentence || "The server has refused."), ways };
}

/** What is wrong with a name before anybody is asked; nothing if it may be good. */
export function nameTrouble(name: string): string | undefined {
  if (name.trim() === "") return "Please type a name.";
  const bytes = new TextEncoder().encode(name).length;
  if (bytes > MAX_NAME_BYTES) return "That name is too long. Please choose a shorter one.";
  if (/\p{Cc}/u.test(name)) return "That name has characters that cannot be written.";
  return undefined;
}

/** What is wrong with words before they are said. */
export function wordsTrouble(text: string): string | undefined {
  const over = new TextEncoder().encode(text).length - MAX_WORDS_BYTES;
  return over > 0 ? `That is too long to be said at once (by ${over} of ${MAX_WORDS_BYTES} bytes).` : undefined;
}

/** What a player is told of refused moves; of others there is nothing to tell. */
export const MOVE_SENTENCES: Record<string, string> = {
  blocked: "The way is blocked.",
  too_long: "That is too far.",
};

/** What a player is told of words that were refused. */
export function unsaid(code: string, sentence: string, text: string): string {
  if (code === "slow_down") return `Too fast, not said: “${text}”`;
  if (code === "unavailable") return `Perhaps not said: “${text}” ${sentence}`;
  return `Not said: “${text}” ${sentence}`;
}
