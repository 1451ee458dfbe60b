/** The pause after the first failure, in ms, without its jitter. It doubles with every further one. */
export const FIRST_PAUSE_MS = 300;
/** The longest pause, in ms, without its jitter. */
export const LAST_PAUSE_MS = 5000;

/** Between 0 and 1: a source of jitter. */
export type Random = () => number;

/** A pause that doubles up to a bound. Its jitter takes away or adds up to half. */
export class Pause {
  private wholeMs: number;

  constructor(
    private readonly firstMs = FIRST_PAUSE_MS,
    private readonly lastMs = LAST_PAUSE_MS,
    private readonly random: Random = Math.random,
  ) {
    this.wholeMs = firstMs;
  }

  /** How long to pause now, in ms. */
  next(): number {
    const wholeMs = this.wholeMs;
    this.wholeMs = Math.min(wholeMs * 2, this.lastMs);
    return wholeMs * (0.5 + this.random());
  }

  /** What was tried has succeeded: the next failure is a first one again. */
  reset(): void {
    this.wholeMs = this.firstMs;
  }
}

/** How often something is tried, and how long one try may take. */
export interface Patience {
  tries: number;
  tryMs: number;
  random?: Random;
  /** Waits; tests have a clock of their own. */
  wait?: (ms: number) => Promise<void>;
}

export const FETCH_PATIENCE: Patience = { tries: 5, tryMs: 15_000 };

/** Does something until it succeeds, with growing pauses between the tries; fails with the error of the last one. */
export async function persist<T>(attempt: () => Promise<T>, patience = FETCH_PATIENCE): Promise<T> {
  const { tries, random, wait = sleep } = patience;
  const pause = new Pause(FIRST_PAUSE_MS, LAST_PAUSE_MS, random);
  for (let tried = 1; ; tried++) {
    try {
      return await attempt();
    } catch (error) {
      if (tried >= tries) throw error;
      await wait(pause.next());
    }
  }
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
