// What both programs share: the cases to run, and what becomes of each.
// Their arguments are a file of cases, the names of those to run, and the base URLs.

import { readFile } from "node:fs/promises";
import { z } from "zod";

/** What the model is to answer in the case "structured". */
export const Point = z.object({ x: z.number(), y: z.number() });

export const model = ({ name }) => `ft:gpt-4o:${name}`;
export const timeout = ({ name }) => (name === "timeout" ? 1_000 : 60_000);

/** An error, with the members that callers read. */
function failure(error) {
  const headers = error.responseHeaders ?? Object.fromEntries(error.headers?.entries() ?? []);
  return {
    name: error.constructor.name,
    message: error.message?.replaceAll(/127\.0\.0\.1:\d+/g, "..."),
    status: error.status ?? error.statusCode,
    code: error.code,
    type: error.type,
    body: error.error ?? error.responseBody,
    isRetryable: error.isRetryable,
    retryAfter: headers["retry-after"] ?? headers["retry-after-ms"],
    requestId: headers["x-request-id"],
  };
}

/** Runs cases with the client that `make` makes of a base URL: a function for each way to call. */
export async function run(make) {
  const [file, names, ...urls] = process.argv.slice(2);
  const cases = JSON.parse(await readFile(file, "utf8"));
  const results = [];
  for (const url of urls) {
    const client = make(url);
    const outcomes = {};
    for (const it of cases.filter(({ name }) => names.split(",").includes(name)))
      try {
        outcomes[it.name] = { value: await client[it.do](it) };
      } catch (error) {
        outcomes[it.name] = { failed: failure(error) };
      }
    results.push(outcomes);
  }
  console.log(JSON.stringify(results));
  process.exit(0);
}
