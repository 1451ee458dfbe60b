import Long from "long";
import { describe, expect, it } from "vitest";
import { Lines } from "../src/sdk/lines";
import { Malformed, Reader } from "../src/sdk/reader";
import { decodeRecords } from "../src/sdk/records";
import { Deframer, frame } from "../src/sdk/stream";
import { Trajectory } from "../src/sdk/trajectory";
import { View } from "../src/sdk/view";

const bytes = (hex: string) => Uint8Array.from(hex.match(/../g) ?? [], (pair) => parseInt(pair, 16));
const HOME = "0000100000000001";
const base = { t0: 1000, corner: { x: 1920, y: 0 }, world: "00001" };
/** enter: slot 5, id 1 of no world, epoch 2, kind 0, name "Bo", at t0 - 10, at corner + (10, 20), speed 128, one leg of (640, 0). */
const ENTER = "6005" + "0100000000000000" + "0200" + "02426f" + "13" + "1428" + "8110" + "800a00";

describe("varints", () => {
  it("are read in their shortest form only", () => {
    expect(new Reader(bytes("ac02")).varint()).toBe(300);
    expect(new Reader(bytes("03")).svarint()).toBe(-2);
    expect(() => new Reader(bytes("8000")).varint()).toThrow(Malformed);
    expect(() => new Reader(bytes("80")).varint()).toThrow(Malformed);
  });
});

describe("the stream", () => {
  it("gives whole messages however it is cut", () => {
    const stream = [...frame(1, bytes("0102")), ...frame(3, new Uint8Array(300))];
    const deframer = new Deframer();
    const found = stream.flatMap((byte) => deframer.push(Uint8Array.of(byte)));
    expect(found.map(({ kind, payload }) => [kind, payload.length])).toEqual([[1, 2], [3, 300]]);
  });
});

describe("lines", () => {
  const line = (channel: number, number: number) => ({
    channel,
    number: Long.fromNumber(number),
    avatar: Long.ONE,
    name: "Bo",
    text: "ahoy",
  });

  it("are shown once, whatever a later connection brings again", () => {
    const lines = new Lines();
    expect(lines.take(HOME, line(1, 5))).toMatchObject({ channel: "island", number: 5, avatar: "0000000000000001" });
    expect(lines.take(HOME, line(1, 5))).toBeUndefined();
    expect(lines.take(HOME, line(1, 4))).toBeUndefined();
    expect(lines.take(HOME, line(2, 1))).toMatchObject({ channel: "whisper", number: 1 });
    expect(lines.take(HOME, line(2, 1))).toBeUndefined();
    expect(lines.lastWhisper).toBe(1);
    // Another island counts anew, whispers do not.
    expect(lines.take("0000100000000002", line(1, 1))).toMatchObject({ number: 1 });
    expect(lines.take("0000100000000002", line(2, 1))).toBeUndefined();
    expect(lines.take(HOME, line(7, 9))).toBeUndefined();
  });
});

describe("records", () => {
  it("bring an entity with its path", () => {
    const [record] = decodeRecords(bytes(ENTER), base);
    expect(record).toMatchObject({ kind: "enter", slot: 5, id: "0000000000000001", epoch: 2, name: "Bo" });
    const { trajectory } = record as { trajectory: Trajectory };
    expect(trajectory.positionAt(990)).toEqual({ x: 1930, y: 20 });
    expect(trajectory.positionAt(990 + 2500)).toEqual({ x: 2250, y: 20 });
  });

  it("name those of the island's world by their serial", () => {
    const id = (serial: string) => decodeRecords(bytes("8005" + serial + "0200" + "000000"), base)[0];
    expect(id("ac02")).toMatchObject({ id: "000010000000012c" });
    expect(id("ffffffffffff03")).toMatchObject({ id: "00001fffffffffff" });
    expect(() => id("80808080808004")).toThrow(Malformed);
  });

  it("are malformed beyond the page", () => {
    for (const hex of ["03", "0a00", "4405"]) expect(() => decodeRecords(bytes(hex), base)).toThrow(Malformed);
    expect(decodeRecords(bytes("0c02ffff"), base)).toEqual([]);
  });
});

describe("trajectories", () => {
  it("are evaluated in whole units", () => {
    const walk = new Trajectory(1000, { x: 0, y: 0 }, 128, [{ x: 640, y: 0 }, { x: 640, y: -100 }]);
    expect(walk.endTime).toBe(1000 + 5781);
    expect(walk.positionAt(3500)).toEqual({ x: 320, y: 0 });
    expect(walk.positionAt(6400)).toEqual({ x: 640, y: -51 });
    expect(walk.positionAt(9000)).toEqual({ x: 640, y: -100 });
  });
});

describe("the view", () => {
  const clock = { worldMs: 0, islandMs: 0, speedPermille: 1000 };
  const snapshot = (alias: string, x: string, records: string) => bytes(alias + "00" + x + "00" + "01" + "0a" + "a0" + records);

  it("lets an entity walk from channel to channel", () => {
    const view = new View(HOME, clock, 10);
    view.receive(3, snapshot("00", "02", ENTER), []);
    view.receive(3, snapshot("01", "04", ""), []);
    expect(view.seen().size).toBe(1);
    // Frames of tick 11: it arrives in the second channel; then the first is closed.
    view.receive(2, bytes("01" + "01" + "03" + "b1" + "6205"), []);
    view.receive(4, bytes("00"), []);
    expect(view.seen().size).toBe(1);
    expect(view.gaps).toBe(0);
    view.receive(2, bytes("01" + "01" + "03" + "c2" + "0105"), []);
    expect(view.seen().size).toBe(0);
  });

  it("takes the world of those it names from the island of their stream", () => {
    const view = new View(HOME, clock, 10);
    const native = "8005" + "07" + "0200" + "000000";
    view.receive(3, snapshot("00", "02", native), []);
    // The same records on an island of world 2.
    view.receive(3, bytes("01" + "04" + "0200" + "0900000000200000" + "02" + "0a" + "a0" + native), []);
    expect([...view.seen().keys()]).toEqual(["0000100000000007", "0000200000000007"]);
  });

  it("counts a gap", () => {
    const view = new View(HOME, clock, 10);
    view.receive(3, snapshot("00", "02", ENTER), []);
    view.receive(2, bytes("01" + "00" + "04" + "b3" + "050501"), []);
    expect(view.gaps).toBe(1);
    expect(view.seen().get("0000000000000001")?.stance).toBe(1);
  });
});
