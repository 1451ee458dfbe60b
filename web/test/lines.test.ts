// What keeps a session on a bad line: pauses, tries, liveness, and where to connect.
import { describe, expect, it } from "vitest";
import { Liveness, PING_EVERY_MS, PONG_TIMEOUT_MS } from "../src/sdk/liveness";
import { closing, refusal } from "../src/sdk/losses";
import { Doors, doorUrl, readNodes } from "../src/sdk/nodes";
import { FIRST_PAUSE_MS, LAST_PAUSE_MS, Pause, persist } from "../src/sdk/retry";

describe("pauses", () => {
  it("double up to a bound and never leave their jitter", () => {
    for (const random of [0, 0.5, 0.999]) {
      const pause = new Pause(FIRST_PAUSE_MS, LAST_PAUSE_MS, () => random);
      for (let failure = 0; failure < 30; failure++) {
        const whole = Math.min(FIRST_PAUSE_MS * 2 ** failure, LAST_PAUSE_MS);
        expect(pause.next()).toBeCloseTo(whole * (0.5 + random), 6);
      }
      pause.reset();
      expect(pause.next()).toBeLessThanOrEqual(FIRST_PAUSE_MS * 1.5);
    }
  });
});

describe("what is tried", () => {
  const patience = (pauses: number[], tries = 4) => ({
    tries,
    tryMs: 1000,
    random: () => 0.5,
    wait: (ms: number) => (pauses.push(ms), Promise.resolve()),
  });

  it("is tried again after growing pauses until it succeeds", async () => {
    const pauses: number[] = [];
    let tried = 0;
    const attempt = () => (++tried < 4 ? Promise.reject(new Error("not yet")) : Promise.resolve("there"));
    expect(await persist(attempt, patience(pauses))).toBe("there");
    expect(pauses).toEqual([300, 600, 1200]);
  });

  it("comes to an end", async () => {
    const pauses: number[] = [];
    let tried = 0;
    const attempt = () => Promise.reject(new Error(`no ${++tried}`));
    await expect(persist(attempt, patience(pauses))).rejects.toThrow("no 4");
    expect(pauses.length).toBe(3);
  });
});

describe("a line", () => {
  /** Runs a line by its own timers; it answers after `roundTrip` until it dies. Returns when it is lost, and its pings. */
  const live = (roundTrip: number, dies: number, until: number) => {
    const line = new Liveness(0);
    const pongs: number[] = [];
    const pings: number[] = [];
    const ping = (now: number) => {
      line.ping(now);
      pings.push(now);
      if (now + roundTrip < dies) pongs.push(now + roundTrip);
    };
    ping(0);
    for (let now = 0; now < until; ) {
      now = Math.min(line.nextWake(), pongs[0] ?? Infinity);
      if (pongs[0] === now) {
        pongs.shift();
        line.pong(now);
      }
      const due = line.wake(now);
      if (due === "lost") return { lost: now, pings };
      if (due === "ping") ping(now);
    }
    return { lost: undefined, pings };
  };

  it("that dies is lost within three seconds without a pong", () => {
    for (const dies of [5000, 5010, 5500, 5999]) {
      const { lost, pings } = live(20, dies, 60_000);
      const lastPong = Math.max(...pings.filter((at) => at + 20 < dies)) + 20;
      expect(lost! - lastPong).toBe(PONG_TIMEOUT_MS);
      expect(lost! - dies).toBeLessThanOrEqual(PONG_TIMEOUT_MS);
    }
  });

  it("that never answers is lost as soon", () => {
    expect(live(20, 0, 60_000).lost).toBe(PONG_TIMEOUT_MS);
  });

  it("that is slow is not lost", () => {
    for (const roundTrip of [400, 1500, 2500]) expect(live(roundTrip, Infinity, 60_000).lost).toBeUndefined();
  });

  it("is pinged less often than nodes allow", () => {
    const { pings } = live(20, Infinity, 60_000);
    expect(pings.length).toBeLessThanOrEqual(61);
    expect(PING_EVERY_MS).toBeGreaterThanOrEqual(500);
  });

  it("is not blamed for the sleep of the page", () => {
    const line = new Liveness(0);
    line.ping(0);
    line.pong(20);
    expect(line.wake(1000)).toBe("ping");
    line.ping(1000);
    expect(line.wake(90_000)).toBe("ping");
    line.ping(90_000);
    line.pong(90_500);
    expect(line.wake(90_600)).toBeUndefined();
    // Without a pong it is lost after all.
    line.ping(91_500);
    expect(line.wake(93_499)).not.toBe("lost");
    expect(line.wake(93_500)).toBe("lost");
  });
});

describe("losses", () => {
  it("that may pass are tried again and others are not", () => {
    for (const code of ["busy", "full", "unavailable", "shutdown"]) expect(refusal(code, "").final).toBe(false);
    for (const code of ["token", "name", "version", "malformed", "of the future"]) expect(refusal(code, "").final).toBe(true);
    for (const code of ["superseded", "token"]) expect(closing(code, "").final).toBe(true);
    for (const code of ["shutdown", "slow", "idle", "of the future"]) expect(closing(code, "").final).toBe(false);
  });
});

describe("nodes", () => {
  const page = "http://play.example:8080/world/nodes";

  it("are where they say: elsewhere, or on a path of the page's own origin", () => {
    expect(doorUrl("ws://other.example:9000/", page)).toBe("ws://other.example:9000/");
    expect(doorUrl("wss://other.example/x", page)).toBe("wss://other.example/x");
    expect(doorUrl("/ws/3", page)).toBe("ws://play.example:8080/ws/3");
    expect(doorUrl("ws/3", page)).toBe("ws://play.example:8080/world/ws/3");
    expect(doorUrl("/ws/3", "https://play.example/nodes")).toBe("wss://play.example/ws/3");
    expect(doorUrl("https://play.example/ws/3", page)).toBe("wss://play.example/ws/3");
  });

  it("on this machine are on the page's host", () => {
    expect(doorUrl("ws://127.0.0.1:9000/", page)).toBe("ws://play.example:9000/");
    expect(doorUrl("ws://[::]:9000/", "http://[::1]:80/nodes")).toBe("ws://[::1]:9000/");
  });

  it("of answers that are none are none", () => {
    for (const answer of [null, 1, {}, { nodes: 1 }, { nodes: [null, 1, {}, { id: 1 }, { id: 1, ws: "ws://[" }] }]) {
      expect(readNodes(answer, page)).toEqual([]);
    }
  });

  it("are tried in turn, the wanted one first", () => {
    const doors = [1, 2, 3].map((id) => ({ id, url: `ws://${id}/` }));
    const wanted = new Doors(page, 2, () => 0);
    expect([0, 1, 2, 3].map((failures) => wanted.choose(doors, failures))).toEqual(["ws://2/", "ws://3/", "ws://1/", "ws://2/"]);
    const any = new Doors(page, 7, () => 0.999);
    expect(new Set([0, 1, 2].map((failures) => any.choose(doors, failures))).size).toBe(3);
    expect(() => any.choose([], 0)).toThrow();
  });
});
