/** A token for a new name. Whoever loses it loses the name. */
export function randomToken(): Uint8Array {
  return crypto.getRandomValues(new Uint8Array(32));
}
