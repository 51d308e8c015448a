#include "streams.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>

#include <algorithm>
#include <chatpb.hpp>
#include <map>
#include <sstream>
#include <stdexcept>

#include "chatpb/v1/chat_completion.pb.h"
#include "chatpb/v1/chat_completion_chunk.pb.h"
#include "chatpb/v1/chat_completion_service.pb.h"
#include "chatpb/v1/error.pb.h"

using chatpb::v1::ChatCompletion;
using chatpb::v1::ChatCompletionChunk;
using chatpb::v1::ErrorResponse;
using chatpb::v1::StreamChatCompletionResponse;
using nlohmann::json;
using Chunks = std::vector<ChatCompletionChunk>;
using Bytes = std::vector<std::string>;

namespace {

void Require(bool holds, const std::string& what) {
  if (!holds) throw std::runtime_error(what);
}

// The messages of a file, each after its length.
Bytes Delimited(const std::string& path) {
  const auto data = Read(path);
  google::protobuf::io::CodedInputStream input(reinterpret_cast<const std::uint8_t*>(data.data()),
                                               static_cast<int>(data.size()));
  Bytes all;
  for (std::uint32_t size; input.ReadVarint32(&size);)
    Require(input.ReadString(&all.emplace_back(), static_cast<int>(size)), "a file is cut");
  return all;
}

// A message with one field, which has these bytes.
std::string Field(int number, const std::string& bytes) {
  std::string data;
  google::protobuf::io::StringOutputStream stream(&data);
  google::protobuf::io::CodedOutputStream coded(&stream);
  coded.WriteTag(static_cast<std::uint32_t>(number) << 3 | 2);
  coded.WriteVarint32(static_cast<std::uint32_t>(bytes.size()));
  coded.WriteString(bytes);
  coded.Trim();
  return data;
}

Bytes Serialized(const Chunks& chunks) {
  Bytes all;
  for (const auto& chunk : chunks) all.push_back(Serialize(chunk));
  return all;
}

template <typename Message>
std::vector<Message> ParsedAll(const Bytes& all) {
  std::vector<Message> messages(all.size());
  for (std::size_t index = 0; index < all.size(); ++index)
    Require(messages[index].ParseFromString(all[index]), "it does not parse");
  return messages;
}

chatpb::Options OptionsOf(const json& vector) {
  chatpb::Options options;
  options.allow_nan = vector.value("allow_nan", false);
  return options;
}

Chunks ReadChunks(const json& vector, const std::string& path) {
  std::istringstream lines(Read(path + ".jsonl"));
  Chunks chunks;
  for (std::string line; std::getline(lines, line);)
    if (!line.empty())
      chunks.push_back(chatpb::from_json<ChatCompletionChunk>(line, OptionsOf(vector)));
  return chunks;
}

std::string Unhex(const std::string& digits) {
  std::string data;
  for (std::size_t at = 0; at < digits.size(); at += 2)
    data += static_cast<char>(std::stoi(digits.substr(at, 2), nullptr, 16));
  return data;
}

// Runs something that must fail for the reason of the vector, if that has one.
template <typename Work>
void Gives(const json& vector, Work work) {
  const auto reason = vector.value("reason", json());
  try {
    work();
  } catch (const chatpb::ConversionError& error) {
    const auto offset = error.offset() ? json(*error.offset()) : json();
    Require(!reason.is_null() && error.reason().rfind(reason.get<std::string>(), 0) == 0 &&
                error.path() == vector.value("path", error.path()) &&
                (!vector.contains("offset") || offset == vector["offset"]),
            std::string("expected ") + reason.dump() + ", got " + error.what());
    return;
  }
  Require(reason.is_null(), "expected " + reason.dump());
}

void CheckFold(const json& vector, const std::string& path) {
  const auto chunks = ReadChunks(vector, path);
  const auto expected = Read(path + ".binpb");
  const auto folded = chatpb::fold<ChatCompletion>(chunks);
  Require(Serialize(folded) == expected, "fold gives another completion");
  Require(chatpb::fold(Serialized(chunks)) == expected, "fold of bytes gives another completion");
  const auto again = chatpb::fold(chatpb::unfold<ChatCompletionChunk>(folded));
  Require(again == expected, "fold of unfold gives another completion");
}

void CheckUnfold(const json& vector, const std::string& path) {
  const auto completion =
      chatpb::from_json<ChatCompletion>(Read(path + ".json"), OptionsOf(vector));
  const auto expected = Delimited(path + ".binpbs");
  Require(chatpb::unfold(Serialize(completion)) == expected, "unfold gives other chunks");
  Require(Serialized(chatpb::unfold<ChatCompletionChunk>(completion)) == expected,
          "unfold of a message gives other chunks");
}

void CheckCompact(const json& vector, const std::string& path) {
  const auto responses = Delimited(path + ".binpbs");
  chatpb::Restorer restorer;
  Chunks restored;
  Gives(vector, [&] {
    for (const auto& response : ParsedAll<StreamChatCompletionResponse>(responses))
      restorer.add(response, [&](const auto& chunk) { restored.push_back(chunk); });
  });
  Require(Serialized(restored) == Delimited(path + ".chunks.binpbs"), "other chunks are restored");
  if (vector.contains("responses")) return;
  chatpb::Compactor compactor;
  Bytes compacted;
  for (const auto& chunk : ReadChunks(vector, path)) {
    const auto whole = Serialize(chunk);
    const auto compact = compactor.add(whole);
    compacted.push_back(compact ? Field(StreamChatCompletionResponse::kCompactChunksFieldNumber, *compact)
                                : Field(StreamChatCompletionResponse::kChunksFieldNumber, whole));
  }
  Require(compacted == responses, "the compactor gives other responses");
}

void CheckSse(const json& vector, const std::string& path) {
  const std::string data = Read(path + ".sse");
  Bytes expected;
  for (const auto& chunk : vector["chunks"]) expected.push_back(Unhex(chunk));
  for (const std::size_t size : {std::max<std::size_t>(data.size(), 1), std::size_t{1}, std::size_t{7}}) {
    chatpb::ChunkDecoder decoder(vector["max_event_bytes"], OptionsOf(vector));
    Chunks found;
    const auto take = [&](Chunks chunks) {
      for (auto& chunk : chunks) found.push_back(std::move(chunk));
      return !chunks.empty();
    };
    Gives(vector, [&] {
      for (std::size_t at = 0; at < data.size(); at += size)
        take(decoder.feed<ChatCompletionChunk>(data.substr(at, size)));
      while (take(decoder.close<ChatCompletionChunk>())) {
      }
    });
    Require(Serialized(found) == expected, "other chunks");
    const auto error = decoder.error<ErrorResponse>();
    Require(error.has_value() != vector["error"].is_null() &&
                (!error || Serialize(*error) == Unhex(vector["error"])),
            "another error");
    Require(decoder.is_error_of_choice() == vector["is_error_of_choice"], "another kind of error");
    Require(decoder.is_done() == vector["is_done"], "another end");
  }
}

}  // namespace

void CheckStreams(const std::string& vectors, const Report& report) {
  const std::map<std::string, void (*)(const json&, const std::string&)> checks = {
      {"fold", CheckFold}, {"unfold", CheckUnfold}, {"compact", CheckCompact}, {"sse", CheckSse}};
  const auto folder = vectors + "/stream";
  for (const auto& vector : json::parse(Read(folder + "/manifest.json"))) {
    const auto kind = vector["kind"].get<std::string>();
    const auto name = vector["name"].get<std::string>();
    std::string wrong;
    try {
      checks.at(kind)(vector, folder + "/" + name);
    } catch (const std::exception& error) {
      wrong = error.what();
    }
    report(kind, name, wrong);
  }
}
