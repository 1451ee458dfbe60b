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

/** The token of a name in this browser; a new one the first time. */
export function tokenOf(name: string): Uint8Array {
  const key = `token.${name}`;
  const token = kept(key);
  if (token && /^(?:[0-9a-f]{2}){16,64}$/.test(token)) return hexToBytes(token);
  const fresh = randomToken();
  keep(key, bytesToHex(fresh));
  return fresh;
}
