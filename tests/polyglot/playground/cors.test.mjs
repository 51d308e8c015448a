// The relay's HTTP API, called by a page of another origin.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:http";
import { createInterface } from "node:readline";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import * as at from "./page.mjs";

const server = fileURLToPath(new URL("../../../.venv/bin/chatpb-server", import.meta.url));
const request = { model: "m", messages: [{ role: "user", content: "hello" }] };

let browser;
let pages;
let relay;
let base;
let logged;

before(async () => {
  browser = await at.launch();
  pages = createServer((_, response) => {
    response.writeHead(200, { "content-type": "text/html" }).end("<!doctype html><title>a</title>");
  });
  await once(pages.listen(0, "127.0.0.1"), "listening");
  const listen = ["--listen", "127.0.0.1:0", "--http", "127.0.0.1:0"];
  const allowed = ["--cors-origin", "http://localhost:*"];
  relay = spawn(server, [...listen, ...allowed], { stdio: ["ignore", "pipe", "pipe"] });
  logged = createInterface({ input: relay.stderr })[Symbol.asyncIterator]();
  for await (const line of createInterface({ input: relay.stdout })) {
    base = line.match(/http:\/\/127\.0\.0\.1:\d+\/v1/)?.[0];
    if (base) break;
  }
});

after(async () => {
  await browser?.close();
  pages?.close();
  relay.kill();
  await once(relay, "exit");
});

/** What the page of an origin gets. */
async function call(from, body, options = {}) {
  const { page, context } = await at.open(browser, { url: from });
  const result = await page.evaluate(
    async ([address, text, how]) => {
      try {
        const headers = { authorization: "Bearer x", "content-type": "application/json" };
        const answer = await fetch(address, { method: "POST", headers, body: text, ...how });
        const id = answer.headers.get("x-request-id");
        return { status: answer.status, id, text: await answer.text() };
      } catch (error) {
        return { failed: error.name };
      }
    },
    [`${base}/chat/completions`, JSON.stringify(body), options],
  );
  await context.close();
  return result;
}

const origin = (host) => `http://${host}:${pages.address().port}`;

test("a page of an allowed origin gets the answer and its headers", async () => {
  const answer = await call(origin("localhost"), request);
  assert.equal(answer.status, 200);
  assert.equal(JSON.parse(answer.text).choices[0].finish_reason, "stop");
  assert.match(answer.id, /^\S+$/);
});

test("a stream", async () => {
  const answer = await call(origin("localhost"), { ...request, stream: true });
  assert.equal(answer.status, 200);
  assert.ok(answer.text.endsWith("data: [DONE]\n\n"));
});

test("an error", async () => {
  const answer = await call(origin("localhost"), { ...request, stream: 5 });
  assert.equal(answer.status, 400);
  assert.equal(JSON.parse(answer.text).error.param, "stream");
});

test("a page of another origin gets nothing", async () => {
  assert.deepEqual(await call(origin("127.0.0.1"), request), { failed: "TypeError" });
});

test("what a page sends without a preflight is refused", { timeout: 20_000 }, async () => {
  const plain = { mode: "no-cors", headers: { "content-type": "text/plain" } };
  await call(origin("127.0.0.1"), request, plain);
  for await (const line of logged) {
    if (line.includes("method=refused")) return;
  }
});
