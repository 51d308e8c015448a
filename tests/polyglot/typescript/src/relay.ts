import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { Code, ConnectError, createClient, type Client } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { ChatCompletionRequestSchema, ChatCompletionService, ErrorResponseSchema, Role } from "chatpb/v1";
import type { Report } from "./report.js";

/** How long a call may take that is answered, and in what time a call that is ended has ended. */
const LIMIT = 30_000;
const AT_ONCE = 5_000;

type Relay = Client<typeof ChatCompletionService>;

export async function checkRelay(address: string, report: Report): Promise<void> {
  const transport = createGrpcTransport({ baseUrl: `http://${address}`, defaultTimeoutMs: LIMIT });
  const relay = createClient(ChatCompletionService, transport);
  const cases = { unary, stream, compact, cancel, deadline, error };
  for (const [name, check] of Object.entries(cases)) await report.run("relay", name, () => check(relay));
  await report.run("relay", "example_connect", () => example(relay, "connect.js", `http://${address}`));
  await report.run("relay", "example_grpc_js", () => example(relay, "grpc_js.js", address));
}

const EXAMPLES = new URL("../../../../polyglot/typescript/build/examples/", import.meta.url);

/** Runs an example of the library, every line of which must tell the text that the model answers with. */
async function example(relay: Relay, name: string, address: string): Promise<void> {
  const program = fileURLToPath(new URL(name, EXAMPLES));
  const { stdout } = await promisify(execFile)(process.execPath, [program, address, "m"], { timeout: LIMIT });
  const texts = stdout.trimEnd().split("\n").map((line) => line.replace(/^\w+: /, ""));
  assert.ok(texts.length > 1);
  const expected = await answer(relay, "Say hello.");
  for (const text of texts) assert.equal(text, expected);
}

function ping(model: string, text = "ping", more: MessageInitShape<typeof ChatCompletionRequestSchema> = {}) {
  const messages = [{ role: Role.USER, content: { text } }];
  return create(ChatCompletionRequestSchema, { model, messages, ...more });
}

async function unary(relay: Relay): Promise<void> {
  assert.notEqual(await answer(relay), "");
}

async function stream(relay: Relay): Promise<void> {
  await streamed(relay, false);
}

async function compact(relay: Relay): Promise<void> {
  assert.ok((await streamed(relay, true)) > 0, "no chunk came compact");
}

async function cancel(relay: Relay): Promise<void> {
  const stopping = new AbortController();
  let start = Infinity;
  const read = async (): Promise<void> => {
    for await (const _ of relay.streamChatCompletion({ request: ping("slow") }, { signal: stopping.signal })) {
      start = Date.now();
      stopping.abort();
    }
  };
  await ends(read(), Code.Canceled);
  assert.ok(Date.now() - start < AT_ONCE, "the call did not end at once");
}

async function deadline(relay: Relay): Promise<void> {
  const start = Date.now();
  await ends(relay.createChatCompletion({ request: ping("slow") }, { timeoutMs: 200 }), Code.DeadlineExceeded);
  assert.ok(Date.now() - start < AT_ONCE, "the call did not end at once");
}

async function error(relay: Relay): Promise<void> {
  const call = relay.createChatCompletion({ request: ping("m", "ping", { temperature: 9 }) });
  const refusal = await ends(call, Code.InvalidArgument);
  const [detail] = refusal.findDetails(ErrorResponseSchema);
  assert.deepEqual(
    [detail?.error?.message, detail?.error?.type, detail?.error?.param],
    [refusal.rawMessage, "invalid_request_error", "temperature"],
  );
  const types = refusal.details.map((each) => ("type" in each ? each.type : each.desc.typeName));
  assert.ok(types.includes("google.rpc.RequestInfo"), `the details are ${types.join(", ")}`);
}

/** How a call fails, which must be with this code. */
async function ends(call: Promise<unknown>, code: Code): Promise<ConnectError> {
  try {
    await call;
  } catch (failure) {
    const found = ConnectError.from(failure);
    assert.equal(Code[found.code], Code[code], found.message);
    return found;
  }
  throw new Error(`expected ${Code[code]}, but the call was answered`);
}

/** The text of a whole completion. */
async function answer(relay: Relay, text = "ping"): Promise<string> {
  const { completion } = await relay.createChatCompletion({ request: ping("m", text) });
  assert.equal(completion?.choices.length, 1);
  return completion?.choices[0]?.message?.content ?? "";
}

/** Checks that a stream has the text of a whole completion, and counts its compact chunks. */
async function streamed(relay: Relay, compact: boolean): Promise<number> {
  const expected = await answer(relay);
  let text = "";
  let count = 0;
  for await (const { chunks, compactChunks } of relay.streamChatCompletion({ request: ping("m"), compact })) {
    count += compactChunks.length;
    for (const { choices } of [...chunks, ...compactChunks]) {
      for (const { delta } of choices) text += delta?.content ?? "";
    }
  }
  assert.equal(text, expected);
  return count;
}
