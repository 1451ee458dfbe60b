import { bytesToHex } from "@noble/hashes/utils.js";
import type Long from "long";
import { pelago } from "./generated.js";
import { Lines, type Line } from "./lines";
import { toId, toLong, toNumber } from "./numbers";
import { Deframer, frame, Kind } from "./stream";
import { Trajectory, type Point } from "./trajectory";
import { islandTime, View, type Change, type IslandClock } from "./view";

const { ClientMessage, ServerMessage, ChatChannel } = pelago.client.v1;
type ServerMessage = pelago.client.v1.ServerMessage;
type Path = pelago.client.v1.IPath;

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
  /** The session is over; with `retry` another attempt follows. */
  lost(sentence: string, retry: boolean): void;
}

interface Waiting {
  resolve(effects: unknown): void;
  reject(error: Error): void;
}

/** A token for a new name. Whoever loses it loses the name. */
export function randomToken(): Uint8Array {
  return crypto.getRandomValues(new Uint8Array(32));
}

const PING_EVERY_MS = 2000;
/** After how long without a pong a connection counts as lost. */
const PONG_TIMEOUT_MS = 3000;
/** A timer that is this much too late tells that the page itself has slept, not that the node was silent. */
const LATE_MS = 1000;
const RETRY_FIRST_MS = 300;
const RETRY_LAST_MS = 5000;
/** Codes of refusals after which another attempt may succeed; any other one, known or not, is final. */
const RETRIED_REFUSALS = ["busy", "full", "unavailable", "shutdown", "idle", "stalled", "flood"];
/** Codes of closings that are final; after any other one, known or not, the session comes again. */
const FINAL_CLOSINGS = ["superseded", "token", "name", "version"];

/** An avatar on a node: reconnects by itself, repeats what was not acknowledged. `client::core` in Rust does the same. */
export class Session {
  avatar = "";
  island = "";
  node = 0;
  manifest = "";
  content = "";
  state: unknown = {};
  view = new View("", { worldMs: 0, islandMs: 0, speedPermille: 1000 }, 0);
  path = new Trajectory(0, { x: 0, y: 0 }, 0, []);
  roundTripMs = Infinity;
  bytes = 0;
  private socket?: WebSocket;
  private clock: IslandClock = { worldMs: 0, islandMs: 0, speedPermille: 1000 };
  /** World time minus `performance.now()`. */
  private offset = 0;
  private wantedOffset = 0;
  private lastNow = 0;
  private lastAdjust = 0;
  private sequence = 0;
  /** A command that was sent keeps its number until it is answered. */
  private durable?: { sequence: number; payload: Uint8Array; sent: boolean } & Waiting;
  private playing = false;
  private repeating?: ReturnType<typeof setTimeout>;
  private repeatMs = RETRY_FIRST_MS;
  private readonly live = new Map<number, Waiting>();
  private numbers = 0;
  private readonly lines = new Lines();
  /** Lines of one player are said in order, one after the other. */
  private speaking: Promise<unknown> = Promise.resolve();
  private moves = 0;
  private retryMs = RETRY_FIRST_MS;
  private over = false;
  private pinging?: ReturnType<typeof setInterval>;
  private silence?: ReturnType<typeof setTimeout>;

  constructor(
    readonly url: string,
    private readonly name: string,
    /** 16 to 64 random bytes that the name is bound to at its first login: see `randomToken`. */
    private readonly token: Uint8Array,
    private readonly events: Events,
  ) {}

  /** World time, estimated from the fastest round trip; never steps back, drifts towards better estimates. */
  now(): number {
    const local = performance.now();
    const difference = this.wantedOffset - this.offset;
    const most = Math.max(0, local - this.lastAdjust) * 0.05;
    this.offset += Math.max(-most, Math.min(most, difference));
    this.lastAdjust = local;
    this.lastNow = Math.max(this.lastNow, local + this.offset);
    return this.lastNow;
  }

  islandNow(): number {
    return islandTime(this.clock, this.now());
  }

  connect(): void {
    if (this.over) return;
    const socket = new WebSocket(this.url);
    socket.binaryType = "arraybuffer";
    this.socket = socket;
    const deframer = new Deframer();
    socket.onopen = () =>
      this.send({ hello: { oldestVersion: 1, newestVersion: 1, name: this.name, token: this.token, client: "pelago-web" } });
    socket.onmessage = (event) => {
      const bytes = new Uint8Array(event.data as ArrayBuffer);
      this.bytes += bytes.length;
      const changes: Change[] = [];
      try {
        for (const { kind, payload } of deframer.push(bytes)) {
          if (this.socket !== socket) break;
          if (kind === Kind.control) this.control(ServerMessage.decode(payload));
          else this.view.receive(kind, payload, changes);
        }
      } catch (error) {
        console.error("the node does not speak the protocol", error);
        this.closed("The node does not speak the protocol.");
      }
      if (changes.length > 0) this.events.changed(changes);
    };
    socket.onclose = () => this.closed("The connection was lost.");
  }

  private closed(sentence: string): void {
    const socket = this.socket;
    if (!socket) return;
    this.socket = undefined;
    this.playing = false;
    // What it still says is said to nobody.
    socket.onclose = socket.onmessage = null;
    socket.close();
    clearInterval(this.pinging);
    clearTimeout(this.silence);
    clearTimeout(this.repeating);
    this.silence = undefined;
    for (const waiting of this.live.values()) waiting.reject(new Refused("unavailable", sentence));
    this.live.clear();
    this.events.lost(sentence, !this.over);
    if (!this.over) setTimeout(() => this.connect(), this.retryMs * (0.5 + Math.random()));
    this.retryMs = Math.min(this.retryMs * 2, RETRY_LAST_MS);
  }

  private send(message: pelago.client.v1.IClientMessage): void {
    if (this.socket?.readyState === WebSocket.OPEN) {
      this.socket.send(frame(Kind.control, ClientMessage.encode(message).finish()));
    }
  }

  private control(message: ServerMessage): void {
    const { welcome, outcome, moveRefused, pong, refused, closing, notice, chatLine } = message;
    if (welcome) {
      const clock = welcome.clock;
      if (clock) {
        this.clock = {
          worldMs: toNumber(clock.worldMs),
          islandMs: toNumber(clock.islandMs),
          speedPermille: clock.speedPermille ?? 1000,
        };
      }
      this.playing = true;
      this.avatar = toId(welcome.avatar);
      this.node = welcome.node ?? 0;
      this.manifest = bytesToHex(welcome.manifest ?? new Uint8Array());
      this.content = bytesToHex(welcome.content ?? new Uint8Array());
      this.state = parse(welcome.state);
      this.island = toId(welcome.island);
      this.view = new View(this.island, this.clock, toNumber(welcome.tick));
      this.path = toTrajectory(welcome.path);
      this.setOffset(toNumber(welcome.worldTimeMs) - performance.now());
      this.roundTripMs = Infinity;
      this.sequence = toNumber(welcome.sequence);
      this.resume();
      this.ping();
      clearInterval(this.pinging);
      this.pinging = setInterval(() => this.ping(), PING_EVERY_MS);
      this.events.welcomed();
    } else if (outcome) {
      const sequence = toNumber(outcome.sequence);
      const number = toNumber(outcome.number);
      const waiting = sequence > 0 ? this.durable : this.live.get(number);
      if (!waiting || (sequence > 0 && this.durable?.sequence !== sequence)) return;
      if (sequence > 0 && outcome.code === "unavailable") {
        // Only the very same command under the same number tells whether it happened.
        clearTimeout(this.repeating);
        this.repeating = setTimeout(() => this.sendDurable(), this.repeatMs * (0.5 + Math.random()));
        this.repeatMs = Math.min(this.repeatMs * 2, RETRY_LAST_MS);
        this.events.unsettled(outcome.sentence ?? "");
        return;
      }
      if (sequence > 0) this.durable = undefined;
      else this.live.delete(number);
      // Something else had this number, or its rule is broken and that is on disk: the next one is due.
      const usedUp = outcome.code === "repeated" || (sequence > 0 && (outcome.chain?.length ?? 0) > 0);
      if (usedUp) this.sequence = Math.max(this.sequence, sequence);
      if (outcome.code) waiting.reject(new Refused(outcome.code, outcome.sentence ?? ""));
      else {
        if (sequence > 0) this.sequence = Math.max(this.sequence, sequence);
        waiting.resolve(parse(outcome.effects));
      }
      if ((outcome.code === "stale" || outcome.code === "out_of_order") && sequence > this.sequence) {
        // The avatar has done more than this session knows: the next welcome tells how far it is.
        this.closed("The connection is renewed.");
      }
    } else if (moveRefused) {
      this.path = toTrajectory(moveRefused.path);
      this.events.moveRefused(moveRefused.code ?? "");
    } else if (pong) {
      clearTimeout(this.silence);
      this.silence = undefined;
      // A connection that answers has proved itself.
      this.retryMs = RETRY_FIRST_MS;
      const now = performance.now();
      const roundTrip = now - toNumber(pong.clientMs);
      if (roundTrip <= this.roundTripMs) {
        this.wantedOffset = toNumber(pong.worldTimeMs) + roundTrip / 2 - now;
        if (this.roundTripMs === Infinity) this.setOffset(this.wantedOffset);
      }
      // Old records fade, so that a changed route is noticed.
      this.roundTripMs = Math.min(roundTrip, this.roundTripMs + 1);
    } else if (refused) {
      this.over = !RETRIED_REFUSALS.includes(refused.code ?? "");
      this.closed(refused.sentence ?? "");
    } else if (closing) {
      this.over = FINAL_CLOSINGS.includes(closing.code ?? "");
      this.closed(closing.sentence ?? "");
    } else if (notice) {
      this.events.noticed(parse(notice.payload));
    } else if (chatLine) {
      const line = this.lines.take(this.island, chatLine);
      if (line) this.events.line(line);
      // Also of one that came again: the node has not heard that it was shown.
      if (chatLine.channel === ChatChannel.CHAT_WHISPER) this.send({ heard: { number: toLong(this.lines.lastWhisper) } });
    }
  }

  private setOffset(offset: number): void {
    this.offset = this.wantedOffset = offset;
    this.lastAdjust = performance.now();
    this.lastNow = 0;
  }

  /** What was asked before the connection broke is asked again: that gives the same answer. */
  private resume(): void {
    const durable = this.durable;
    if (!durable) return;
    if (!durable.sent) durable.sequence = this.sequence + 1;
    if (durable.sequence > this.sequence + 1) {
      // It cannot be the next any more, so that it will never happen.
      this.durable = undefined;
      durable.reject(new Refused("out_of_order", "Something else has happened meanwhile."));
      return;
    }
    this.sendDurable();
  }

  private sendDurable(): void {
    if (!this.durable || !this.playing) return;
    this.durable.sent = true;
    this.send({ act: { sequence: toLong(this.durable.sequence), payload: this.durable.payload } });
  }

  /** Gives the connection up when it stays silent for so long. */
  private expectPong(ms: number): void {
    const due = performance.now() + ms;
    this.silence = setTimeout(() => {
      if (performance.now() - due > LATE_MS) this.expectPong(LATE_MS);
      else this.closed("The node does not answer.");
    }, ms);
  }

  private ping(): void {
    if (this.silence === undefined) this.expectPong(PONG_TIMEOUT_MS);
    this.send({ ping: { clientMs: toLong(Math.round(performance.now())) } });
  }

  /** Walks through points; predicted at once. */
  move(speed: number, waypoints: readonly Point[]): void {
    const now = Math.floor(this.now());
    const at = Math.max(Math.floor(islandTime(this.clock, now)), this.path.startTime);
    const whole = waypoints.map(({ x, y }) => ({ x: Math.round(x), y: Math.round(y) }));
    this.path = this.path.turned(at, speed, whole);
    this.moves++;
    this.send({
      move: { number: this.moves, atMs: toLong(now), speed, waypoints: whole.flatMap(({ x, y }) => [x, y]) },
    });
  }

  /** Speaks to those who are near. */
  say(text: string): Promise<unknown> {
    return this.ask((number) => this.send({ say: { text, number } }));
  }

  /** Speaks to everybody on the island; resolves once it is on disk. */
  sayIsland(text: string): Promise<unknown> {
    return this.speak((number) => this.send({ say: { text, channel: ChatChannel.CHAT_ISLAND, number } }));
  }

  /** Whispers to one player, who may be anywhere or away; resolves once it is on disk. */
  whisper(name: string, text: string): Promise<unknown> {
    return this.speak((number) => this.send({ whisper: { number, name, text } }));
  }

  private speak(send: (number: Long) => void): Promise<unknown> {
    const said = this.speaking.then(() => this.ask(send));
    this.speaking = said.catch(() => undefined);
    return said;
  }

  /** Sends what is answered by an outcome with its number. It is not repeated. */
  private ask(send: (number: Long) => void): Promise<unknown> {
    return new Promise((resolve, reject) => {
      if (!this.playing) return reject(new Refused("unavailable", "The connection was lost."));
      const number = ++this.numbers;
      this.live.set(number, { resolve, reject });
      send(toLong(number));
    });
  }

  /** A durable command: resolves with its effects once they are on disk. One at a time. */
  act(payload: unknown): Promise<unknown> {
    if (this.durable) return Promise.reject(new Refused("busy", "One thing after the other."));
    return new Promise((resolve, reject) => {
      const bytes = new TextEncoder().encode(JSON.stringify(payload));
      const sequence = this.sequence + 1;
      this.durable = { sequence, sent: false, payload: bytes, resolve, reject };
      this.repeatMs = RETRY_FIRST_MS;
      this.sendDurable();
    });
  }

  /** A live command. */
  actLive(payload: unknown): Promise<unknown> {
    const bytes = new TextEncoder().encode(JSON.stringify(payload));
    return this.ask((number) => this.send({ act: { number, payload: bytes } }));
  }
}

function toTrajectory(path: Path | null | undefined): Trajectory {
  const flat = path?.waypoints ?? [];
  const waypoints = [];
  for (let index = 0; index + 1 < flat.length; index += 2) {
    waypoints.push({ x: flat[index]!, y: flat[index + 1]! });
  }
  const start = { x: path?.x ?? 0, y: path?.y ?? 0 };
  return new Trajectory(toNumber(path?.startMs), start, path?.speed ?? 0, waypoints);
}

function parse(bytes: Uint8Array | null | undefined): unknown {
  return bytes && bytes.length > 0 ? JSON.parse(new TextDecoder().decode(bytes)) : {};
}
