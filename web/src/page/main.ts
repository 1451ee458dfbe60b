import { persist } from "../sdk/retry";
import { Announcer } from "./announcer";
import { Arrival } from "./arrival";
import { Chat } from "./chat";
import { Controls } from "./controls";
import { handle } from "./handle";
import { Hud, Loading } from "./hud";
import { Notice } from "./notice";
import type { Picture } from "./picture";
import type { Play } from "./play";
import { nameTrouble } from "./sentences";
import { Settings } from "./settings";
import { NoPicture, type Stage } from "./stage";
import "./style.css";

/** How often the large parts of the page are asked for before the player is told. */
const PARTS_PATIENCE = { tries: 4, tryMs: Infinity };

// What is large is asked for at once, and comes while the player says who they are.
const loadPlay = () => persist(() => import("./play"), PARTS_PATIENCE);
const loadDrawing = () => persist(() => import("./drawing"), PARTS_PATIENCE);
let playing = loadPlay();
let drawing = loadDrawing();
// What becomes of them is seen when they are needed.
for (const part of [playing, drawing]) part.catch(() => undefined);
let picture: Promise<Picture> | undefined;
let play: Play | undefined;

const stage: Stage = {
  hud: new Hud(),
  chat: new Chat(),
  notice: new Notice(),
  loading: new Loading(),
  announcer: new Announcer(),
  settings: new Settings(),
  drawing() {
    drawing = drawing.catch(loadDrawing);
    return drawing;
  },
  picture() {
    const begin = async () => {
      const { Picture } = await this.drawing();
      return Picture.begin(document.getElementById("scene")!).catch((cause: unknown) => {
        throw new NoPicture("no picture", { cause });
      });
    };
    picture = picture?.catch(begin) ?? begin();
    return picture;
  },
  isWanted: (it: unknown) => play === undefined || it === play,
};
stage.announcer.manner = stage.settings.chosenManner;
stage.settings.onManner = (manner) => (stage.announcer.manner = manner);
stage.settings.onLeave = () => play?.onEnd();
stage.hud.onToast = (text) => stage.announcer.tell(text);
stage.chat.onNote = (text) => stage.announcer.tell(text);

const arrival = new Arrival();
const parameters = new URLSearchParams(location.search);
const node = parameters.has("node") ? Number(parameters.get("node")) : undefined;

/** Lets somebody play who has said who they are. */
async function arrive(name: string): Promise<void> {
  stage.loading.show("Loading…", 0, 3);
  try {
    playing = playing.catch(loadPlay);
    const { Play } = await playing;
    // The picture is made while the session begins; what becomes of it is seen when it is needed.
    stage.picture().catch(() => undefined);
    const begun = new Play(name, stage, node);
    play = begun;
    begun.onEnd = (trouble) => {
      begun.end();
      play = undefined;
      void ask(trouble, begun.name);
    };
    (window as unknown as { pelago: unknown }).pelago = handle(begun, stage.hud, stage.notice);
    document.getElementById("scene")!.focus();
  } catch (error) {
    console.error(error);
    stage.loading.hide();
    stage.notice.show("The page could not be loaded to its end.", [
      { label: "Try again", choose: () => (stage.notice.clear(), void arrive(name)) },
      { label: "Load again", choose: () => location.reload() },
    ]);
  }
}

async function ask(trouble?: string, refused?: string): Promise<void> {
  stage.loading.hide();
  await arrive(await arrival.ask(trouble, refused));
}

new Controls(
  () => play?.player,
  () => stage.chat.focus(),
  () => stage.settings.open(),
);
for (const event of ["online", "pageshow"]) window.addEventListener(event, () => play?.session.hurry());
document.addEventListener("visibilitychange", () => {
  if (document.visibilityState === "visible") play?.session.hurry();
});

const given = parameters.get("name");
const trouble = given === null ? undefined : nameTrouble(given);
void (given === null || trouble ? ask(trouble, given ?? undefined) : arrive(given));
