/** A node, and where its WebSocket is. */
export interface Door {
  id: number;
  /** An absolute address. */
  url: string;
}

/** Names of this machine, or of no machine in particular: the host of the page is meant. */
const HERE = ["127.0.0.1", "[::1]", "0.0.0.0", "[::]"];
/** How long the answer of `/nodes` may take, in ms. */
const NODES_TIMEOUT_MS = 5000;

/** The address of a WebSocket that `/nodes` tells: an absolute one, or a path on the origin that was asked. */
export function doorUrl(told: string, asked: string): string {
  const origin = new URL(asked);
  const url = new URL(told, origin);
  if (/^[a-z][a-z0-9+.-]*:/i.test(told)) {
    if (HERE.includes(url.hostname)) url.hostname = origin.hostname;
  }
  if (url.protocol === "http:") url.protocol = "ws:";
  if (url.protocol === "https:") url.protocol = "wss:";
  return url.href;
}

/** What an answer of `/nodes` says; nothing if it is something else. */
export function readNodes(answer: unknown, asked: string): Door[] {
  const nodes = (answer as { nodes?: unknown } | null)?.nodes;
  if (!Array.isArray(nodes)) return [];
  return nodes.flatMap((node: { id?: unknown; ws?: unknown } | null) => {
    if (typeof node?.ws !== "string") return [];
    try {
      return [{ id: Number(node.id), url: doorUrl(node.ws, asked) }];
    } catch {
      return [];
    }
  });
}

/** Which node to go to: the wanted one at first, others when it has failed. */
export class Doors {
  private readonly start: number;

  constructor(
    /** Where `/nodes` is. */
    private readonly url: string,
    private readonly wanted: number | undefined,
    random = Math.random,
  ) {
    this.start = Math.floor(random() * 1024);
  }

  /** Asks where the nodes are now: after a restart they may be elsewhere. Fails if nobody answers. */
  async next(failures: number): Promise<string> {
    const response = await fetch(this.url, { signal: AbortSignal.timeout(NODES_TIMEOUT_MS), cache: "no-store" });
    if (!response.ok) throw new Error(`/nodes: ${response.status}`);
    return this.choose(readNodes(await response.json(), this.url), failures);
  }

  /** The address to try after so many failures in a row. */
  choose(doors: readonly Door[], failures: number): string {
    const wanted = doors.findIndex(({ id }) => id === this.wanted);
    const first = wanted >= 0 ? wanted : this.start;
    const door = doors[(first + failures) % doors.length];
    if (!door) throw new Error("there is no node");
    return door.url;
  }
}
