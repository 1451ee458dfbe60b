import Long from "long";

export function toNumber(value: number | Long | null | undefined): number {
  return Long.isLong(value) ? value.toNumber() : (value ?? 0);
}

export function toLong(value: number): Long {
  return Long.fromNumber(value);
}

/** An id as it is written: 16 hexadecimal digits. */
export function toId(value: number | Long | null | undefined): string {
  const long = Long.isLong(value) ? value.toUnsigned() : Long.fromNumber(value ?? 0, true);
  return long.toString(16).padStart(16, "0");
}
