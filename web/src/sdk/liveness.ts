/** How often the node is pinged, in ms. Nodes answer two pings in a second. */
export const PING_EVERY_MS = 1000;
/** After how long without a pong a connection counts as lost, in ms. */
export const PONG_TIMEOUT_MS = 3000;
/** A page that is woken this much too late has slept itself, in ms: its node is given as long again to be heard. */
export const LATE_MS = 1000;

/** Whether the line to the node lives. A machine: local time, in ms, is an argument. `client::core::liveness` in Rust is the same. */
export class Liveness {
  /** When the session began, or the last pong came. */
  private proved: number;
  private pinged: number;
  /** When the first ping was sent since the last pong. */
  private unanswered?: number;
  private forgiven = -Infinity;

  constructor(now: number) {
    this.proved = this.pinged = now;
  }

  /** A ping was sent. */
  ping(now: number): void {
    this.pinged = now;
    this.unanswered ??= now;
  }

  pong(now: number): void {
    this.proved = now;
    this.unanswered = undefined;
  }

  /** What is to be done at `now`, which may be later than what `nextWake` asked for. */
  wake(now: number): "ping" | "lost" | undefined {
    if (now - this.nextWake() > LATE_MS) this.forgiven = now + LATE_MS;
    if (this.deadline() <= now) return "lost";
    return this.pinged + PING_EVERY_MS <= now ? "ping" : undefined;
  }

  /** When the next ping is due, or the line is lost. */
  nextWake(): number {
    return Math.min(this.pinged + PING_EVERY_MS, this.deadline());
  }

  private deadline(): number {
    if (this.unanswered === undefined) return Infinity;
    // A line that was hardly pinged since its last pong is given more time.
    const patient = this.unanswered + PONG_TIMEOUT_MS - PING_EVERY_MS;
    return Math.max(this.proved + PONG_TIMEOUT_MS, patient, this.forgiven);
  }
}
