import { describe, expect, it } from "vitest";
import { WorldClock } from "../src/sdk/clock";

describe("world time", () => {
  it("is that of the fastest round trip, which is drifted to", () => {
    const clock = new WorldClock();
    clock.begin(100, 5000);
    clock.pong(300, 200, 5120);
    expect(clock.at(300)).toBe(5170);
    clock.pong(900, 400, 5400);
    expect(clock.at(900)).toBe(5770);
    clock.pong(1000, 990, 5885);
    expect([clock.at(1000), clock.at(1200), clock.at(2000)]).toEqual([5870, 6080, 6890]);
  });

  it("follows any step of the server's time with the next pong", () => {
    for (const step of [-60_000, 60_000, -86_400_000, 3_600_000]) {
      const clock = new WorldClock();
      clock.begin(0, 100_000_000);
      clock.pong(10, 0, 100_000_005);
      const world = 100_002_000 + step;
      clock.pong(2050, 1950, world);
      expect([clock.at(2050), clock.at(3050)]).toEqual([world + 50, world + 1050]);
    }
  });

  it("follows any rate that the server may have", () => {
    for (const rate of [-0.005, 0.005]) {
      const world = (local: number) => local * (1 + rate);
      const clock = new WorldClock();
      clock.begin(0, 0);
      for (let ping = 1; ping < 300; ping++) {
        const [sent, trip] = [ping * 2000, 2 + ((ping * 7) % 29)];
        if (ping > 3) expect(Math.abs(clock.at(sent + trip) - world(sent + trip))).toBeLessThan(40);
        clock.pong(sent + trip, sent, world(sent + trip / 2));
      }
    }
  });
});
