import { bytesToHex, hexToBytes } from "@noble/hashes/utils.js";
import { randomToken } from "../sdk/token";

/** What a browser that keeps nothing is told meanwhile. */
const forgotten = new Map<string, string>();

/** What this browser has kept under a key. Browsers may forbid that: then it is kept until the page is closed. */
export function kept(key: string): string | undefined {
  try {
    return localStorage.getItem(`pelago.${key}`) ?? undefined;
  } catch {
    return forgotten.get(key);
  }
}

export function keep(key: string, value: string): void {
  try {
    localStorage.setItem(`pelago.${key}`, value);
  } catch {
    forgotten.set(key, value);
  }
}

/** The form in which a server takes a name, however it is typed: see the protocol's page on names. */
function canonical(name: string): string {
  const words = name.normalize("NFKC").replace(/\u2019/g, "'").split(" ");
  return words.filter((word) => word !== "").join(" ");
}

/** The token of a name in this browser; a new one the first time. */
export function tokenOf(name: string): Uint8Array {
  const key = `token.${canonical(name)}`;
  // Older pages kept it under the name as it was typed.
  const token = kept(key) ?? kept(`token.${name}`);
  if (token && /^(?:[0-9a-f]{2}){16,64}$/.test(token)) return hexToBytes(token);
  const fresh = randomToken();
  keep(key, bytesToHex(fresh));
  return fresh;
}
