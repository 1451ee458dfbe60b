// Content is fetched until it is there, and few pieces at a time.
import { blake3 } from "@noble/hashes/blake3.js";
import { bytesToHex } from "@noble/hashes/utils.js";
import { afterEach, describe, expect, it, vi } from "vitest";
import { Content } from "../src/sdk/content";

const piece = (number: number) => Uint8Array.of(number);
const hashOf = (bytes: Uint8Array) => bytesToHex(blake3(bytes));
const patience = { tries: 4, tryMs: 1000, random: () => 0.5, wait: () => Promise.resolve() };

afterEach(() => vi.unstubAllGlobals());

describe("content", () => {
  it("is asked for again after failures of every kind, and then kept", async () => {
    const wrong = () => new Response(piece(9));
    const answers = [() => Promise.reject(new Error("cut")), () => new Response("", { status: 503 }), wrong, () => new Response(piece(7))];
    const asked: string[] = [];
    vi.stubGlobal("fetch", (url: string) => (asked.push(url), Promise.resolve(answers[asked.length - 1]!())));
    const content = new Content("", patience);
    const hash = hashOf(piece(7));
    expect(await content.fetch(hash)).toEqual(piece(7));
    expect(await content.fetch(hash)).toEqual(piece(7));
    expect(asked).toEqual(Array(4).fill(`content/${hash}`));
  });

  it("that cannot be had is given up, and may be asked for anew", async () => {
    let asked = 0;
    vi.stubGlobal("fetch", () => Promise.resolve(new Response("", { status: ++asked > 4 ? 200 : 404 })));
    const content = new Content("", patience);
    const hash = hashOf(new Uint8Array());
    await expect(content.fetch(hash)).rejects.toThrow("404");
    expect(asked).toBe(4);
    expect(await content.fetch(hash)).toEqual(new Uint8Array());
  });

  it("is fetched a few pieces at a time, in the order in which it was asked for", async () => {
    const open: (() => void)[] = [];
    const asked: string[] = [];
    vi.stubGlobal("fetch", (url: string) => {
      asked.push(url);
      const number = pieces.findIndex((bytes) => url.endsWith(hashOf(bytes)));
      return new Promise((resolve) => open.push(() => resolve(new Response(pieces[number]))));
    });
    const pieces = [...Array(20).keys()].map(piece);
    const content = new Content("", patience);
    const all = Promise.all(pieces.map((bytes) => content.fetch(hashOf(bytes))));
    let most = 0;
    while (asked.length < 20 || open.length > 0) {
      most = Math.max(most, open.length);
      open.shift()?.();
      await new Promise((resolve) => setTimeout(resolve));
    }
    expect(await all).toEqual(pieces);
    expect(most).toBe(6);
    expect(asked).toEqual(pieces.map((bytes) => `content/${hashOf(bytes)}`));
  });
});
