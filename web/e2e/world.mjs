// What end-to-end tests share: worlds, a browser, patience.
import { spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";

const root = fileURLToPath(new URL("../..", import.meta.url));
const binary = process.env.PELAGO_BIN ?? join(root, "target/debug/pelago");
const browserPath = process.env.CHROMIUM ?? "/usr/bin/chromium";
/** Where pictures of what was seen are put. */
export const shots = join(root, "target/e2e");
mkdirSync(shots, { recursive: true });

/** A server with these arguments. `again` starts it once more with the same data, on other ports. */
export async function startWorld(...options) {
  const data = mkdtempSync(join(tmpdir(), "pelago-e2e-"));
  const world = { data };
  let server, exited;
  world.again = async () => {
    server = spawn(binary, ["dev", "--data", data, "--http", "127.0.0.1:0", "--json", ...options], {
      stdio: ["ignore", "pipe", "inherit"],
      env: { ...process.env, PELAGO_LOG: "warn" },
    });
    exited = new Promise((resolve) => server.once("exit", (code, signal) => resolve(signal ?? code)));
    const [line] = await once(createInterface({ input: server.stdout }), "line", 60_000);
    Object.assign(world, JSON.parse(line));
  };
  world.kill = async () => (server.kill("SIGKILL"), await exited);
  world.stop = async () => {
    server.kill("SIGINT");
    const end = await exited;
    rmSync(data, { recursive: true, force: true });
    assert(end === 0, `the server ended with ${end}`);
  };
  await world.again();
  return world;
}

export function launch() {
  return chromium.launch({
    executablePath: browserPath,
    args: [
      "--no-sandbox",
      "--use-angle=swiftshader",
      "--enable-unsafe-swiftshader",
      "--disable-quic",
      "--no-first-run",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
      "--disable-background-timer-throttling",
      "--disable-renderer-backgrounding",
      "--disable-backgrounding-occluded-windows",
    ],
  });
}

export async function check(what, test, ms = 30_000) {
  if (!(await until(ms, test))) throw new Error(`not so: ${what}`);
  console.log(`so: ${what}`);
}

export async function until(ms, test) {
  const end = Date.now() + ms;
  while (Date.now() < end) {
    if (await test()) return true;
    await pause(50);
  }
  return false;
}

export function pause(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

function once(emitter, event, ms) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`no ${event} within ${ms} ms`)), ms);
    emitter.once(event, (...values) => {
      clearTimeout(timer);
      resolve(values);
    });
  });
}

export function assert(condition, text) {
  if (!condition) throw new Error(text);
}
