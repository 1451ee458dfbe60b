import { bytesToHex } from "@noble/hashes/utils.js";
import type Long from "long";
import { WorldClock } from "./clock";
import { Refused, type Addresses, type Events } from "./events";
import { pelago } from "./generated.js";
import { Lines } from "./lines";
import { Liveness } from "./liveness";
import { closing, fault, refusal, type Loss } from "./losses";
import { toId, toLong, toNumber } from "./numbers";
import { toTrajectory } from "./path";
import { Pause } from "./retry";
import { Deframer, frame, Kind } from "./stream";
import { Trajectory, type Point } from "./trajectory";
import { islandTime, View, type Change, type IslandClock } from "./view";

const { ClientMessage, ServerMessage, ChatChannel } = pelago.client.v1;
type ServerMessage = pelago.client.v1.ServerMessage;

interface Waiting {
  resolve(effects: unknown): void;
  reject(error: Error): void;
}

/** How long opening a connection may take, in ms. */
const DIAL_TIMEOUT_MS = 10_000;
/** How long a node may take to answer a hello, in ms. */
const WELCOME_TIMEOUT_MS = 20_000;
/** How long a node may take to answer a live command or a line, in ms. */
const ANSWER_TIMEOUT_MS = 10_000;
/** A client that may have the time wrong pings this long after the last ping: nodes answer two in a second. */
const PING_SOON_MS = 500;

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
  bytes = 0;
  /** Where it connected last. */
  url = "";
  private socket?: WebSocket;
  private clock: IslandClock = { worldMs: 0, islandMs: 0, speedPermille: 1000 };
  private readonly worldClock = new WorldClock();
  private pinged = 0;
  private sequence = 0;
  /** A command that was sent keeps its number until it is answered. */
  private durable?: { sequence: number; payload: Uint8Array; sent: boolean } & Waiting;
  private playing = false;
  private repeating?: ReturnType<typeof setTimeout>;
  private readonly repeatPause = new Pause();
  private readonly live = new Map<number, Waiting>();
  private numbers = 0;
  private readonly lines = new Lines();
  /** Lines of one player are said in order, one after the other. */
  private speaking: Promise<unknown> = Promise.resolve();
  private moves = 0;
  /** Counts attempts: what an earlier one still says is ignored. */
  private attempt = 0;
  /** Since a connection has proved itself. */
  private failures = 0;
  /** The connection has answered a ping. */
  private proved = false;
  private readonly retryPause = new Pause();
  private phase: "idle" | "connecting" | "playing" | "pausing" | "over" = "idle";
  /** The one timer of the connection: the end of an attempt's time, the next ping, or the next attempt. */
  private timer?: ReturnType<typeof setTimeout>;
  private liveness?: Liveness;

  constructor(
    private readonly addresses: Addresses,
    private readonly name: string,
    /** 16 to 64 random bytes that the name is bound to at its first login: see `randomToken`. */
    private readonly token: Uint8Array,
    private readonly events: Events,
  ) {}

  /** World time, estimated from round trips. */
  now(): number {
    return this.worldClock.at(performance.now());
  }

  /** The fastest round trip of late; `Infinity` before the first. */
  get roundTripMs(): number {
    return this.worldClock.roundTripMs;
  }

  islandNow(): number {
    return islandTime(this.clock, this.now());
  }

  /** Begins. */
  connect(): void {
    if (this.phase === "idle") void this.dial();
  }

  /** Does at once what it waits with: another attempt, or a look whether the line still lives. */
  hurry(): void {
    if (this.phase === "pausing") void this.dial();
    else if (this.phase === "playing") this.beat();
  }

  /** Makes another attempt, also after a final loss. */
  again(): void {
    if (this.phase === "over") void this.dial();
    else this.hurry();
  }

  /** Leaves for good. */
  leave(): void {
    this.send({ bye: {} });
    this.lose(fault("left", "You have left."));
  }

  /** Whether the avatar is in the world, as far as the session knows. */
  get isPlaying(): boolean {
    return this.playing;
  }

  /** Whether no attempt is made any more, unless it is asked for. */
  get isOver(): boolean {
    return this.phase === "over";
  }

  private async dial(): Promise<void> {
    const attempt = ++this.attempt;
    this.phase = "connecting";
    this.events.connecting();
    this.after(DIAL_TIMEOUT_MS, () => this.lose(fault("unreachable", "The server cannot be reached.")));
    let url: string;
    try {
      url = await this.addresses.next(this.failures);
    } catch {
      if (attempt === this.attempt) this.lose(fault("unreachable", "The server cannot be reached."));
      return;
    }
    if (attempt !== this.attempt) return;
    this.url = url;
    this.after(DIAL_TIMEOUT_MS, () => this.lose(fault("unreachable", "The server cannot be reached.")));
    try {
      this.open(new WebSocket(url));
    } catch (error) {
      console.error(error);
      this.lose(fault("unreachable", "The server cannot be reached."));
    }
  }

  private open(socket: WebSocket): void {
    socket.binaryType = "arraybuffer";
    this.socket = socket;
    const deframer = new Deframer();
    let opened = false;
    socket.onopen = () => {
      opened = true;
      this.after(WELCOME_TIMEOUT_MS, () => this.lose(fault("no_answer", "The server does not answer.")));
      this.send({ hello: { oldestVersion: 1, newestVersion: 1, name: this.name, token: this.token, client: "pelago-web" } });
    };
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
        this.lose(fault("malformed", "The server says what this page does not understand."));
      }
      if (changes.length > 0) this.events.changed(changes);
      // Timers of a page that is not looked at are late; messages are not.
      if (this.playing) this.beat();
    };
    socket.onclose = () => {
      this.lose(opened ? fault("lost", "The connection was lost.") : fault("unreachable", "The server cannot be reached."));
    };
  }

  /** There is no session any more. What was asked of it alone is answered; what outlives it waits for the next one. */
  private lose(loss: Loss): void {
    if (this.phase === "over" || (this.phase === "pausing" && !loss.final)) return;
    this.attempt++;
    if (!this.proved) this.failures++;
    this.proved = false;
    if (this.playing) {
      // Nobody would learn of a way that is walked now.
      this.path = this.path.turned(Math.max(Math.floor(this.islandNow()), this.path.startTime), 0, []);
    }
    this.playing = false;
    this.liveness = undefined;
    const socket = this.socket;
    this.socket = undefined;
    if (socket) {
      // What it still says is said to nobody.
      socket.onopen = socket.onclose = socket.onmessage = null;
      socket.close();
    }
    clearTimeout(this.repeating);
    for (const waiting of this.live.values()) waiting.reject(new Refused("unavailable", loss.sentence));
    this.live.clear();
    if (loss.final) {
      this.phase = "over";
      clearTimeout(this.timer);
      this.durable?.reject(new Refused(loss.code, loss.sentence));
      this.durable = undefined;
      this.events.lost(loss, 0);
      return;
    }
    this.phase = "pausing";
    const retryInMs = this.retryPause.next();
    this.after(retryInMs, () => void this.dial());
    this.events.lost(loss, retryInMs);
  }

  private after(ms: number, then: () => void): void {
    clearTimeout(this.timer);
    this.timer = setTimeout(then, ms);
  }

  /** Pings the node, or gives up a line that is silent. */
  private beat(): void {
    const now = performance.now();
    const due = this.liveness?.wake(now);
    if (due === "lost") return this.lose(fault("silent", "The server does not answer."));
    if (due === "ping") this.ping();
    if (this.liveness) this.after(Math.max(0, this.liveness.nextWake() - now), () => this.beat());
  }

  private send(message: pelago.client.v1.IClientMessage): void {
    if (this.socket?.readyState === WebSocket.OPEN) {
      this.socket.send(frame(Kind.control, ClientMessage.encode(message).finish()));
    }
  }

  private control(message: ServerMessage): void {
    const { welcome, outcome, moveRefused, pong, refused, closing: closed, notice, chatLine } = message;
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
      this.phase = "playing";
      this.liveness = new Liveness(performance.now());
      this.avatar = toId(welcome.avatar);
      this.node = welcome.node ?? 0;
      this.manifest = bytesToHex(welcome.manifest ?? new Uint8Array());
      this.content = bytesToHex(welcome.content ?? new Uint8Array());
      this.state = parse(welcome.state);
      this.island = toId(welcome.island);
      this.view = new View(this.island, this.clock, toNumber(welcome.tick));
      this.path = toTrajectory(welcome.path);
      this.worldClock.begin(performance.now(), toNumber(welcome.worldTimeMs));
      this.sequence = toNumber(welcome.sequence);
      this.resume();
      this.ping();
      this.beat();
      this.events.welcomed();
    } else if (outcome) {
      const sequence = toNumber(outcome.sequence);
      const number = toNumber(outcome.number);
      const waiting = sequence > 0 ? this.durable : this.live.get(number);
      if (!waiting || (sequence > 0 && this.durable?.sequence !== sequence)) return;
      if (sequence > 0 && outcome.code === "unavailable") {
        // Only the very same command under the same number tells whether it happened.
        clearTimeout(this.repeating);
        this.repeating = setTimeout(() => this.sendDurable(), this.repeatPause.next());
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
        this.lose(fault("out_of_step", "The connection is renewed."));
      }
    } else if (moveRefused) {
      this.path = toTrajectory(moveRefused.path);
      const isOfAnotherTime = moveRefused.code === "early" || moveRefused.code === "late";
      if (isOfAnotherTime && performance.now() - this.pinged >= PING_SOON_MS) this.ping();
      this.events.moveRefused(moveRefused.code ?? "");
    } else if (pong) {
      this.liveness?.pong(performance.now());
      this.proved = true;
      this.retryPause.reset();
      this.failures = 0;
      this.worldClock.pong(performance.now(), toNumber(pong.clientMs), toNumber(pong.worldTimeMs));
    } else if (refused) {
      this.lose(refusal(refused.code ?? "", refused.sentence ?? ""));
    } else if (closed) {
      this.lose(closing(closed.code ?? "", closed.sentence ?? ""));
    } else if (notice) {
      this.events.noticed(parse(notice.payload));
    } else if (chatLine) {
      const line = this.lines.take(this.island, chatLine);
      if (line) this.events.line(line);
      // Also of one that came again: the node has not heard that it was shown.
      if (chatLine.channel === ChatChannel.CHAT_WHISPER) this.send({ heard: { number: toLong(this.lines.lastWhisper) } });
    }
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

  private ping(): void {
    this.pinged = performance.now();
    this.liveness?.ping(this.pinged);
    this.send({ ping: { clientMs: toLong(Math.round(performance.now())) } });
  }

  /** Walks through points; predicted at once. Returns whether there is a session that takes it. */
  move(speed: number, waypoints: readonly Point[]): boolean {
    if (!this.playing) return false;
    const now = Math.floor(this.now());
    const at = Math.max(Math.floor(islandTime(this.clock, now)), this.path.startTime);
    const whole = waypoints.map(({ x, y }) => ({ x: Math.round(x), y: Math.round(y) }));
    this.path = this.path.turned(at, speed, whole);
    this.moves++;
    this.send({
      move: { number: this.moves, atMs: toLong(now), speed, waypoints: whole.flatMap(({ x, y }) => [x, y]) },
    });
    return true;
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
      if (!this.playing) return reject(new Refused("unavailable", "There is no connection."));
      const number = ++this.numbers;
      const timer = setTimeout(() => {
        this.live.delete(number);
        reject(new Refused("unavailable", "The server has not answered."));
      }, ANSWER_TIMEOUT_MS);
      const answered = <T>(then: (value: T) => void) => (value: T) => (clearTimeout(timer), then(value));
      this.live.set(number, { resolve: answered(resolve), reject: answered(reject) });
      send(toLong(number));
    });
  }

  /** A durable command: resolves with its effects once they are on disk. One at a time. */
  act(payload: unknown): Promise<unknown> {
    if (this.phase === "over") return Promise.reject(new Refused("unavailable", "There is no connection."));
    if (this.durable) return Promise.reject(new Refused("busy", "One thing after the other."));
    return new Promise((resolve, reject) => {
      const bytes = new TextEncoder().encode(JSON.stringify(payload));
      const sequence = this.sequence + 1;
      this.durable = { sequence, sent: false, payload: bytes, resolve, reject };
      this.repeatPause.reset();
      this.sendDurable();
    });
  }

  /** A live command. */
  actLive(payload: unknown): Promise<unknown> {
    const bytes = new TextEncoder().encode(JSON.stringify(payload));
    return this.ask((number) => this.send({ act: { number, payload: bytes } }));
  }
}

function parse(bytes: Uint8Array | null | undefined): unknown {
  return bytes && bytes.length > 0 ? JSON.parse(new TextDecoder().decode(bytes)) : {};
}
