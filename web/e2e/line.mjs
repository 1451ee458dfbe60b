// A line between a browser and a server that tests can make slow, silent or broken: a TCP proxy.
import { connect, createServer } from "node:net";

/** How much of one connection is on the line at once, in bytes: as much as TCP would send ahead. */
const AHEAD = 32 * 1024;
const SLICE = 1460;

/** A line to `target` (a port of this machine): `bytesPerSecond` each way for all connections together, `delayMs` one way. */
export async function openLine(target, { bytesPerSecond = Infinity, delayMs = 0 } = {}) {
  const pairs = new Set();
  const free = { up: 0, down: 0 };
  const line = { target, frozen: false, deaf: false, connections: 0 };

  const carry = (from, to, direction) => {
    let ahead = 0;
    // The handshake of a connection costs it a way there and back.
    let ready = direction === "up" ? performance.now() + 2 * delayMs : 0;
    from.on("data", (data) => {
      for (let at = 0; at < data.length; at += SLICE) {
        const slice = data.subarray(at, at + SLICE);
        const begin = Math.max(performance.now(), free[direction], ready);
        ready = begin;
        free[direction] = begin + (slice.length / bytesPerSecond) * 1000;
        ahead += slice.length;
        setTimeout(() => {
          ahead -= slice.length;
          if (!line.frozen && !(line.deaf && direction === "up") && !to.destroyed) to.write(slice);
          if (ahead < AHEAD && !line.frozen) from.resume();
        }, free[direction] + delayMs - performance.now());
      }
      if (ahead >= AHEAD) from.pause();
    });
    from.on("end", () => setTimeout(() => to.destroyed || to.end(), Math.max(0, free[direction] + delayMs - performance.now())));
  };
  const server = createServer({ allowHalfOpen: true }, (near) => {
    line.connections++;
    const far = connect({ port: line.target, host: "127.0.0.1", allowHalfOpen: true });
    const pair = { near, far };
    pairs.add(pair);
    const drop = () => {
      pairs.delete(pair);
      near.destroy();
      far.destroy();
    };
    for (const socket of [near, far]) socket.setNoDelay(true).on("error", drop).on("close", () => setTimeout(drop, 2 * delayMs));
    carry(near, far, "up");
    carry(far, near, "down");
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  line.port = server.address().port;
  /** Nothing passes any more, and nobody is told. */
  line.freeze = () => (line.frozen = true);
  /** What is new passes again. */
  line.thaw = () => (line.frozen = false);
  /** Ends every connection. */
  line.cut = () => [...pairs].forEach(({ near, far }) => (near.destroy(), far.destroy()));
  line.close = () => (line.cut(), new Promise((resolve) => server.close(resolve)));
  return line;
}
