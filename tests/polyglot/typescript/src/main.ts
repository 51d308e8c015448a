// Checks that TypeScript reads chatpb's messages as every other language does.
// Usage: node main.js VECTORS_DIR RELAY_ADDRESS. It prints a line for each case: the kind, the case and the result.
// Or: node main.js --fuzz FILE. It prints the result of each input of the file.

import { join } from "node:path";
import { checkCorpus } from "./corpus.js";
import { answerAll } from "./fuzz.js";
import { checkRelay } from "./relay.js";
import { Report } from "./report.js";
import { checkStreams } from "./streams.js";
import { checkInvalid, checkVectors } from "./vectors.js";

const [folder, address] = process.argv.slice(2);
if (folder === "--fuzz" && address !== undefined) {
  await answerAll(address);
  process.exit();
}
if (folder === undefined || address === undefined) {
  console.error("usage: main.js VECTORS_DIR RELAY_ADDRESS, or --fuzz FILE");
  process.exit(2);
}
const report = new Report();
await checkVectors(folder, report);
await checkInvalid(folder, report);
await checkStreams(join(folder, "stream"), report);
const corpus = process.env["CHATPB_CORPUS"];
if (corpus) await checkCorpus(corpus, report);
await checkRelay(address, report);
process.exitCode = report.failed ? 1 : 0;
