// A session over a node made by hand, on a clock made by hand.
import Long from "long";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { pelago } from "../src/sdk/generated.js";
import type { Loss } from "../src/sdk/losses";
import { Refused } from "../src/sdk/events";
import { Session } from "../src/sdk/session";
import { Deframer, frame, Kind } from "../src/sdk/stream";

const { ClientMessage, ServerMessage } = pelago.client.v1;
type Asked = InstanceType<typeof ClientMessage>;

/** Every socket that was opened, with what was asked over it. */
class Socket {
  static readonly OPEN = 1;
  static all: Socket[] = [];
  readyState = 0;
  asked: Asked[] = [];
  closed = false;
  answersPings = true;
  onopen: (() => void) | null = null;
  onmessage: ((event: { data: ArrayBuffer }) => void) | null = null;
  onclose: (() => void) | null = null;

  constructor(readonly url: string) {
    Socket.all.push(this);
  }

  send(bytes: Uint8Array): void {
    for (const { payload } of new Deframer().push(bytes)) {
      const message = ClientMessage.decode(payload) as Asked;
      this.asked.push(message);
      if (message.ping && this.answersPings) {
        this.say({ pong: { clientMs: message.ping.clientMs, worldTimeMs: Long.fromNumber(performance.now()) } });
      }
    }
  }

  close(): void {
    this.closed = true;
  }

  open(): void {
    this.readyState = 1;
    this.onopen?.();
  }

  say(message: pelago.client.v1.IServerMessage): void {
    const bytes = frame(Kind.control, ServerMessage.encode(message).finish());
    this.onmessage?.({ data: bytes.buffer });
  }

  welcome(sequence = 0): void {
    this.open();
    const path = { startMs: Long.ZERO, x: 640, y: 640, speed: 0, waypoints: [] };
    const worldTimeMs = Long.fromNumber(performance.now());
    this.say({ welcome: { avatar: Long.ONE, island: Long.ONE, worldTimeMs, sequence: Long.fromNumber(sequence), path, node: 1 } });
  }

  static get last(): Socket {
    return Socket.all.at(-1)!;
  }
}

let asked: number[];
let losses: Loss[];
let address: string;
let session: Session;

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "performance"] });
  vi.stubGlobal("WebSocket", Socket);
  vi.spyOn(console, "error").mockImplementation(() => {});
  Socket.all = [];
  [asked, losses, address] = [[], [], "ws://one/"];
  const nothing = () => {};
  const addresses = {
    next: (failures: number) => {
      asked.push(failures);
      return address === "" ? Promise.reject(new Error("nobody")) : Promise.resolve(address);
    },
  };
  session = new Session(addresses, "Anna", new Uint8Array(32), {
    welcomed: nothing,
    changed: nothing,
    moveRefused: nothing,
    noticed: nothing,
    line: nothing,
    unsettled: nothing,
    connecting: nothing,
    lost: (loss) => losses.push(loss),
  });
});

afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
  vi.restoreAllMocks();
});

const pass = (ms: number) => vi.advanceTimersByTimeAsync(ms);

async function play(): Promise<void> {
  session.connect();
  await pass(0);
  Socket.last.welcome();
  await pass(100);
  expect(session.isPlaying).toBe(true);
}

describe("a session", () => {
  it("asks where to connect before every attempt, and goes where that is", async () => {
    await play();
    address = "ws://two/";
    Socket.last.onclose!();
    await pass(1000);
    expect(Socket.all.map(({ url }) => url)).toEqual(["ws://one/", "ws://two/"]);
    expect(losses.map(({ code }) => code)).toEqual(["lost"]);
    Socket.last.onclose!();
    await pass(2000);
    // The node that was played on is tried again first; only then another one.
    expect(asked).toEqual([0, 0, 1]);
  });

  it("goes on asking while nobody answers, with pauses that grow to a bound", async () => {
    address = "";
    session.connect();
    await pass(60_000);
    expect(asked.length).toBeGreaterThan(8);
    expect(asked.length).toBeLessThan(30);
    address = "ws://one/";
    await pass(8_000);
    Socket.last.welcome();
    expect(session.isPlaying).toBe(true);
  });

  it("gives up a line that brings no pong for three seconds, and keeps one that does", async () => {
    await play();
    await pass(60_000);
    expect(losses).toEqual([]);
    Socket.last.answersPings = false;
    await pass(1900);
    expect(losses).toEqual([]);
    await pass(1200);
    expect(losses.map(({ code }) => code)).toEqual(["silent"]);
    expect(Socket.all[0]!.closed).toBe(true);
  });

  it("waits for no connection, no welcome and no answer without an end", async () => {
    session.connect();
    await pass(10_000);
    expect(losses.map(({ code }) => code)).toEqual(["unreachable"]);
    await pass(1000);
    Socket.last.open();
    await pass(20_000);
    expect(losses.map(({ code }) => code)).toEqual(["unreachable", "no_answer"]);
    await pass(2000);
    Socket.last.welcome();
    const said = session.say("ahoy").catch((error: unknown) => error);
    await pass(10_000);
    expect(await said).toMatchObject({ code: "unavailable" });
  });

  it("repeats its command under its number on the next connection", async () => {
    await play();
    const done = session.act({ eat: {} });
    Socket.last.onclose!();
    await pass(1000);
    Socket.last.welcome();
    await pass(0);
    const acts = Socket.all.map(({ asked }) => asked.filter(({ act }) => act).map(({ act }) => Number(act!.sequence)));
    expect(acts).toEqual([[1], [1]]);
    Socket.last.say({ outcome: { sequence: Long.ONE, effects: new TextEncoder().encode("{}") } });
    expect(await done).toEqual({});
  });

  it("that was taken over stands still, answers what was asked, and comes again only when told", async () => {
    await play();
    session.move(256, [{ x: 6400, y: 640 }]);
    const act = session.act({ eat: {} }).catch((error: unknown) => error);
    Socket.last.say({ closing: { code: "superseded", sentence: "Elsewhere." } });
    expect(await act).toBeInstanceOf(Refused);
    expect(losses).toMatchObject([{ code: "superseded", final: true }]);
    const place = session.path.positionAt(session.islandNow());
    expect(session.move(256, [{ x: 6400, y: 640 }])).toBe(false);
    session.hurry();
    await pass(60_000);
    expect(session.path.positionAt(session.islandNow())).toEqual(place);
    expect(Socket.all.length).toBe(1);
    session.again();
    await pass(0);
    Socket.last.welcome();
    expect(session.isPlaying).toBe(true);
  });

  it("takes bytes that are no messages for a broken node, and tries again", async () => {
    await play();
    Socket.last.onmessage!({ data: Uint8Array.of(0, 0, 0).buffer });
    expect(losses.map(({ code }) => code)).toEqual(["malformed"]);
    await pass(1000);
    expect(Socket.all.length).toBe(2);
  });
});
