import { bytesToHex, hexToBytes } from "@noble/hashes/utils.js";
import { randomToken } from "../sdk/session";

/** The token of a name in this browser; a new one the first time. */
export function tokenOf(name: string): Uint8Array {
  const key = `pelago.token.${name}`;
  const kept = localStorage.getItem(key);
  if (kept) return hexToBytes(kept);
  const token = randomToken();
  localStorage.setItem(key, bytesToHex(token));
  return token;
}
