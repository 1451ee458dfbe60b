// Packs the built page, as browsers take it: beside every text file its forms in brotli and gzip. The server sends them as
// they are, so that nobody packs anything while people wait.
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { extname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { brotliCompressSync, constants, gzipSync } from "node:zlib";

const dist = fileURLToPath(new URL("dist", import.meta.url));
/** What is not packed already. */
const TEXTS = [".css", ".html", ".js", ".json", ".svg"];
/** A form that saves less than an eighth is not worth its file. */
const WORTH = 7 / 8;

for (const entry of readdirSync(dist, { recursive: true, withFileTypes: true })) {
  if (!entry.isFile() || !TEXTS.includes(extname(entry.name))) continue;
  const path = join(entry.parentPath ?? entry.path, entry.name);
  const plain = readFileSync(path);
  const params = {
    [constants.BROTLI_PARAM_QUALITY]: constants.BROTLI_MAX_QUALITY,
    [constants.BROTLI_PARAM_SIZE_HINT]: plain.length,
  };
  const forms = { br: brotliCompressSync(plain, { params }), gz: gzipSync(plain, { level: 9 }) };
  for (const [suffix, packed] of Object.entries(forms)) {
    if (packed.length < plain.length * WORTH) writeFileSync(`${path}.${suffix}`, packed);
  }
}
