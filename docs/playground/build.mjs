// Bundles the page's scripts into playground.js, which is committed: the page works from a clone
// without a build. An argument names another place to write to, to compare with it.
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));

await build({
  entryPoints: [here("src/main.ts")],
  outfile: process.argv[2] ?? here("playground.js"),
  bundle: true,
  minify: true,
  format: "iife", // a module would not load from file://
  target: "es2022",
  charset: "utf8",
  loader: { ".json": "text" },
  tsconfigRaw: "{}",
  nodePaths: [here("../../polyglot/typescript/node_modules")], // one copy of the runtime, the library's
  banner: {
    js:
      "// Built by `make playground` from docs/playground/src: edit that. Contains @bufbuild/protobuf,\n" +
      "// Copyright 2021-2026 Buf Technologies, Inc., licensed under Apache-2.0 and BSD-3-Clause.",
  },
  logLevel: "warning",
});
