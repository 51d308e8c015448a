// A client of the relay with connect-es: an answer, a stream, and a compact stream that is folded.
// Usage: node connect.js http://127.0.0.1:50051 MODEL
import { createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { Folder, restored } from "chatpb";
import { ChatCompletionService, Role } from "chatpb/v1";

const [baseUrl = "http://127.0.0.1:50051", model = "builtin"] = process.argv.slice(2);
const client = createClient(ChatCompletionService, createGrpcTransport({ baseUrl }));
const request = { model, messages: [{ role: Role.USER, content: { text: "Say hello." } }] };

const { completion } = await client.createChatCompletion({ request });
console.log("answer:", completion?.choices[0]?.message?.content);

let streamed = "";
for await (const { chunks } of client.streamChatCompletion({ request })) {
  for (const chunk of chunks) streamed += chunk.choices[0]?.delta?.content ?? "";
}
console.log("stream:", streamed);

const folder = new Folder();
for await (const chunk of restored(client.streamChatCompletion({ request, compact: true }))) folder.add(chunk);
const folded = folder.finish();
console.log("folded:", folded.choices[0]?.message?.content);
