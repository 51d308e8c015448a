// Puts chatpb.wasm, which `make wasm` builds from native/abi, next to the modules that load it. Without it the entry
// chatpb/wasm does not work, but all others do: only a package must have it (--required).
import { copyFileSync, existsSync } from "node:fs";

const built = new URL("../../build/wasm/chatpb-simd.wasm", import.meta.url);
if (existsSync(built)) copyFileSync(built, new URL("dist/wasm/chatpb.wasm", import.meta.url));
else if (process.argv.includes("--required")) {
  console.error("chatpb.wasm is not built: run `make wasm` first");
  process.exit(1);
} else console.warn("chatpb/wasm does not work yet: run `make wasm`, then build again");
