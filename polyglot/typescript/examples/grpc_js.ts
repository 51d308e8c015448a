// A client of the relay with @grpc/grpc-js: an answer, and a compact stream that is folded.
// Usage: node grpc_js.js 127.0.0.1:50051 MODEL
import { create, type DescMessage, type DescMethod, type MessageShape } from "@bufbuild/protobuf";
import { Client, credentials, type MethodDefinition } from "@grpc/grpc-js";
import { Folder, fromBinary, restored, toBinary } from "chatpb";
import {
  ChatCompletionService,
  CreateChatCompletionRequestSchema,
  Role,
  StreamChatCompletionRequestSchema,
  type CreateChatCompletionResponse,
} from "chatpb/v1";

/** What grpc-js has to know of a method, from its descriptor. */
function definitionOf<I extends DescMessage, O extends DescMessage>(
  method: DescMethod & { input: I; output: O },
): MethodDefinition<MessageShape<I>, MessageShape<O>> {
  const { input, output, methodKind } = method;
  return {
    path: `/${method.parent.typeName}/${method.name}`,
    requestStream: methodKind === "client_streaming" || methodKind === "bidi_streaming",
    responseStream: methodKind === "server_streaming" || methodKind === "bidi_streaming",
    requestSerialize: (message) => Buffer.from(toBinary(input, message)),
    requestDeserialize: (data) => fromBinary(input, data),
    responseSerialize: (message) => Buffer.from(toBinary(output, message)),
    responseDeserialize: (data) => fromBinary(output, data),
  };
}

const [address = "127.0.0.1:50051", model = "builtin"] = process.argv.slice(2);
const client = new Client(address, credentials.createInsecure());
const request = { model, messages: [{ role: Role.USER, content: { text: "Say hello." } }] };

const unary = definitionOf(ChatCompletionService.method.createChatCompletion);
const answer = await new Promise<CreateChatCompletionResponse | undefined>((resolve, reject) => {
  const message = create(CreateChatCompletionRequestSchema, { request });
  client.makeUnaryRequest(unary.path, unary.requestSerialize, unary.responseDeserialize, message, (error, response) =>
    error === null ? resolve(response) : reject(error),
  );
});
console.log("answer:", answer?.completion?.choices[0]?.message?.content);

const stream = definitionOf(ChatCompletionService.method.streamChatCompletion);
const message = create(StreamChatCompletionRequestSchema, { request, compact: true });
const responses = client.makeServerStreamRequest(stream.path, stream.requestSerialize, stream.responseDeserialize, message);
const folder = new Folder();
for await (const chunk of restored(responses)) folder.add(chunk);
console.log("folded:", folder.finish().choices[0]?.message?.content);
client.close();
