// Calls a base URL with the official openai package, as it is in the registry, and prints what it
// gives. Usage: node client.mjs BASE_URL '{"create": [MODEL...], "stream": [...], "abort": [...]}'

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

const kinds = { create, stream, helper, abort };
const results = {};
for (const [kind, models] of Object.entries(JSON.parse(cases)))
  for (const model of models) results[`${kind} ${model}`] = await outcome(() => kinds[kind](model));
console.log(JSON.stringify(results));
