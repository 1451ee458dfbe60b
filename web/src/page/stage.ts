import type { Announcer } from "./announcer";
import type { Chat } from "./chat";
import type * as Drawing from "./drawing";
import type { Hud, Loading } from "./hud";
import type { Notice } from "./notice";
import type { Picture } from "./picture";
import type { Settings } from "./settings";

/** This browser does not let the page draw. */
export class NoPicture extends Error {}

/** What stays while one plays under one name after the other. */
export interface Stage {
  hud: Hud;
  chat: Chat;
  notice: Notice;
  loading: Loading;
  announcer: Announcer;
  settings: Settings;
  /** What draws; asked for again if it could not be loaded. */
  drawing(): Promise<typeof Drawing>;
  /** What is drawn on; fails with `NoPicture`. */
  picture(): Promise<Picture>;
  /** Whether this is who plays now. */
  isWanted(play: unknown): boolean;
}
