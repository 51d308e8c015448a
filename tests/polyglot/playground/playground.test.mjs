import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import * as at from "./page.mjs";

let browser;
let page;
let opened;

before(async () => {
  browser = await at.launch();
  opened = await at.open(browser);
  page = opened.page;
});

after(async () => {
  await browser?.close();
});

async function read(json, type = "") {
  await page.selectOption("#kind", type);
  await at.give(page, "json", json);
}

// Kinds that neither the page nor the command line reads alone.
const UNREAD = ["ChatCompletionStoreMessage", "ChatCompletionUpdate", "CompletionUsage"].map((name) => `chatpb.v1.${name}`);

test("the JSON of every vector becomes its bytes, and the bytes its JSON", async () => {
  for (const { name, message_type: type } of at.vectors) {
    if (UNREAD.includes(type)) continue;
    await read(at.text(`tests/vectors/${name}.json`), type);
    const binary = at.hex(at.bytes(`tests/vectors/${name}.binpb`));
    assert.equal(await at.value(page, "binary"), binary, name);
    await at.give(page, "binary", binary);
    const back = await at.value(page, "json");
    await at.give(page, "json", back);
    assert.equal(await at.value(page, "binary"), binary, `${name}, from the JSON that was written`);
    assert.equal(await page.locator("#json-problem").isVisible(), false, name);
  }
});

for (const [json, type] of [
  ['{"object": "chat.completion.chunk"}', "ChatCompletionChunk"],
  ['{"object": "chat.completion", "choices": [{"delta": {}}]}', "ChatCompletion"],
  ['{"choices": [{"delta": {}}]}', "ChatCompletionChunk"],
  ['{"choices": [{"delta": {}, "message": {}}]}', "ChatCompletion"],
  ['{"object": "list", "data": []}', "ChatCompletionList"],
  ['{"object": "list", "data": [{"role": "user"}]}', "ChatCompletionStoreMessageList"],
  ['{"object": "list", "data": [{"object": "model"}]}', "ModelList"],
  ['{"object": "model"}', "Model"],
  ['{"object": "chat.completion.deleted"}', "ChatCompletionDeleted"],
  ['{"error": "no", "choices": null}', "ErrorResponse"],
  ['{"messages": []}', "ChatCompletionRequest"],
  ['{"detail": "no"}', "ErrorResponse"],
  ['{"detail": "no", "id": 1}', "ChatCompletion"],
  ["{}", "ChatCompletion"],
]) {
  test(`recognises ${json} as ${type}`, async () => {
    await read(json);
    assert.equal(await page.locator("#type").textContent(), `chatpb.v1.${type}, recognised`);
  });
}

test("shows the residue as a table", async () => {
  await read(
    '{"id":"x","object":"chat.completion","model":"m","choices":[{"index":0,"message":null,"finish_reason":"eos_token",' +
      '"logprobs":null}],"usage":null,"vendor":{"a":"<img src=x onerror=alert(1)>"},"metadata":{}}',
  );
  assert.deepEqual(await at.rows(page, "#residue-rows"), [
    ["$.usage", "null", "null"],
    ["$.created", "absent", ""],
    ["$.system_fingerprint", "absent", ""],
    ["$.metadata", "empty", "{}"],
    ["$.vendor", "extra", '{"a":"<img src=x onerror=alert(1)>"}'],
    ["$.choices[0].message", "null", "null"],
    ["$.choices[0].finish_reason", "extra", '"eos_token"'],
  ]);
  assert.equal(await page.locator("img").count(), 0);
  await read(at.text("tests/vectors/completion_plain.json"));
  assert.equal(await page.locator("#residue-table").isVisible(), false);
  assert.match(await page.locator("#residue-note").textContent(), /^None/);
});

// 0a 02 61 62 | 2a 09 (08 03 | 20 01 | 7a 03 (12 01 03)) | 7a 06 (12 04 (02 03 04 08))
const SMALL = '{"id":"ab","choices":[{"index":3,"finish_reason":"stop"}]}';

for (const [path, from, to] of [
  ["$", 0, 23],
  ["$.id", 0, 4],
  ["$.choices[0]", 4, 15],
  ["$.choices[0].index", 6, 8],
  ["$.choices[0].finish_reason", 8, 10],
  ["$.choices[0].residue", 10, 15],
  ["$.residue", 15, 23],
]) {
  test(`marks the bytes of ${path}`, async () => {
    await read(SMALL);
    await at.field(page, path).locator("> .row").hover();
    assert.deepEqual(await at.markedBytes(page), at.range(from, to));
    await page.locator("h1").hover();
    assert.deepEqual(await at.markedBytes(page), []);
    await at.field(page, path).focus();
    assert.deepEqual(await at.markedBytes(page), at.range(from, to));
    assert.match(await page.locator("#where").textContent(), new RegExp(`bytes ${from} to ${to - 1} `));
  });
}

test("a byte marks its field, by pointer and by keyboard", async () => {
  await read(SMALL);
  const marked = () => page.locator("#tree .marked").getAttribute("data-path");
  await page.locator('#hex [data-at="7"]').hover();
  assert.equal(await marked(), "$.choices[0].index");
  assert.deepEqual(await at.markedBytes(page), [6, 7]);
  await page.locator('#hex [data-at="0"]').focus();
  assert.equal(await marked(), "$.id");
  for (const _ of at.range(0, 9)) await page.keyboard.press("ArrowRight");
  assert.equal(await marked(), "$.choices[0].finish_reason");
  await page.keyboard.press("End");
  await page.keyboard.press("ArrowDown");
  assert.equal(await page.evaluate(() => document.activeElement.dataset.at), "15");
});

test("tag, length and value are told apart", async () => {
  await read(SMALL);
  const labels = await page.locator("#hex [data-at]").evaluateAll((cells) => cells.slice(0, 8).map((cell) => cell.ariaLabel));
  assert.deepEqual(labels, [
    "byte 0, 0a, tag of $.id",
    "byte 1, 02, length of $.id",
    "byte 2, 61, value of $.id",
    "byte 3, 62, value of $.id",
    "byte 4, 2a, tag of $.choices[0]",
    "byte 5, 09, length of $.choices[0]",
    "byte 6, 08, tag of $.choices[0].index",
    "byte 7, 03, value of $.choices[0].index",
  ]);
});

test("the tree names enums, shows presence, and is a tree to the keyboard", async () => {
  await read('{"object":"chat.completion","choices":[{"index":0,"message":{"role":"user","content":""},"finish_reason":"length"}]}');
  const row = (path) => at.field(page, path).locator("> .row");
  assert.match(await row("$.choices[0].finish_reason").textContent(), /FINISH_REASON_LENGTH = 2/);
  assert.match(await row("$.choices[0].message.content").textContent(), /""set, though zero/);
  await at.field(page, "$").focus();
  await page.keyboard.press("ArrowDown");
  const focused = () => page.evaluate(() => document.activeElement.dataset.path);
  assert.equal(await focused(), "$.choices[0]");
  await page.keyboard.press("ArrowLeft");
  assert.equal(await at.field(page, "$.choices[0].message").count(), 0);
  await page.keyboard.press("ArrowRight");
  await page.keyboard.press("ArrowRight");
  assert.equal(await focused(), "$.choices[0].message");
  await page.keyboard.press("ArrowLeft");
  await page.keyboard.press("ArrowLeft");
  assert.equal(await focused(), "$.choices[0]");
  await page.check("#unset");
  const unset = await page.locator("#tree .unset").allTextContents();
  assert.ok(unset.includes("system_fingerprintunset: stands for nulloptional string"), unset.join("\n"));
  await page.uncheck("#unset");
});

test("the tree shows maps, packed lists, and fields that the schema does not know", async () => {
  await read('{"object":"chat.completion","metadata":{"k":"v"}}', "chatpb.v1.ChatCompletion");
  const row = (path) => at.field(page, path).locator("> .row").textContent();
  assert.equal(await row("$.metadata"), "metadatamap<string, string>");
  assert.equal(await row("$.metadata.key"), 'key"k"');
  assert.equal(await row("$.metadata.value"), 'value"v"');
  assert.equal(await row("$.residue.absent_fields"), "absent_fields[1, 3, 4, 5, 8]repeated uint32");
  await at.give(page, "binary", "0a 01 61 f8 3f 01");
  assert.equal(await row("$.<field 1023>"), "<field 1023>01not in the schema");
  assert.equal(await row("$.id"), 'id"a"string');
});

test("tokens are coloured by probability and show their alternatives", async () => {
  await read(at.text("examples/completion.json"));
  const tokens = page.locator(".token-list .token");
  assert.deepEqual(await tokens.allTextContents(), ["Hi", " 👋"]);
  assert.match(await tokens.first().getAttribute("class"), /\bp0\b/);
  await tokens.first().hover();
  const alternatives = [
    ['"Hi"', "99.87 %", ""],
    ['"Hello"', "0.1099 %", ""],
  ];
  assert.deepEqual(await at.rows(page, "#token-tip"), alternatives);
  assert.deepEqual(await at.rows(page, "#token-details"), alternatives);
  const start = Number(await page.locator("#where").getAttribute("data-start"));
  const end = Number(await page.locator("#where").getAttribute("data-end"));
  assert.deepEqual(await at.markedBytes(page), at.range(start, end));
  assert.equal(await page.locator("#where code").textContent(), "$.choices[0].logprobs.content[0]");
  await tokens.first().focus();
  await page.keyboard.press("ArrowRight");
  assert.match(await page.locator("#token-details").textContent(), /token 2 of 2/);
  await page.keyboard.press("Escape");
  assert.equal(await page.locator("#token-tip").isVisible(), false);
});

test("several choices, refusals, and characters in pieces", async () => {
  await page.selectOption("#example", "0");
  assert.deepEqual(await page.locator(".token-list h3").allTextContents(), [
    "choices[0].logprobs content",
    "choices[1].logprobs content",
  ]);
  const split = page.locator(".token.split");
  assert.deepEqual(await split.allTextContents(), ["f0 9f 8c", "88"]);
  await split.last().hover();
  assert.match(await page.locator("#token-details").textContent(), /a part of "🌈", which tokens 12 to 13 make/);
  await read(at.text("tests/vectors/completion_refusal.json"));
  assert.deepEqual(await page.locator(".token-list h3").allTextContents(), ["choices[0].logprobs refusal"]);
  await read('{"choices": []}');
  assert.equal(await page.locator("#logprobs").isVisible(), false);
});

test("sizes", async () => {
  await read('{ "id": "ab",\n "choices": [{"index": 3, "finish_reason": "stop"}] }');
  assert.equal(await page.locator("#size-json").textContent(), `${SMALL.length} bytes`);
  assert.equal(await page.locator("#size-binary").textContent(), "23 bytes");
  assert.equal(await page.locator("#size-ratio").textContent(), "2.52 : 1");
});

test("an error in JSON shows path, offset and reason, and marks the place", async () => {
  await read('{"id": "🎉", "choices": [1, {"x": tru}]}');
  const problem = page.locator("#json-problem");
  assert.equal(await problem.locator(".path").textContent(), "$.choices[1].x");
  assert.equal(await problem.locator(".at").textContent(), "byte 36");
  assert.equal(await problem.locator(".reason").textContent(), "expected a value, got 'tru}]}'");
  const before = await page.locator("#json-behind").evaluate((box) => box.firstChild.textContent);
  assert.equal(before, '{"id": "🎉", "choices": [1, {"x": ');
  assert.equal(await page.locator("#json").getAttribute("aria-invalid"), "true");
  await problem.locator("button").click();
  assert.equal(await page.locator("#json").evaluate((area) => area.value.slice(area.selectionStart, area.selectionEnd)), "t");
  await read("{}");
  assert.equal(await problem.isVisible(), false);
});

for (const [name, written, path, byte, reason, mark] of [
  ["cut", "0a 05 61 62", "$.id", "byte 1", /^not the binary form of a chatpb.v1.ChatCompletion: /, "05"],
  ["cut below", "0a 01 61 2a 03 12 05 61", "$.choices[0].message", "byte 6", /^not the binary form/, "05"],
  ["cut in base64", "CgVhYg==", "$.id", "byte 1", /^not the binary form/, "gV"],
  ["text that is not UTF-8", "0a 01 ff", "$.id", "byte 2", /UTF-8/, "ff"],
  ["a field that the schema does not know", "f8 3f 01", "$", undefined, /is not in this version of the schema$/, undefined],
  ["cut behind a group", "fb 3f fc 3f 0a 05", "$", undefined, /a length beyond the end$/, undefined],
  ["no digit", "0a 0? 61", undefined, undefined, 'expected hexadecimal or base64, got "?"', "?"],
  ["odd", "0a 1", undefined, undefined, "expected two hexadecimal digits for each byte, got one at the end", "1"],
]) {
  test(`an error in the binary shows its place: ${name}`, async () => {
    await read("{}");
    await at.give(page, "binary", written);
    const problem = page.locator("#binary-problem");
    assert.equal(await problem.isVisible(), true);
    const said = await problem.locator(".reason").textContent();
    if (typeof reason === "string") assert.equal(said, reason);
    else assert.match(said, reason);
    const texts = (selector) => page.locator(selector).allTextContents();
    assert.deepEqual(await texts("#binary-problem .at"), byte === undefined ? [] : [byte]);
    assert.deepEqual(await texts("#binary-problem .path"), path === undefined ? [] : [path]);
    assert.deepEqual(await texts("#binary-behind mark"), mark === undefined ? [] : [mark]);
    assert.equal(await at.value(page, "json"), "");
  });
}

test("binary becomes JSON, from hexadecimal in any dress and from base64", async () => {
  await read("{}", "chatpb.v1.ChatCompletion");
  const json = JSON.parse(SMALL);
  for (const written of [
    "0a0261622a09080320017a031201037a06120402030408",
    "0x0a, 0x02, 0x61, 0x62, 0x2A, 0x09, 0x08, 0x03, 0x20, 0x01, 0x7a 03 12 01 03 7A:06:12:04:02:03:04:08",
    "CgJhYioJCAMgAXoDEgEDegYSBAIDBAg=",
  ]) {
    await at.give(page, "binary", written);
    assert.deepEqual(JSON.parse(await at.value(page, "json")), json);
    assert.equal(await page.locator("#size-binary").textContent(), "23 bytes");
  }
  await page.selectOption("#form", "base64");
  assert.equal(await at.value(page, "binary"), "CgJhYioJCAMgAXoDEgEDegYSBAIDBAg=");
  await page.selectOption("#form", "hex");
});

test("indenting keeps every token", async () => {
  const text = '{"id":"a \\" {b}","x":[1.50,{},[],-0.0,{"y":null}]}';
  await read(text);
  await page.click("#indent");
  const indented = await at.value(page, "json");
  assert.equal(indented.split("\n").length, 12);
  await page.click("#compact");
  assert.equal(await at.value(page, "json"), text);
});

test("follows the system's colours", async () => {
  const grounds = [];
  for (const colorScheme of ["light", "dark"]) {
    await page.emulateMedia({ colorScheme });
    grounds.push(await page.evaluate(() => getComputedStyle(document.body).backgroundColor));
  }
  assert.deepEqual(grounds, ["rgb(246, 247, 249)", "rgb(20, 23, 28)"]);
});

for (const colorScheme of ["light", "dark"]) {
  test(`text contrasts with its ground, ${colorScheme}`, async () => {
    await page.emulateMedia({ colorScheme });
    await page.selectOption("#example", "1");
    await page.selectOption("#example", "0");
    await page.locator("h1").hover();
    const low = await page.evaluate(lowContrast);
    assert.deepEqual(low, []);
  });
}

/** The texts on the page whose contrast is below 4.5 : 1 (WCAG AA). */
function lowContrast() {
  const parse = (color) => color.match(/[\d.]+/g).map(Number);
  const light = (color) => {
    const [r, g, b] = color.slice(0, 3).map((part) => {
      const share = part / 255;
      return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const found = new Set();
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const { parentElement: parent, textContent } = walker.currentNode;
    if (textContent.trim() === "" || !parent.checkVisibility() || parent.closest("noscript, :disabled, .behind, option")) continue;
    let ground = parent;
    while (ground !== null && parse(getComputedStyle(ground).backgroundColor)[3] === 0) ground = ground.parentElement;
    const [one, other] = [
      light(parse(getComputedStyle(parent).color)),
      light(parse(getComputedStyle(ground ?? document.body).backgroundColor)),
    ].sort((a, b) => b - a);
    const ratio = (one + 0.05) / (other + 0.05);
    if (ratio < 4.5) found.add(`${parent.className || parent.tagName} ${ratio.toFixed(2)}`);
  }
  return [...found];
}

test("a phone of 380 pixels scrolls down only", async () => {
  const phone = await at.open(browser, { viewport: { width: 380, height: 800 } });
  const examples = await phone.page.locator("#example option").count();
  assert.ok(examples >= 8);
  for (const index of at.range(0, examples)) {
    await phone.page.selectOption("#example", String(index));
    assert.equal(await phone.page.locator("#json-problem").isVisible(), false);
    const width = await phone.page.evaluate(() => document.documentElement.scrollWidth);
    assert.ok(width <= 380, `example ${index} is ${width} pixels wide`);
  }
  assert.equal(await phone.page.locator('#hex [role="row"]').first().locator("[data-at]").count(), 8);
  assert.deepEqual(phone.wrong, []);
  await phone.context.close();
});

test("an error moves nothing on the page", async () => {
  await read(SMALL);
  const top = () => page.locator("#tree-title").evaluate((title) => title.getBoundingClientRect().top + scrollY);
  const before = await top();
  await read("{");
  assert.equal(await top(), before);
});

test("a document of 1 MB stays usable: few elements, and it says what it leaves out", async () => {
  const tokens = at.range(0, 2400).map((index) => {
    const tops = at.range(0, 5).map((other) => {
      const token = ` t${(index * 31 + other * 977) % 9999}`;
      return { token, logprob: -(((index * 7 + other * 13) % 1000) / 101.7 + 0.01), bytes: [...Buffer.from(token)] };
    });
    return { ...tops[0], top_logprobs: tops };
  });
  const json = JSON.stringify({
    id: "big",
    object: "chat.completion",
    created: 1764000000,
    model: "m",
    choices: [{ index: 0, message: { role: "assistant", content: tokens.map(({ token }) => token).join(""), refusal: null, annotations: [] }, logprobs: { content: tokens, refusal: null }, finish_reason: "stop" }],
    system_fingerprint: null,
  });
  assert.ok(json.length > 1e6, `${json.length}`);
  await page.selectOption("#kind", "");
  const started = performance.now();
  await at.give(page, "json", json);
  await page.waitForFunction((size) => document.getElementById("size-json").textContent === size, `${json.length.toLocaleString("en")} bytes`);
  assert.ok(performance.now() - started < 10_000);
  const elements = () => page.evaluate(() => document.querySelectorAll("*").length);
  assert.ok((await elements()) < 5000, `${await elements()} elements`);
  assert.match(await page.locator("#hex-pages").textContent(), /^EarlierLater Bytes 0 to 511 of [\d,]+; the others are not shown\.$/);
  assert.match(await page.locator(".token-list .pages").textContent(), /Tokens 1 to 400 of 2,400; the others are not shown\.$/);
  await page.locator(".token-list .pages button").nth(1).click();
  await page.locator(".token-list .token").first().focus();
  assert.equal(await page.locator("#where code").textContent(), "$.choices[0].logprobs.content[400]");
  const marked = await at.markedBytes(page);
  assert.equal(String(marked[0]), await page.locator("#where").getAttribute("data-start"));
  assert.ok((await elements()) < 5000, `${await elements()} elements`);
});

test("is the same from a static server, and asks for nothing but its own files", async () => {
  const server = await at.serve();
  const served = await at.open(browser, { url: server.url });
  await at.give(served.page, "json", SMALL);
  assert.equal(await at.value(served.page, "binary"), "0a 02 61 62 2a 09 08 03 20 01 7a 03 12 01 03 7a 06 12 04 02 03 04 08");
  const files = served.requests.filter((url) => !url.startsWith("data:"));
  assert.deepEqual(files.sort(), ["", "playground.js", "style.css"].map((name) => server.url + name));
  assert.deepEqual(served.wrong, []);
  await served.context.close();
  server.close();
});

test("nothing went wrong in the page, and nothing left it", () => {
  assert.deepEqual(opened.wrong, []);
  const files = opened.requests.filter((url) => !url.startsWith("data:"));
  assert.deepEqual(files.map((url) => url.replace(/.*\//, "")).sort(), ["index.html", "playground.js", "style.css"]);
  assert.ok(files.every((url) => url.startsWith("file://")));
});
