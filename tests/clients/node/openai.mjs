// OpenAI's own client.

import OpenAI from "openai";
import { zodResponseFormat } from "openai/helpers/zod";
import { Point, model, run, timeout } from "./cases.mjs";

run((baseURL) => {
  const { completions } = new OpenAI({ baseURL, apiKey: "key", maxRetries: 0 }).chat;
  const asked = (it) => ({ model: model(it), ...it.request });
  return {
    async create(it) {
      const call = completions.create(asked(it), { timeout: timeout(it) });
      const { data, request_id, response } = await call.withResponse();
      return { data, request_id, left: response.headers.get("x-ratelimit-remaining-tokens") };
    },
    async structured(it) {
      const format = { response_format: zodResponseFormat(Point, "point") };
      return await completions.parse({ ...asked(it), ...format });
    },
    async stream(it) {
      const chunks = [];
      for await (const chunk of await completions.create({ ...asked(it), stream: true }))
        chunks.push(chunk);
      const helper = completions.stream(asked(it));
      return { chunks, completion: await helper.finalChatCompletion() };
    },
    async cancel(it) {
      const stopping = new AbortController();
      const options = { signal: stopping.signal };
      for await (const chunk of await completions.create({ ...asked(it), stream: true }, options)) {
        stopping.abort();
        return chunk;
      }
    },
  };
});
