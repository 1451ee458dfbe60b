// Two windows on different nodes of a real world: they see each other walk, speak and gather.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { assert, check, launch, shots, startWorld, until } from "./world.mjs";

const walkSeconds = Number(process.env.PELAGO_E2E_SECONDS ?? 60);
/** Two ticks. */
const MISSING_MS = 200;
const NEAR_M = 25;
const STEP_ERROR_M = 0.3;

// So small that there is company everywhere: newcomers of both nodes appear at the same place.
const world = await startWorld("--bots", "60", "--island-size", "8");
let browser;
let failed = false;
try {
  const { http, operators } = world;
  await check("the server is ready", async () => (await fetch(`${operators}/readyz`)).ok);
  browser = await launch();
  const [anna, bert] = await Promise.all([open(http, "Anna", 1), open(http, "Bert", 2)]);
  await play(anna, bert, operators);
  await secure();
} catch (error) {
  failed = true;
  console.error(error);
} finally {
  await browser?.close();
  await world.stop().catch((error) => {
    failed = true;
    console.error(error);
  });
}
process.exit(failed ? 1 : 0);

/** A world that speaks TLS only: the page comes by HTTPS and connects by wss, also under this machine's other name. */
async function secure() {
  const world = await startWorld("--store", "memory:", "--tls-self-made");
  try {
    const { http } = world;
    assert(http.startsWith("https://"), `the page is at ${http}`);
    const page = await open(http.replace("127.0.0.1", "localhost"), "Carla", 2, { ignoreHTTPSErrors: true });
    await check("a page by HTTPS is connected by wss", () =>
      page.evaluate(() => isSecureContext && window.pelago.url().startsWith("wss://localhost:")),
    );
  } finally {
    await world.stop();
  }
}

async function open(http, name, node, options = {}) {
  const context = await browser.newContext({ viewport: { width: 760, height: 480 }, ...options });
  const page = await context.newPage();
  page.on("pageerror", (error) => {
    failed = true;
    console.error(`${name}:`, error);
  });
  await page.goto(`${http}/?name=${name}&node=${node}`);
  await page.waitForFunction(() => window.pelago?.ready, undefined, { timeout: 60_000 });
  const self = await page.evaluate(() => window.pelago.self());
  assert(self.node === node, `${name} is on node ${self.node}`);
  console.log(`${name} is on node ${node} at ${self.x.toFixed(1)}, ${self.y.toFixed(1)}`);
  return page;
}

async function play(anna, bert, operators) {
  const sees = (page, name) => page.evaluate((name) => window.pelago.known().some((it) => it.name === name), name);
  await check("they see each other", async () => (await sees(anna, "Bert")) && (await sees(bert, "Anna")));

  await bert.evaluate(() => window.pelago.say("Hello, Anna!"));
  await check("Anna hears Bert", () => anna.evaluate(() => window.pelago.heard().some((it) => it.text === "Hello, Anna!")));

  await chat(anna, bert);

  const annasId = (await anna.evaluate(() => window.pelago.self())).id;
  await bert.evaluate((id) => window.pelago.wave(id), annasId);
  await check("both see Anna wave back", async () => {
    const stance = (page) => page.evaluate((id) => window.pelago.known().find((it) => it.id === id)?.stance, annasId);
    return (await stance(anna)) === 1 && (await stance(bert)) === 1;
  });
  await anna.screenshot({ path: join(shots, "meeting.png") });

  await grant(anna, operators);
  await gather(anna, bert);
  await walk(anna, bert);
  await bert.screenshot({ path: join(shots, "after-the-walk.png") });
}

/** Lines to the island and whispers pass between the nodes in both directions, each shown once. */
async function chat(anna, bert) {
  const count = (page, channel, text) =>
    page.evaluate(
      ({ channel, text }) => window.pelago.heard().filter((it) => it.channel === channel && it.text === text).length,
      { channel, text },
    );
  for (const [page, name] of [[anna, "Anna"], [bert, "Bert"]]) {
    const text = `${name} to everybody <b>`;
    const code = await page.evaluate((text) => window.pelago.sayIsland(text), text);
    assert(code === "", `speaking to the island was answered ${code}`);
    await check(`both are shown what ${name} said to the island, once`, async () => {
      return (await count(anna, "island", text)) === 1 && (await count(bert, "island", text)) === 1;
    });
  }
  for (const [from, to, name] of [[anna, bert, "Bert"], [bert, anna, "Anna"]]) {
    const code = await from.evaluate((name) => window.pelago.whisper(name, `psst, ${name}`), name);
    assert(code === "", `a whisper was answered ${code}`);
    await check(`${name} hears a whisper, and nobody else does`, async () => {
      return (await count(to, "whisper", `psst, ${name}`)) === 1 && (await count(from, "whisper", `psst, ${name}`)) === 0;
    });
  }
  const code = await anna.evaluate(() => window.pelago.whisper("Nobody at all", "psst"));
  assert(code === "unknown_name", `a whisper to nobody was answered ${code}`);
  const log = await bert.evaluate(() => [...document.querySelectorAll("#log li")].map((it) => `${it.className} ${it.textContent}`));
  assert(log.includes("island Anna: Anna to everybody <b>"), `the log shows ${JSON.stringify(log)}`);
  assert(log.includes("whisper Anna whispers: psst, Bert"), `the log shows ${JSON.stringify(log)}`);
}

/** The admin token, which the server keeps with its world. */
function token() {
  return readFileSync(join(world.data, "admin-token"), "utf8").trim();
}

/** An operator grants Anna berries, twice with one key; her page shows them once. */
async function grant(anna, operators) {
  const before = await anna.evaluate(() => window.pelago.inventory().berry ?? 0);
  const body = JSON.stringify({ key: "mail/1", name: "Anna", what: { items: { berry: 3 } }, reason: "a welcome" });
  for (let time = 0; time < 2; time++) {
    const headers = { "Content-Type": "application/json", Authorization: `Bearer ${token()}` };
    const answer = await fetch(`${operators}/api/v1/grants`, { method: "POST", headers, body });
    assert(answer.status === 200, `the grant was answered ${answer.status}`);
  }
  await check("Anna is told of a grant, once", () =>
    anna.evaluate(
      (before) => window.pelago.inventory().berry === before + 3 && window.pelago.toast() === "You were given 3 berry.",
      before,
    ),
  );
}

/** Anna gathers from the nearest bush that she can reach; Bert sees it. */
async function gather(anna, bert) {
  const bushes = await anna.evaluate(() => {
    const self = window.pelago.self();
    const far = (it) => Math.hypot(it.x - self.x, it.y - self.y);
    return window.pelago.naturals().filter((it) => it.kind === 1).sort((a, b) => far(a) - far(b)).slice(0, 8);
  });
  assert(bushes.length > 0, "there is no bush");
  for (const bush of bushes) {
    await anna.evaluate((bush) => {
      const self = window.pelago.self();
      const share = 1 - 1.5 / Math.hypot(bush.x - self.x, bush.y - self.y);
      window.pelago.moveTo(self.x + (bush.x - self.x) * share, self.y + (bush.y - self.y) * share);
    }, bush);
    const arrived = await until(8000, () =>
      anna.evaluate((bush) => {
        const self = window.pelago.self();
        return Math.hypot(bush.x - self.x, bush.y - self.y) < 2;
      }, bush),
    );
    if (!arrived) continue;
    const effects = await anna.evaluate(({ cx, cy, slot }) => window.pelago.gather(cx, cy, slot), bush);
    assert(effects?.item === "berry", `gathering gave ${JSON.stringify(effects)}`);
    assert((await anna.evaluate(() => window.pelago.inventory().berry)) >= 1, "Anna holds no berry");
    const stock = (page) =>
      page.evaluate(
        (bush) => window.pelago.naturals().find((it) => it.cx === bush.cx && it.cy === bush.cy && it.slot === bush.slot)?.stock,
        bush,
      );
    await check("both see that a berry is gone", async () => (await stock(anna)) < 5 && (await stock(bert)) < 5);
    return;
  }
  throw new Error("Anna reached no bush");
}

/** Bert walks to and fro across chunk borders; both note what they know and draw. */
async function walk(anna, bert) {
  const home = await bert.evaluate(() => window.pelago.self());
  const record = (page) =>
    page.evaluate(() => {
      const log = [];
      window.pelagoLog = log;
      setInterval(() => {
        const known = window.pelago.known();
        log.push({ at: Date.now(), self: window.pelago.self(), known: known.map(({ id, x, y }) => ({ id, x, y })) });
      }, 50);
    });
  await Promise.all([record(anna), record(bert)]);
  const end = Date.now() + walkSeconds * 1000;
  let crossings = 0;
  for (let leg = 0; Date.now() < end; leg++) {
    // Eight directions in turn, so that borders are crossed on all sides.
    const angle = (leg * 3 * Math.PI) / 4;
    const reach = leg % 2 === 0 ? 14 : 0;
    const before = await bert.evaluate(() => window.pelago.self());
    await bert.evaluate(({ x, y }) => window.pelago.moveTo(x, y), {
      x: home.x + Math.cos(angle) * reach,
      y: home.y + Math.sin(angle) * reach,
    });
    await new Promise((resolve) => setTimeout(resolve, 3600));
    const after = await bert.evaluate(() => window.pelago.self());
    const chunk = ({ x, y }) => `${Math.floor(x / 30)},${Math.floor(y / 30)}`;
    if (chunk(before) !== chunk(after)) crossings++;
  }
  const [annas, berts] = await Promise.all([anna, bert].map((page) => page.evaluate(() => window.pelagoLog)));
  const missing = Math.max(longestMissing(annas, berts), longestMissing(berts, annas));
  const stats = await Promise.all([anna, bert].map((page) => page.evaluate(() => window.pelago.stats())));
  const step = Math.max(...stats.map((it) => it.maxStepError_m));
  console.log(`${crossings} crossings, missing at most ${missing} ms, step error at most ${step.toFixed(3)} m`);
  console.log("frames drawn:", stats.map((it) => it.frames).join(", "), "gaps:", stats.map((it) => it.gaps).join(", "));
  assert(crossings >= walkSeconds / 12, "too few borders were crossed to prove anything");
  assert(missing <= MISSING_MS, `an entity within ${NEAR_M} m was missing for ${missing} ms`);
  assert(step <= STEP_ERROR_M, `a rendered step was off by ${step} m`);
  assert(stats.every((it) => it.gaps === 0), "there were gaps");
  assert(stats.every((it) => it.frames > walkSeconds * 3), "too few frames were drawn to prove anything");
}

/** The longest time for which one window did not know somebody near, whom the other window knew. */
function longestMissing(mine, others) {
  let longest = 0;
  const since = new Map();
  let index = 0;
  for (const { at, self, known } of mine) {
    while (index + 1 < others.length && others[index + 1].at <= at) index++;
    const other = others[index];
    if (!other || Math.abs(other.at - at) > 200) {
      since.clear();
      continue;
    }
    const here = new Set(known.map((it) => it.id));
    const near = [...other.known, other.self].filter((it) => Math.hypot(it.x - self.x, it.y - self.y) < NEAR_M);
    const absent = new Set(near.filter((it) => !here.has(it.id)).map((it) => it.id));
    for (const id of since.keys()) if (!absent.has(id)) since.delete(id);
    for (const id of absent) {
      if (!since.has(id)) since.set(id, at);
      longest = Math.max(longest, at - since.get(id));
    }
  }
  return longest;
}
