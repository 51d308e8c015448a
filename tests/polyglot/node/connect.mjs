// Calls the rpcs of a relay with the Connect packages for Node and for web pages, and prints what they
// give. Usage: node connect.mjs URL DESCRIPTOR_SET

import { readFileSync } from "node:fs";
import { createFileRegistry, fromBinary, toJson } from "@bufbuild/protobuf";
import { FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";
import { ConnectError, createClient } from "@connectrpc/connect";
import * as node from "@connectrpc/connect-node";
import * as web from "@connectrpc/connect-web";

const [baseUrl, path] = process.argv.slice(2);
const registry = createFileRegistry(fromBinary(FileDescriptorSetSchema, readFileSync(path)));
const service = registry.getService("chatpb.v1.ChatCompletionService");
const completion = registry.getMessage("chatpb.v1.CreateChatCompletionResponse");
const response = registry.getMessage("chatpb.v1.StreamChatCompletionResponse");
const failure = registry.getMessage("chatpb.v1.ErrorResponse");

const transports = {};
for (const useBinaryFormat of [true, false]) {
  const options = { baseUrl, useBinaryFormat };
  const name = useBinaryFormat ? "binary" : "json";
  const http = { ...options, httpVersion: "1.1" };
  transports[`node ${name}`] = node.createConnectTransport(http);
  transports[`node ${name} gzip`] = node.createConnectTransport({
    ...http,
    sendCompression: node.compressionGzip,
    compressMinBytes: 0,
  });
  transports[`node ${name} grpc-web`] = node.createGrpcWebTransport(http);
  transports[`web ${name}`] = web.createConnectTransport(options);
  transports[`web ${name} grpc-web`] = web.createGrpcWebTransport(options);
}

/** What a call gives, or how it fails. */
async function outcome(call) {
  try {
    return await call();
  } catch (error) {
    const { code, rawMessage, metadata } = ConnectError.from(error);
    const [found] = error.findDetails(failure);
    const status = metadata.get("chatpb-http-status");
    return { failed: { code, message: rawMessage, error: found && toJson(failure, found), status } };
  }
}

const results = {};
for (const [name, transport] of Object.entries(transports)) {
  const client = createClient(service, transport);
  const asking = (model) => ({
    request: { model, messages: [{ role: 3, content: { text: "ping" } }] },
  });
  const unary = async (model, options) =>
    toJson(completion, await client.createChatCompletion(asking(model), options));
  const stream = async (model, options) => {
    const chunks = [];
    for await (const one of client.streamChatCompletion(asking(model), options)) {
      chunks.push(...toJson(response, one).chunks);
    }
    return chunks;
  };
  let requestId = null;
  const onTrailer = (trailers) => { requestId = trailers.get("x-request-id"); };
  results[name] = {
    unary: await outcome(() => unary("unary", { onTrailer })),
    requestId,
    stream: await outcome(() => stream("stream")),
    unaryError: await outcome(() => unary("error")),
    streamError: await outcome(() => stream("error")),
    late: await outcome(() => stream("hang", { timeoutMs: 300 })),
  };
}
console.log(JSON.stringify(results));
