// What stands before a server in production: one port for everything, compressed, with the headers of a careful server.
import { createServer, request } from "node:http";
import { connect } from "node:net";
import { createGzip } from "node:zlib";

/** The page has to work under this policy. */
export const POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "connect-src 'self' ws: wss:",
  "img-src 'self' data: blob:",
  "worker-src 'self' blob:",
  "frame-ancestors 'none'",
].join("; ");

/**
 * Passes HTTP on to `origin`, and WebSockets at `/ws/NODE` on to the nodes, which `/nodes` then names by these paths.
 * `answer(path)` may give another answer: a status and a body.
 */
export async function openFront(origin) {
  const front = { origin: new URL(origin), answer: () => undefined, asked: [] };
  const doors = async () => (await (await fetch(new URL("/nodes", front.origin))).json()).nodes;
  const server = createServer(async (req, res) => {
    const path = new URL(req.url, "http://front").pathname;
    front.asked.push({ path, at: Date.now() });
    const answer = front.answer(path);
    if (answer) return res.writeHead(answer.status, { "Content-Type": "text/plain" }).end(answer.body ?? "");
    try {
      if (path === "/nodes") {
        const nodes = (await doors()).map(({ id }) => ({ id, ws: `/ws/${id}` }));
        return res.writeHead(200, { "Content-Type": "application/json" }).end(JSON.stringify({ nodes }));
      }
    } catch {
      return res.writeHead(502).end();
    }
    const { hostname, port } = front.origin;
    const headers = { host: front.origin.host, "accept-encoding": req.headers["accept-encoding"] ?? "identity" };
    const onward = request({ hostname, port, path: req.url, headers }, (answered) => {
      const headers = { ...answered.headers, "content-security-policy": POLICY, "x-content-type-options": "nosniff" };
      if (headers["content-encoding"]) return res.writeHead(answered.statusCode, headers), answered.pipe(res);
      delete headers["content-length"];
      res.writeHead(answered.statusCode, { ...headers, "content-encoding": "gzip" });
      answered.pipe(createGzip()).pipe(res);
    });
    onward.on("error", () => res.writeHead(502).end());
    onward.end();
  });
  server.on("upgrade", async (req, near, head) => {
    near.on("error", () => near.destroy());
    try {
      const id = Number(req.url.split("/").pop());
      const url = new URL((await doors()).find((door) => door.id === id).ws, front.origin);
      const far = connect(Number(url.port), url.hostname, () => {
        const lines = [`GET ${url.pathname} HTTP/1.1`, `Host: ${url.host}`, `Origin: http://${url.host}`];
        for (const name of ["upgrade", "connection", "sec-websocket-key", "sec-websocket-version"]) lines.push(`${name}: ${req.headers[name]}`);
        far.write(`${lines.join("\r\n")}\r\n\r\n`);
        far.write(head);
        near.pipe(far).pipe(near);
      });
      far.on("error", () => near.destroy());
      far.on("close", () => near.destroy());
      near.on("close", () => far.destroy());
    } catch {
      near.destroy();
    }
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  front.port = server.address().port;
  front.url = `http://127.0.0.1:${front.port}`;
  front.close = () => new Promise((resolve) => (server.closeAllConnections(), server.close(resolve)));
  return front;
}
