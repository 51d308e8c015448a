// The generated types that the page names; everything else it finds in their descriptors.
export * from "../../../polyglot/typescript/src/gen/chatpb/v1/chat_completion_pb.js";
export * from "../../../polyglot/typescript/src/gen/chatpb/v1/chat_completion_chunk_pb.js";
export * from "../../../polyglot/typescript/src/gen/chatpb/v1/chat_completion_request_pb.js";
export * from "../../../polyglot/typescript/src/gen/chatpb/v1/error_pb.js";
export * from "../../../polyglot/typescript/src/gen/chatpb/v1/logprobs_pb.js";
export * from "../../../polyglot/typescript/src/gen/chatpb/v1/model_pb.js";
export * from "../../../polyglot/typescript/src/gen/chatpb/v1/options_pb.js";
export * from "../../../polyglot/typescript/src/gen/chatpb/v1/stored_chat_completion_pb.js";
