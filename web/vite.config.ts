import type { Plugin } from "vite";
import { defineConfig } from "vitest/config";

/** The page asks for its large parts as soon as its HTML has come, instead of when its first script runs. */
function preloadParts(): Plugin {
  return {
    name: "preload-parts",
    transformIndexHtml: {
      order: "post",
      handler(_html, { bundle }) {
        const chunks = Object.values(bundle ?? {}).filter((it) => it.type === "chunk");
        const begun = chunks.find((chunk) => chunk.isEntry);
        const wanted = new Set<string>();
        const want = (name: string) => {
          const chunk = chunks.find((chunk) => chunk.fileName === name);
          if (!chunk || chunk === begun || wanted.has(name)) return;
          wanted.add(name);
          chunk.imports.forEach(want);
        };
        begun?.dynamicImports.forEach(want);
        return [...wanted].map((name) => ({
          tag: "link",
          attrs: { rel: "modulepreload", crossorigin: true, href: `./${name}` },
          injectTo: "head",
        }));
      },
    },
  };
}

export default defineConfig(({ command }) => ({
  base: "./",
  plugins: [preloadParts()],
  // `long` would compile a module for its multiplications, which the page is not allowed to, and does without it.
  define: command === "build" ? { WebAssembly: "undefined" } : {},
  build: { target: "es2022", modulePreload: { polyfill: false } },
  server: {
    proxy: {
      "/nodes": "http://127.0.0.1:8080",
      "/content": "http://127.0.0.1:8080",
      "/ws": { target: "ws://127.0.0.1:8080", ws: true },
    },
  },
  test: { include: ["test/**/*.test.ts"] },
}));
