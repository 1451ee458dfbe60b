import { Container, WebGLRenderer } from "pixi.js";
// The page is served without leave to make code of texts.
import "pixi.js/unsafe-eval";
import "pixi.js/graphics";
import "pixi.js/text";
import { Pause } from "../sdk/retry";

/** How often a lost picture is made anew before the player is asked. */
const MOST_TRIES = 6;
/** The longest step of time that is drawn at once, in ms. */
const LONGEST_STEP_MS = 250;

/**
 * What is drawn on. The browser may take it away at any time (a lost WebGL context): then everything that was on it is
 * gone, and it is made anew, empty.
 */
export class Picture {
  renderer!: WebGLRenderer;
  stage = new Container();
  /** Frames drawn in the last second. */
  framesPerSecond = 0;
  /** Draws on the stage what is to be seen now. */
  onFrame: (elapsed: number) => void = () => {};
  /** It was taken away, it could not be made anew, or it is there again and empty. */
  onState: () => void = () => {};
  /** `failed` needs somebody who asks for another try, by `again`. */
  state: "there" | "lost" | "failed" = "there";
  onTapped: (x: number, y: number) => void = () => {};
  onWheel: (delta: number) => void = () => {};
  private last = 0;
  private readonly frames: number[] = [];
  private readonly pause = new Pause();

  private constructor(private readonly place: HTMLElement) {}

  static async begin(place: HTMLElement): Promise<Picture> {
    const picture = new Picture(place);
    await picture.make();
    window.addEventListener("resize", () => picture.resize());
    requestAnimationFrame((now) => picture.frame(now));
    return picture;
  }

  /** Tries once more to make it anew. */
  again(): void {
    if (this.state === "failed") void this.restore(1);
  }

  get width(): number {
    return this.place.clientWidth;
  }

  get height(): number {
    return this.place.clientHeight;
  }

  private async make(): Promise<void> {
    const renderer = new WebGLRenderer();
    await renderer.init({
      width: this.width,
      height: this.height,
      background: 0x265c8a,
      antialias: true,
      autoDensity: true,
      resolution: Math.min(window.devicePixelRatio || 1, 2),
      // Everything that is needed of the library is imported above.
      skipExtensionImports: true,
    });
    const canvas = renderer.canvas;
    canvas.addEventListener("click", (event) => this.onTapped(event.offsetX, event.offsetY));
    canvas.addEventListener("wheel", (event) => (event.preventDefault(), this.onWheel(event.deltaY)), { passive: false });
    canvas.addEventListener("webglcontextlost", () => this.lost(renderer), { once: true });
    this.place.replaceChildren(canvas);
    this.stage = new Container();
    this.renderer = renderer;
  }

  private resize(): void {
    this.renderer.resize(this.width, this.height);
  }

  private lost(renderer: WebGLRenderer): void {
    if (renderer !== this.renderer) return;
    void this.restore(1);
  }

  private async restore(tried: number): Promise<void> {
    this.become("lost");
    await new Promise((resolve) => setTimeout(resolve, this.pause.next()));
    await seen();
    const old = this.renderer;
    try {
      await this.make();
    } catch (error) {
      console.error(error);
      if (tried < MOST_TRIES) return this.restore(tried + 1);
      return this.become("failed");
    }
    this.pause.reset();
    this.become("there");
    try {
      old.destroy();
    } catch (error) {
      console.warn("what was lost could not be put away", error);
    }
  }

  private become(state: Picture["state"]): void {
    this.state = state;
    this.onState();
  }

  private frame(now: number): void {
    requestAnimationFrame((now) => this.frame(now));
    const elapsed = Math.min(now - this.last, LONGEST_STEP_MS);
    this.last = now;
    this.frames.push(now);
    while (this.frames[0]! < now - 1000) this.frames.shift();
    this.framesPerSecond = this.frames.length;
    this.onFrame(elapsed);
    if (this.state === "there") this.renderer.render({ container: this.stage });
  }
}

/** Waits until the page is looked at: nothing can be drawn before. */
function seen(): Promise<void> {
  return new Promise((resolve) => {
    const look = () => {
      if (document.visibilityState !== "visible") return;
      document.removeEventListener("visibilitychange", look);
      resolve();
    };
    document.addEventListener("visibilitychange", look);
    look();
  });
}
