/** Codes of refusals after which another attempt may succeed; any other one, known or not, is final. */
const RETRIED_REFUSALS = ["busy", "full", "unavailable", "slow_down", "shutdown", "idle", "stalled", "flood"];
/** Codes of closings that are final; after any other one, known or not, the session comes again. */
const FINAL_CLOSINGS = ["superseded", "token", "name", "version"];

/** Why there is no session. `client::core::loss` in Rust has the same. */
export interface Loss {
  /** The node's own, or one of `unreachable`, `lost`, `no_answer`, `silent`, `malformed`, `out_of_step`, `left`. */
  code: string;
  /** For the player. */
  sentence: string;
  /** The session makes no further attempt by itself. */
  final: boolean;
}

export function refusal(code: string, sentence: string): Loss {
  return { code, sentence, final: !RETRIED_REFUSALS.includes(code) };
}

export function closing(code: string, sentence: string): Loss {
  return { code, sentence, final: FINAL_CLOSINGS.includes(code) };
}

/** The connection itself is to blame. */
export function fault(code: string, sentence: string): Loss {
  return { code, sentence, final: code === "left" };
}
