// The AI SDK of Vercel.

import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { Output, generateText, jsonSchema, streamText, tool } from "ai";
import { Point, model, run, timeout } from "./cases.mjs";

run((baseURL) => {
  const provider = createOpenAICompatible({
    name: "relay",
    baseURL,
    apiKey: "key",
    includeUsage: true,
    supportsStructuredOutputs: true,
  });

  /** The arguments of a call. What the AI SDK has no name for goes as it is. */
  function asked(it, signal = AbortSignal.timeout(timeout(it))) {
    const { messages, tools = [], temperature, ...relay } = it.request;
    delete relay.stream_options;
    const named = tools.map(({ function: { name, parameters } }) => [
      name,
      tool({ inputSchema: jsonSchema(parameters) }),
    ]);
    const system = messages.filter(({ role }) => role === "system").map(({ content }) => content);
    return {
      model: provider(model(it)),
      instructions: system.length ? system.join("\n") : undefined,
      messages: messages.filter(({ role }) => role !== "system").map(message),
      tools: named.length ? Object.fromEntries(named) : undefined,
      temperature,
      providerOptions: { relay },
      maxRetries: 0,
      abortSignal: signal,
      onError: () => {},
    };
  }

  return {
    async create(it) {
      return said(await generateText(asked(it)));
    },
    async structured(it) {
      const found = await generateText({ ...asked(it), output: Output.object({ schema: Point }) });
      return { output: found.output, ...said(found) };
    },
    async stream(it) {
      const found = streamText(asked(it));
      const parts = [];
      for await (const part of found.fullStream) {
        if (part.type === "error") throw part.error;
        parts.push({ type: part.type, text: part.text ?? part.delta });
      }
      return { parts, finishReason: await found.finishReason, usage: await found.usage };
    },
    async cancel(it) {
      const stopping = new AbortController();
      for await (const text of streamText(asked(it, stopping.signal)).textStream) {
        stopping.abort();
        return text;
      }
    },
  };
});

function message({ role, content }) {
  if (typeof content === "string") return { role, content };
  return {
    role,
    content: content.map((part) =>
      part.type === "text" ? part : { type: "image", image: new URL(part.image_url.url) },
    ),
  };
}

function said({ text, toolCalls, finishReason, usage, response: { id, modelId, headers, body } }) {
  const calls = toolCalls.map(({ toolName, toolCallId, input }) => [toolName, toolCallId, input]);
  return { text, calls, finishReason, usage, id, modelId, body, request: headers["x-request-id"] };
}
