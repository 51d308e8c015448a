// Calls a base URL with the official openai package, as it is in the registry, and prints what it
// gives. Usage: node client.mjs BASE_URL '{"create": [MODEL...], "stream": [...], "helper": [...],
// "abort": [...], "stored": [ID...]}'

import OpenAI from "openai";

const [baseURL, cases] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey: "k", maxRetries: 0, timeout: 20_000 });
const messages = [{ role: "user", content: "ping" }];

/** What a call gives, or how it fails. */
async function outcome(call) {
  try {
    return await call();
  } catch (error) {
    const { status, code, type, error: body } = error;
    const name = error.constructor.name;
    const retryAfter = error.headers?.get("retry-after") ?? null;
    return { failed: { name, message: error.message, status, code, type, body, retryAfter } };
  }
}

async function create(model) {
  const { data, request_id } = await client.chat.completions
    .create({ model, messages })
    .withResponse();
  return { data, request_id };
}

async function stream(model) {
  const chunks = [];
  for await (const chunk of await client.chat.completions.create({ model, messages, stream: true }))
    chunks.push(chunk);
  return chunks;
}

async function helper(model) {
  const runner = client.chat.completions.stream({ model, messages });
  return { completion: await runner.finalChatCompletion(), text: await runner.finalContent() };
}

async function abort(model) {
  const stopping = new AbortController();
  const chunks = [];
  const options = { signal: stopping.signal };
  const request = { model, messages, stream: true };
  for await (const chunk of await client.chat.completions.create(request, options)) {
    chunks.push(chunk);
    stopping.abort();
  }
  return chunks;
}

async function stored(id) {
  const { completions } = client.chat;
  const all = async (page) => {
    const found = [];
    for await (const each of page) found.push(each);
    return found;
  };
  return {
    ids: (await all(completions.list({ limit: 1 }))).map((each) => each.id),
    filtered: await all(completions.list({ metadata: { whose: "a b" }, order: "desc" })),
    one: await completions.retrieve(id),
    changed: await completions.update(id, { metadata: { k: "é" } }),
    messages: await all(completions.messages.list(id, { limit: 1 })),
    deleted: await completions.delete(id),
    gone: await outcome(() => completions.retrieve(id)),
    wrong: await outcome(() => all(completions.list({ limit: 101 }))),
  };
}

const kinds = { create, stream, helper, abort, stored };
const results = {};
for (const [kind, models] of Object.entries(JSON.parse(cases)))
  for (const model of models) results[`${kind} ${model}`] = await outcome(() => kinds[kind](model));
console.log(JSON.stringify(results));
