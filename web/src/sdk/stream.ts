import { Malformed, Reader } from "./reader";

/** The kinds of messages. */
export const Kind = { control: 1, frames: 2, snapshot: 3, close: 4 } as const;

/** Kinds from here on are of one frame, so many ticks after the last. */
const ONE_FRAME = 64;
/** Kinds from here on are of any number of frames. */
const MANY_FRAMES = 128;

/** Whether messages of this kind bring frames. */
export function isFrames(kind: number): boolean {
  return kind === Kind.frames || kind >= ONE_FRAME;
}

/** How many ticks after the last one, and each frame's alias and body. */
export function decodeFrames(
  kind: number,
  payload: Uint8Array,
): { delta: number; frames: { alias: number; body: Uint8Array }[] } {
  const reader = new Reader(payload);
  if (kind >= ONE_FRAME && kind < MANY_FRAMES) {
    const frame = { alias: reader.varint(), body: reader.rest() };
    return { delta: kind - ONE_FRAME, frames: [frame] };
  }
  const delta = kind >= MANY_FRAMES ? kind - MANY_FRAMES : reader.varint();
  const frames = [];
  while (!reader.isEmpty) frames.push({ alias: reader.varint(), body: reader.slice(reader.varint()) });
  return { delta, frames };
}

/** Takes bytes as they come and gives whole messages. */
export class Deframer {
  private buffer = new Uint8Array(0);

  push(bytes: Uint8Array): { kind: number; payload: Uint8Array }[] {
    const joined = new Uint8Array(this.buffer.length + bytes.length);
    joined.set(this.buffer);
    joined.set(bytes, this.buffer.length);
    const messages = [];
    let at = 0;
    for (;;) {
      let length = 0;
      let header = 0;
      let complete = false;
      while (at + header < joined.length && header < 5) {
        const byte = joined[at + header]!;
        length += (byte & 0x7f) * 2 ** (7 * header);
        header++;
        if (byte < 0x80) {
          complete = true;
          break;
        }
      }
      if (complete && (length === 0 || length > 1 << 20)) throw new Malformed("a message's length");
      if (!complete && header === 5) throw new Malformed("a message's length");
      if (!complete || at + header + length > joined.length) break;
      const start = at + header;
      messages.push({ kind: joined[start]!, payload: joined.slice(start + 1, start + length) });
      at = start + length;
    }
    this.buffer = joined.slice(at);
    return messages;
  }
}

/** A whole message. */
export function frame(kind: number, payload: Uint8Array): Uint8Array<ArrayBuffer> {
  const header = [];
  let length = payload.length + 1;
  while (length >= 0x80) {
    header.push((length & 0x7f) | 0x80);
    length = Math.floor(length / 128);
  }
  header.push(length, kind);
  const bytes = new Uint8Array(header.length + payload.length);
  bytes.set(header);
  bytes.set(payload, header.length);
  return bytes;
}
