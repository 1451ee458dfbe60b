// Names that are taken, lines that die, servers that restart, pictures that are lost, keyboards without a mouse: what players
// see of that. All of it through one port and under the policy that a careful server sends. `node troubles.mjs NAME` runs one.
import { join } from "node:path";
import { openFront } from "./front.mjs";
import { openLine } from "./line.mjs";
import { assert, check, launch, pause, shots, startWorld, until } from "./world.mjs";

const DESK = { viewport: { width: 1000, height: 640 } };
const PHONE = { viewport: { width: 390, height: 760 }, hasTouch: true, isMobile: true };
/** A slow line: 50 KiB/s, 400 ms there and back. */
const SLOW = { bytesPerSecond: 50 * 1024, delayMs: 200 };
const SLOW_LINE_READY_MS = 120_000;

let failed = false;
const only = process.argv[2];
const world = await startWorld("--bots", "12");
const front = await openFront(world.http);
const browser = await launch();
try {
  for (const trouble of [names, utterances, secondWindow, keyboard, phone, littleMotion, noPicture, lostPicture, failedFetches, deadLine, slowLine, restart]) {
    if (only && only !== trouble.name) continue;
    console.log(`--- ${trouble.name}`);
    const contexts = [];
    try {
      await trouble(async (name, options = {}) => {
        const context = options.context ?? (await browser.newContext({ ...DESK, ...options }));
        contexts.push(context);
        return open(context, name, options);
      });
    } catch (error) {
      failed = true;
      console.error(`${trouble.name}:`, error);
      for (const [index, context] of contexts.entries()) {
        for (const page of context.pages()) await page.screenshot({ path: join(shots, `failed-${trouble.name}-${index}.png`) }).catch(() => {});
      }
    }
    for (const context of new Set(contexts)) await context.close();
    front.answer = () => undefined;
  }
} finally {
  await browser.close();
  await front.close();
  await world.stop().catch((error) => ((failed = true), console.error(error)));
}
process.exit(failed ? 1 : 0);

/** A window; with a name it plays. Whatever the policy forbids, and every error that nobody has caught, is a failure. */
async function open(context, name, { url = front.url, plays = true, node } = {}) {
  const page = await context.newPage();
  page.on("pageerror", (error) => ((failed = true), console.error(`${name}:`, error)));
  await page.addInitScript(() =>
    document.addEventListener("securitypolicyviolation", (event) =>
      setTimeout(() => { throw new Error(`forbidden by ${event.violatedDirective}: ${event.blockedURI}`); }),
    ),
  );
  const parameters = new URLSearchParams({ ...(name && { name }), ...(node && { node }) });
  await page.goto(`${url}/?${parameters}`);
  if (name && plays) await ready(page);
  return page;
}

async function ready(page, ms = 60_000) {
  await page.waitForFunction(() => window.pelago?.ready && window.pelago.isPlaying(), undefined, { timeout: ms });
}

/** A name that cannot be had leads back to the form, which says why and has the focus. */
async function names(visit) {
  await visit("Taken");
  const page = await visit("Taken", { plays: false });
  const form = () =>
    page.evaluate(() => ({
      shown: !document.getElementById("welcome").hidden,
      trouble: document.getElementById("name-trouble").textContent,
      focused: document.activeElement?.id,
      typed: document.getElementById("name").value,
      notice: document.getElementById("notice").hidden,
      infinity: document.body.innerText.includes("Infinity"),
    }));
  await check("a taken name leads back to the form", async () => {
    const { shown, trouble, focused, typed } = await form();
    return shown && trouble.includes("“Taken” belongs to somebody else") && focused === "name" && typed === "Taken";
  });
  await page.screenshot({ path: join(shots, "name-taken.png") });
  assert(!(await form()).infinity && (await form()).notice, "something else is shown as well");
  for (const [name, why] of [["名".repeat(17), "too long"], ["x".repeat(60), "too long"], ["  ", "type a name"]]) {
    await page.fill("#name", name);
    await page.keyboard.press("Enter");
    await check(`the form says of a bad name: ${why}`, async () => (await form()).trouble.includes(why) && (await form()).focused === "name");
  }
  await page.fill("#name", "Not taken");
  await page.keyboard.press("Enter");
  await ready(page);
  const long = await visit("y".repeat(60), { plays: false });
  await check("a name in the address that is too long leads to the form", () =>
    long.evaluate(() => document.getElementById("name-trouble").textContent.includes("too long") && document.activeElement.id === "name"),
  );
}

/** Of words that come too fast, each is either heard or told of; long words without a blank are wrapped. */
async function utterances(visit) {
  const page = await visit("Talker");
  for (let number = 0; number < 20; number++) {
    await page.keyboard.press("Enter");
    await page.fill("#words", `utterance ${number}.`);
    await page.keyboard.press("Enter");
  }
  const log = () => page.evaluate(() => [...document.querySelectorAll("#log li")].map((it) => it.textContent));
  await check("each of 20 utterances is in the log", async () => {
    const lines = await log();
    return [...Array(20).keys()].every((number) => lines.some((line) => line.includes(`utterance ${number}.`)));
  });
  const lines = await log();
  const unheard = lines.filter((line) => line.startsWith("Too fast"));
  assert(unheard.length > 0, "none was too fast");
  assert((await page.inputValue("#words")).startsWith("utterance"), "no unsent text was kept");
  await page.screenshot({ path: join(shots, "too-fast.png") });

  await pause(3000);
  await page.focus("#words");
  await page.fill("#words", "W".repeat(130));
  await page.keyboard.press("Enter");
  await check("130 letters are said", async () => (await page.evaluate(() => window.pelago.heard())).some(({ text }) => text.length === 130));
  await check("130 letters without a blank are wrapped", () =>
    page.evaluate(() => {
      const self = window.pelago.entities().find((it) => it.self);
      const log = document.getElementById("log");
      return self.labelWidth > 100 && self.labelWidth < 320 && log.scrollWidth <= log.clientWidth;
    }),
  );
  await page.screenshot({ path: join(shots, "long-word.png") });
  await page.fill("#words", "ö".repeat(101));
  await page.keyboard.press("Enter");
  await check("words that are too long are kept and told of", async () => {
    return (await log()).at(-1).includes("too long") && (await page.inputValue("#words")).length === 101;
  });
}

/** Whoever plays on in another window is told so here, stands still, and may come back. */
async function secondWindow(visit) {
  const first = await visit("Twice");
  const context = first.context();
  await first.evaluate(() => {
    const { x, y } = window.pelago.self();
    window.pelago.moveTo(x + 6, y);
  });
  const second = await visit("Twice", { context });
  const notice = (page) => page.evaluate(() => window.pelago.notice());
  await check("the first window says that there is another", async () => (await notice(first)).includes("another window"));
  assert((await first.evaluate(() => document.activeElement.textContent)) === "Play here", "the way on has no focus");
  await first.screenshot({ path: join(shots, "superseded.png") });
  const place = () => first.evaluate(() => window.pelago.self());
  const before = await place();
  await first.mouse.click(700, 500);
  await first.evaluate(() => window.pelago.moveTo(window.pelago.self().x + 5, window.pelago.self().y));
  await pause(1500);
  const after = await place();
  assert(before.x === after.x && before.y === after.y, "the first window walks on");
  await first.getByRole("button", { name: "Play here" }).focus();
  await first.keyboard.press("Enter");
  await check("the first window takes over", () => first.evaluate(() => window.pelago.isPlaying() && window.pelago.notice() === ""));
  await check("and the second says so", async () => (await notice(second)).includes("another window"));
  await pause(2000);
  assert(await first.evaluate(() => window.pelago.isPlaying()), "the windows throw each other out for ever");
}

/** Everything can be done by keys alone, and is announced. */
async function keyboard(visit) {
  const context = await browser.newContext(DESK);
  const page = await visit(undefined, { context });
  await check("the name has the focus", () => page.evaluate(() => document.activeElement?.id === "name"));
  await page.keyboard.type("Keys");
  await page.keyboard.press("Enter");
  await ready(page);
  const announced = [];
  await page.exposeFunction("announced", (text) => announced.push(text));
  await page.evaluate(() => {
    const region = document.getElementById("announcements");
    new MutationObserver(() => window.announced(region.textContent)).observe(region, { childList: true, characterData: true, subtree: true });
  });
  const self = () => page.evaluate(() => window.pelago.self());
  const before = await self();
  let walked = false;
  for (const key of ["ArrowRight", "ArrowDown", "a", "w"]) {
    await page.keyboard.down(key);
    walked = await until(3000, async () => Math.hypot((await self()).x - before.x, (await self()).y - before.y) > 2);
    await page.keyboard.up(key);
    if (walked) break;
  }
  assert(walked, "no key walks");
  await check("a key that is let go stops", async () => {
    const one = await self();
    await pause(300);
    const other = await self();
    return one.x === other.x && one.y === other.y;
  });
  const isChosen = () => announced.some((it) => /\d+ m (north|south|east|west)/.test(it));
  await check("what is chosen is announced", async () => {
    await page.keyboard.press("t");
    if (await until(2000, isChosen)) return true;
    // Nothing is near: it has to be looked for.
    await page.keyboard.down("ArrowRight");
    await pause(1500);
    await page.keyboard.up("ArrowRight");
    return false;
  }, 60_000);
  await page.screenshot({ path: join(shots, "keyboard.png") });
  await check("things are gathered by a key", async () => {
    if (await page.evaluate(() => Object.values(window.pelago.inventory()).some((count) => count > 0))) return true;
    await page.keyboard.press("g");
    await pause(2500);
    return false;
  }, 60_000);
  const other = await visit("Waved at");
  let apart;
  await check(
    "somebody is waved at by a key",
    async () => {
      const there = await other.evaluate(() => window.pelago.self());
      const here = await self();
      apart = Math.hypot(here.x - there.x, here.y - there.y);
      // Who is waved at is the nearest, and bots walk between the two: they stand on one place for it.
      if (apart > 0.1) await page.evaluate(({ x, y }) => window.pelago.moveTo(x, y), there);
      if (apart < 1) await page.keyboard.press("v");
      // Refusals have an end, and words on the picture are there for a while: no need to hurry.
      await pause(500);
      return (await other.evaluate(() => window.pelago.toast())).includes("Keys waves at you");
    },
    60_000,
  ).catch((error) => {
    throw new Error(`${error.message} (${apart} m apart)`);
  });
  await page.keyboard.press("l");
  await check("what is around is told", () => announced.some((it) => it.includes("You are at")));
  await page.keyboard.press("Enter");
  await page.keyboard.type("Hello by keys");
  await page.keyboard.press("Enter");
  await check("words are said by keys, and the focus is back", async () => {
    const heard = await page.evaluate(() => window.pelago.heard().some((it) => it.text === "Hello by keys"));
    return heard && (await page.evaluate(() => document.activeElement.id)) === "scene";
  });
  await other.evaluate(() => window.pelago.sayIsland("Ahoy, everybody"));
  await check("what others say is announced", () => announced.some((it) => it.includes("Ahoy, everybody")));
  await page.keyboard.press("h");
  await check("settings open by a key", () => page.evaluate(() => document.getElementById("settings").open));
  await page.screenshot({ path: join(shots, "settings.png") });
  await page.keyboard.press("Escape");
  const reached = new Set();
  for (let tab = 0; tab < 14; tab++) {
    await page.keyboard.press("Tab");
    const id = await page.evaluate(() => document.activeElement.id || document.activeElement.textContent);
    const outlined = await page.evaluate(() => {
      const element = document.activeElement;
      const after = getComputedStyle(element, "::after");
      return getComputedStyle(element).outlineStyle !== "none" || after.borderTopStyle === "solid" || element === document.body;
    });
    assert(outlined, `the focus of ${id} cannot be seen`);
    reached.add(id);
  }
  for (const id of ["scene", "channel", "words", "send", "closer", "farther", "open-settings", "log"]) {
    assert(reached.has(id), `Tab does not reach ${id}: ${[...reached]}`);
  }
}

/** A phone may zoom, is told to tap, and everything fits. */
async function phone(visit) {
  const page = await visit("Phone", PHONE);
  const content = await page.getAttribute("meta[name=viewport]", "content");
  assert(!/user-scalable|maximum-scale/.test(content), `zoom is forbidden: ${content}`);
  assert((await page.textContent("#hint")).includes("Tap to walk"), "the hint does not say tap");
  assert((await page.evaluate(() => getComputedStyle(document.querySelector("#scene canvas")).touchAction)) === "manipulation", "two fingers cannot zoom");
  const before = await page.evaluate(() => window.pelago.self());
  for (const [x, y] of [[195, 500], [195, 250], [60, 400], [330, 400]]) {
    await page.touchscreen.tap(x, y);
    if (await until(2500, () => page.evaluate(({ x, y }) => Math.hypot(window.pelago.self().x - x, window.pelago.self().y - y) > 0.5, before))) break;
  }
  await check("a tap walks", () => page.evaluate(({ x, y }) => Math.hypot(window.pelago.self().x - x, window.pelago.self().y - y) > 0.5, before));
  assert(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), "the page is wider than the phone");
  await page.screenshot({ path: join(shots, "phone.png") });
}

/** Whoever wants little motion gets it, from the system's setting. */
async function littleMotion(visit) {
  const page = await visit("Still", { reducedMotion: "reduce" });
  assert(await page.evaluate(() => document.documentElement.classList.contains("still")), "motion is not reduced");
  assert(await page.isChecked("#still"), "the setting does not say so");
}

/** A browser that cannot draw says so, and may try again. */
async function noPicture(visit) {
  const context = await browser.newContext(DESK);
  await context.addInitScript(() => {
    const getContext = HTMLCanvasElement.prototype.getContext;
    window.drawing = false;
    HTMLCanvasElement.prototype.getContext = function (kind, ...rest) {
      return !window.drawing && /webgl/.test(kind) ? null : getContext.call(this, kind, ...rest);
    };
  });
  const page = await visit("Blind", { context, plays: false });
  await check("a browser without WebGL is told of", () => page.evaluate(() => window.pelago?.notice().includes("WebGL")));
  await page.evaluate(() => (window.drawing = true));
  await page.getByRole("button", { name: "Try again" }).click();
  await ready(page);
}

/** A WebGL context that is lost comes back with everything on it. */
async function lostPicture(visit) {
  const page = await visit("Painter", { reducedMotion: "reduce" });
  await pause(1500);
  const glimpse = async () => (await page.screenshot({ clip: { x: 200, y: 160, width: 600, height: 300 } })).toString("base64");
  const before = await glimpse();
  const eye = await browser.newPage();
  const likeness = (one, other) =>
    eye.evaluate(async ([one, other]) => {
      const pixels = async (shot) => {
        const image = new Image();
        image.src = `data:image/png;base64,${shot}`;
        await image.decode();
        const canvas = new OffscreenCanvas(image.width, image.height);
        canvas.getContext("2d").drawImage(image, 0, 0);
        return canvas.getContext("2d").getImageData(0, 0, image.width, image.height).data;
      };
      const [a, b] = await Promise.all([pixels(one), pixels(other)]);
      let same = 0;
      for (let at = 0; at < a.length; at += 4) if (Math.abs(a[at] - b[at]) + Math.abs(a[at + 1] - b[at + 1]) + Math.abs(a[at + 2] - b[at + 2]) < 24) same++;
      return (4 * same) / a.length;
    }, [one, other]);
  for (let time = 0; time < 2; time++) {
    await page.evaluate(() => {
      const gl = document.querySelector("#scene canvas").getContext("webgl2");
      gl.getExtension("WEBGL_lose_context").loseContext();
    });
    await check("a lost picture is said to be lost", () => page.evaluate(() => window.pelago.notice().includes("picture")));
    await check("land, nature and people are drawn as before", async () => {
      const isReady = await page.evaluate(() => window.pelago.ready && window.pelago.notice() === "");
      return isReady && (await likeness(before, await glimpse())) > 0.93;
    });
  }
  await page.screenshot({ path: join(shots, "restored.png") });
  await eye.close();
}

/** Fetches that fail are tried again, with pauses, and what is given up says so and has a way on. */
async function failedFetches(visit) {
  let left = 3;
  front.answer = (path) => (path.startsWith("/content/") && left-- > 0 ? { status: 503 } : undefined);
  await visit("Patient");
  console.log("so: the first fetches may fail");

  const asked = new Map();
  let passes = 2;
  const passed = new Set();
  front.answer = (path) => {
    if (!path.startsWith("/content/")) return undefined;
    if (passes > 0) passed.add(path), passes--;
    if (passed.has(path)) return undefined;
    asked.set(path, (asked.get(path) ?? 0) + 1);
    return { status: 503 };
  };
  const begun = Date.now();
  const page = await visit("Landless", { plays: false });
  await check("missing land is told of", () => page.isVisible("#trouble"), 60_000);
  const count = [...asked.values()].reduce((sum, times) => sum + times, 0);
  console.log(`${asked.size} pieces were asked for ${count} times in ${Date.now() - begun} ms`);
  const most = Math.max(...asked.values());
  assert(most <= 8, `a tile was asked for ${most} times`);
  await page.screenshot({ path: join(shots, "missing-land.png") });
  front.answer = () => undefined;
  await page.click("#fetch-again");
  await ready(page);
  await check("the land is there after another try", async () => !(await page.isVisible("#trouble")));

  front.answer = (path) => (path.startsWith("/content/") ? { status: 404 } : undefined);
  const lost = await visit("Nowhere", { plays: false });
  await check("land that cannot be had at all has a way on", () => lost.getByRole("button", { name: "Try again" }).first().isVisible(), 60_000);
  front.answer = () => undefined;
  await lost.getByRole("button", { name: "Try again" }).first().click();
  await ready(lost);
}

/** A line that brings nothing, or no answers, is noticed, said, and left; the session comes back by itself. */
async function deadLine(visit) {
  const line = await openLine(front.port);
  const page = await visit("Cut off", { url: `http://127.0.0.1:${line.port}` });
  await page.evaluate(() => {
    window.shownAt = undefined;
    setInterval(() => {
      if (window.pelago.notice().includes("Reconnecting")) window.shownAt ??= performance.now();
      else window.shownAt = undefined;
    }, 20);
  });
  for (const [what, die] of [["brings nothing", line.freeze], ["takes nothing", () => (line.deaf = true)]]) {
    await pause(500);
    const died = await page.evaluate(() => performance.now());
    die();
    await check(`a line that ${what} is shown as dead`, () => page.evaluate(() => window.shownAt !== undefined));
    console.log(`after ${Math.round((await page.evaluate(() => window.shownAt)) - died)} ms`);
    if (what === "brings nothing") await page.screenshot({ path: join(shots, "reconnecting.png") });
    assert((await page.textContent("#status")).includes("reconnecting"), "the status does not say so");
    line.cut();
    line.thaw();
    line.deaf = false;
    await check("the session comes back", () => page.evaluate(() => window.pelago.isPlaying() && window.pelago.notice() === ""));
  }
  await line.close();
}

/** A slow line shows how far it has come, and plays in the end. */
async function slowLine(visit) {
  const line = await openLine(front.port, SLOW);
  const begun = Date.now();
  const page = await visit("Slow", { url: `http://127.0.0.1:${line.port}`, plays: false });
  await check("something is said of the loading", () => page.isVisible("#loading"));
  await page.screenshot({ path: join(shots, "loading.png") });
  await ready(page, SLOW_LINE_READY_MS);
  console.log(`ready after ${Date.now() - begun} ms at 50 KiB/s and 400 ms, compressed`);
  await pause(5000);
  assert(await page.evaluate(() => window.pelago.isPlaying() && window.pelago.notice() === ""), "a slow line is taken for a dead one");
  await line.close();
}

/** A server that comes again on other ports is found there. */
async function restart(visit) {
  const page = await visit("Stayer", { node: 2 });
  const door = await page.evaluate(() => window.pelago.url());
  await world.kill();
  await check("a dead server is shown", () => page.evaluate(() => window.pelago.notice().includes("Reconnecting")));
  await pause(4000);
  await page.screenshot({ path: join(shots, "dead-server.png") });
  await world.again();
  front.origin = new URL(world.http);
  await check("the session comes back on other ports", () => page.evaluate(() => window.pelago.isPlaying() && window.pelago.notice() === ""), 60_000);
  assert((await page.evaluate(() => window.pelago.url())).startsWith("ws://127.0.0.1"), door);
  await check("and people are drawn", () => page.evaluate(() => window.pelago.ready));

  // Without a front, `/nodes` names another port: it is asked before every attempt.
  const before = await page.evaluate(() => window.pelago.url());
  const moved = await openLine(front.port);
  await page.route("**/nodes", (route) => route.fulfill({ json: { nodes: [{ id: 2, ws: `ws://127.0.0.1:${moved.port}/ws/2` }] } }));
  await world.kill();
  await world.again();
  front.origin = new URL(world.http);
  await check("the session goes where /nodes says", () =>
    page.evaluate((port) => window.pelago.isPlaying() && window.pelago.url().includes(`:${port}/`), moved.port), 60_000);
  assert(before !== (await page.evaluate(() => window.pelago.url())), "it connected as before");
  await moved.close();
}
