// The page in a real browser: what the tests do with it and read from it.
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { fileURLToPath, pathToFileURL } from "node:url";
import { chromium } from "playwright-core";

const root = new URL("../../../", import.meta.url);
const site = process.env.CHATPB_PLAYGROUND
  ? pathToFileURL(`${process.env.CHATPB_PLAYGROUND}/`)
  : new URL("docs/playground/", root);

export const vectors = JSON.parse(text("tests/vectors/manifest.json"));

/** A file of the repository. */
export function bytes(path) {
  return readFileSync(new URL(path, root));
}

export function text(path) {
  return bytes(path).toString("utf8");
}

export function hex(buffer) {
  return buffer.toString("hex").replace(/..(?!$)/g, "$& ");
}

export async function launch() {
  const executablePath = execFileSync("sh", ["-c", "command -v chromium"]).toString().trim();
  const args = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"];
  args.push("--disable-background-networking", "--disable-component-update", "--disable-sync");
  return chromium.launch({ executablePath, args });
}

/** The page from its files, with everything that went wrong in it. */
export async function open(browser, { url = new URL("index.html", site).href, ...options } = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(10_000);
  const wrong = [];
  page.on("pageerror", (error) => wrong.push(String(error)));
  page.on("console", (message) => {
    if (message.type() === "error" || message.type() === "warning") wrong.push(message.text());
  });
  const requests = [];
  page.on("request", (request) => requests.push(request.url()));
  await page.goto(url);
  return { page, wrong, requests, context };
}

/** Serves the page's files on 127.0.0.1, as any static server does. */
export async function serve() {
  const types = { html: "text/html", css: "text/css", js: "text/javascript" };
  const server = createServer((request, response) => {
    const name = request.url.slice(1) || "index.html";
    if (!/^[a-z]+\.(html|css|js)$/.test(name)) return response.writeHead(404).end();
    response.setHeader("content-type", types[name.split(".")[1]]);
    response.end(readFileSync(fileURLToPath(new URL(name, site))));
  });
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  return { url: `http://127.0.0.1:${server.address().port}/`, close: () => server.close() };
}

/** Types a text, and waits until the page has read it. */
export async function give(page, id, value) {
  await page.locator(`#${id}`).evaluate((area, text) => {
    area.value = text; // keeps what typing would not: a byte order mark
    area.dispatchEvent(new InputEvent("input", { bubbles: true }));
  }, value);
}

export const value = (page, id) => page.locator(`#${id}`).inputValue();

/** The offsets of the bytes that are marked. */
export const markedBytes = (page) =>
  page.locator("#hex .marked").evaluateAll((cells) => cells.map((cell) => Number(cell.dataset.at)));

/** The cells of a table, row by row. */
export const rows = (page, selector) =>
  page.locator(`${selector} tr`).evaluateAll((all) =>
    all.map((row) => Array.from(row.cells, (cell) => cell.textContent)),
  );

export const field = (page, path) => page.locator(`#tree [data-path="${path}"]`);

/** Whole numbers from one to before another. */
export const range = (from, to) => Array.from({ length: to - from }, (_, index) => from + index);
