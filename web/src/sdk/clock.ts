/** How fast the estimate drifts towards a better one, as a share of the time that passes. */
const DRIFT = 0.05;
/** An estimate that is shown to be wrong by more than this is given up at once. */
const JUMP_MS = 100;

/**
 * World time, estimated from round trips. Local times are those of `performance.now()`, all in ms.
 *
 * A pong was written between the ping and its own arrival: world time is then between what it says and that plus the
 * round trip. Within these bounds the fastest round trip counts; an estimate outside of them is wrong, whatever was
 * believed before. `client::core::estimate` in Rust does the same.
 */
export class WorldClock {
  /** Of the fastest round trip; `Infinity` before the first. */
  roundTripMs = Infinity;
  /** World time minus local time, as it was told at `since`. */
  private offset = 0;
  /** World time minus local time, as it should be told. */
  private wanted = 0;
  private since = 0;

  /** A node has said this world time, and nobody knows how long that took. */
  begin(local: number, world: number): void {
    this.set(local, world - local);
    this.roundTripMs = Infinity;
  }

  /** World time. It drifts towards better estimates, and steps only where it was shown to be wrong. */
  at(local: number): number {
    return local + this.offsetAt(local);
  }

  /** A pong to a ping that was sent then says this world time. */
  pong(local: number, sent: number, world: number): void {
    const roundTrip = Math.max(0, local - sent);
    const told = this.at(local);
    const missing = Math.min(Math.max(told, world), world + roundTrip) - told;
    const offset = world + roundTrip / 2 - local;
    if (this.roundTripMs === Infinity || Math.abs(missing) > JUMP_MS) {
      this.set(local, offset);
      this.roundTripMs = roundTrip;
    } else if (roundTrip <= this.roundTripMs) {
      this.drift(local, offset);
    } else if (missing !== 0) {
      // A slow round trip tells less than a fast one, but that the estimate is wrong it tells.
      this.drift(local, this.offsetAt(local) + missing);
    }
    // Old records fade, so that a changed route is noticed.
    this.roundTripMs = Math.min(roundTrip, this.roundTripMs + 1);
  }

  private offsetAt(local: number): number {
    const most = Math.max(0, local - this.since) * DRIFT;
    return this.offset + Math.max(-most, Math.min(most, this.wanted - this.offset));
  }

  private drift(local: number, wanted: number): void {
    this.offset = this.offsetAt(local);
    this.wanted = wanted;
    this.since = local;
  }

  private set(local: number, offset: number): void {
    this.offset = this.wanted = offset;
    this.since = local;
  }
}
