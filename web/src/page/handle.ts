import type { Point } from "../sdk/trajectory";
import type { Words } from "./chat";
import type { Notice } from "./notice";
import type { Hud } from "./hud";
import type { Play } from "./play";

/** What tests may see and do. */
export function handle(play: Play, hud: Hud, notice: Notice) {
  const { session } = play;
  const metres = (point: Point) => ({ x: point.x / 64, y: point.y / 64 });
  const say = async (words: Words) => (await play.say(words))?.code ?? "";
  return {
    get ready() {
      const { scene } = play;
      return scene !== undefined && scene.figures.size > 0 && scene.standing.size > 0;
    },
    isPlaying: () => session.isPlaying,
    entities: () =>
      [...(play.scene?.figures.values() ?? [])].map((figure) => ({
        id: figure.id,
        name: figure.name,
        self: figure.self,
        /** In pixels, with what is said over the head. */
        labelWidth: figure.label.width,
        ...metres(figure),
      })),
    /** Where everybody truly is by the trajectories known, without delay. */
    known: () =>
      [...session.view.seen().values()].map((seen) => ({
        id: seen.id,
        name: seen.name,
        stance: seen.stance,
        ...metres(seen.trajectory.positionAt(session.islandNow())),
      })),
    self: () => ({
      id: session.avatar,
      node: session.node,
      ...metres(session.path.positionAt(session.islandNow())),
    }),
    moveTo: (x: number, y: number) => play.player?.walkThere({ x: x * 64, y: y * 64 }),
    say: (text: string) => say({ channel: "near", name: "", text }),
    sayIsland: (text: string) => say({ channel: "island", name: "", text }),
    whisper: (name: string, text: string) => say({ channel: "whisper", name, text }),
    wave: (id: string) => session.actLive({ wave: id }),
    gather: (x: number, y: number, slot: number) => play.player?.gather(x, y, slot),
    naturals: () =>
      [...(play.scene?.standing.values() ?? [])].flat().map(({ natural }) => ({
        cx: natural.cx,
        cy: natural.cy,
        slot: natural.slot,
        kind: natural.kind,
        ...metres(natural.position),
        stock: play.scene!.stockOf(natural),
      })),
    isWalkable: (x: number, y: number) => {
      const ground = play.scene?.land.groundAt(Math.floor(x / 2), Math.floor(y / 2)) ?? 0;
      return play.game?.ground[ground]?.walkable ?? false;
    },
    inventory: () => hud.held,
    toast: () => hud.toasted,
    notice: () => notice.shown,
    heard: () => play.heard,
    url: () => session.url,
    stats: () => ({
      maxStepError_m: play.scene?.maxStepError ?? 0,
      frames: play.scene?.framesDrawn ?? 0,
      gaps: session.view.gaps,
    }),
  };
}
