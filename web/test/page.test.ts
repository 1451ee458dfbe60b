// What the page tells its players, and what keys do.
import { describe, expect, it } from "vitest";
import { Announcements, GAP_MS, MOST_LINES } from "../src/page/announcer";
import { wordsOf } from "../src/page/chat";
import { bearing, heading, reachable } from "../src/page/directions";
import { nameTrouble, told, unsaid, wordsTrouble } from "../src/page/sentences";
import { closing, fault, refusal } from "../src/sdk/losses";

describe("words", () => {
  it("are whispers if they begin with a name", () => {
    expect(wordsOf("near", "ahoy")).toEqual({ channel: "near", name: "", text: "ahoy" });
    expect(wordsOf("island", "@Bo psst now")).toEqual({ channel: "whisper", name: "Bo", text: "psst now" });
    expect(wordsOf("near", '@"Bo the Third" psst')).toEqual({ channel: "whisper", name: "Bo the Third", text: "psst" });
    expect(wordsOf("whisper", "ahoy")).toBeUndefined();
    expect(wordsOf("near", "")).toBeUndefined();
  });

  it("that cannot be said are named before they are sent", () => {
    expect(wordsTrouble("x".repeat(200))).toBeUndefined();
    expect(wordsTrouble("x".repeat(203))).toContain("by 3 of 200 bytes");
    expect(wordsTrouble("ö".repeat(101))).toContain("by 2 of 200 bytes");
  });

  it("that were refused are told of, with the words", () => {
    for (const code of ["slow_down", "muted", "unavailable", "unknown_name", "of the future"]) {
      expect(unsaid(code, "Why.", "ahoy")).toContain("“ahoy”");
    }
    expect(unsaid("slow_down", "", "ahoy")).toContain("Too fast");
  });
});

describe("names", () => {
  it("are looked at before anybody is asked", () => {
    expect(nameTrouble("Anna")).toBeUndefined();
    expect(nameTrouble("  ")).toContain("type a name");
    expect(nameTrouble("x".repeat(49))).toContain("too long");
    expect(nameTrouble("名".repeat(17))).toContain("too long");
    expect(nameTrouble("An\u0007na")).toContain("characters");
  });
});

describe("every loss", () => {
  it("has a sentence and a way on", () => {
    const codes = ["version", "name", "token", "full", "busy", "malformed", "unavailable", "idle", "slow", "stalled", "flood"];
    const losses = [
      ...[...codes, "shutdown", "of the future"].map((code) => refusal(code, "Why.")),
      ...["superseded", "slow", "idle", "stalled", "flood", "malformed", "shutdown", "of the future"].map((code) => closing(code, "")),
      ...["unreachable", "lost", "no_answer", "silent", "malformed", "out_of_step"].map((code) => fault(code, "")),
    ];
    for (const loss of losses) {
      const { sentence, ways } = told(loss, "Anna");
      expect(sentence, loss.code).toMatch(/^[“A-Z].*\.$/);
      expect(ways.length, loss.code).toBeGreaterThan(0);
    }
    expect(told(refusal("token", ""), "Anna").sentence).toContain("“Anna” belongs to somebody else");
    expect(told(refusal("name", "That name cannot be used."), "Anna")).toEqual({ sentence: "That name cannot be used.", ways: ["name"] });
  });
});

describe("announcements", () => {
  it("are few at a time", () => {
    const announcements = new Announcements();
    for (let line = 0; line < 20; line++) announcements.overhear(`Bo: ${line}`);
    announcements.tell("Bush, 3 m east.");
    const announced = announcements.next(0)!;
    expect(announced).toContain("Bush, 3 m east.");
    expect(announced.match(/Bo: /g)).toHaveLength(MOST_LINES);
    expect(announced).toContain(`And ${20 - MOST_LINES} more.`);
    announcements.overhear("Bo: later");
    expect(announcements.next(GAP_MS - 1)).toBeUndefined();
    expect(announcements.next(GAP_MS)).toBe("Bo: later");
    expect(announcements.next(10 * GAP_MS)).toBeUndefined();
  });

  it("are what was chosen", () => {
    const announcements = new Announcements();
    announcements.manner = "to me";
    announcements.overhear("Bo: ahoy");
    expect(announcements.next(0)).toBeUndefined();
    announcements.tell("Bo whispers: psst");
    expect(announcements.next(0)).toBe("Bo whispers: psst");
    announcements.manner = "nothing";
    announcements.tell("Bo whispers: psst");
    expect(announcements.next(10_000)).toBeUndefined();
  });
});

describe("directions", () => {
  it("are told in words", () => {
    const here = { x: 0, y: 0 };
    expect(bearing(here, { x: 640, y: 0 })).toBe("10 m east");
    expect(bearing(here, { x: 0, y: -640 })).toBe("10 m north");
    expect(bearing(here, { x: -640, y: 640 })).toBe("14 m south-west");
    expect(bearing(here, { x: 9, y: 9 })).toBe("here");
  });

  it("of held keys add up", () => {
    expect(heading(["ArrowUp"])).toEqual({ x: 0, y: -1 });
    expect(heading(["KeyW", "ArrowDown"])).toBeUndefined();
    expect(heading(["KeyD", "KeyS"])!.x).toBeCloseTo(Math.SQRT1_2);
    expect(heading(["KeyT"])).toBeUndefined();
  });

  it("end where the ground does", () => {
    const isWalkable = ({ x }: { x: number }) => x < 100;
    expect(reachable({ x: 0, y: 0 }, { x: 1, y: 0 }, 400, isWalkable)).toEqual({ x: 96, y: 0 });
    expect(reachable({ x: 96, y: 0 }, { x: 1, y: 0 }, 400, isWalkable)).toBeUndefined();
    expect(reachable({ x: 0, y: 0 }, { x: 0, y: 1 }, 400, isWalkable)).toEqual({ x: 0, y: 400 });
  });
});
