// Checks that C++ reads chatpb's messages as every other language does.
//
//     cpp-runner VECTORS_DIR [RELAY_ADDRESS]
//
// prints a line for each case, as tests/vectors/README.md says.

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>
#include <google/protobuf/text_format.h>
#include <google/protobuf/util/json_util.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <iterator>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>

#include "chatpb/v1/chat_completion_service.pb.h"
#include "chatpb/v1/completion_record.pb.h"
#include "chatpb/v1/model_service.pb.h"
#include "chatpb/v1/stored_chat_completion_service.pb.h"
#include "fields.h"
#include "openai.h"
#include "relay.h"
#include "report.h"
#include "streams.h"

namespace pb = google::protobuf;
using nlohmann::json;

namespace {

// What libprotobuf of this version cannot do, by kind and case, with the reason.
const std::map<std::string, std::string> kLimits = {
    {"json_view completion_logprobs", "the JSON parser of libprotobuf 3.21 reads -0 as 0"},
    {"json_view completion_stored", "the JSON parser of libprotobuf 3.21 reads -0 as 0"},
    {"json_view request_zeros", "the JSON parser of libprotobuf 3.21 reads -0 as 0"},
};

bool all_ok = true;

void Print(const std::string& kind, const std::string& name, std::string wrong) {
  std::string result = "ok";
  const auto limit = kLimits.find(kind + " " + name);
  if (limit != kLimits.end()) {
    result = "limit: " + limit->second;
    wrong = wrong.empty() ? "it is a limit no more: " + limit->second : "";
  }
  if (!wrong.empty()) {
    std::replace_if(wrong.begin(), wrong.end(), [](char c) { return c == '\n' || c == '\t'; }, ' ');
    result = "FAIL: " + wrong;
    all_ok = false;
  }
  std::cout << kind << '\t' << name << '\t' << result << std::endl;
}

std::string CheckText(const json& vector, const std::string& path, const std::string& data) {
  const auto message = NewMessage(vector["message_type"]);
  if (!pb::TextFormat::ParseFromString(Read(path + ".txtpb"), message.get()))
    return "cannot parse the text";
  return Serialize(*message) == data ? "" : "the text gives another message";
}

// protobuf's own JSON view, which is not OpenAI's JSON.
std::string CheckJsonView(const json& vector, const pb::Message& message) {
  std::string text;
  const auto copy = NewMessage(vector["message_type"]);
  if (const auto status = pb::util::MessageToJsonString(message, &text); !status.ok())
    return status.ToString();
  if (const auto status = pb::util::JsonStringToMessage(text, copy.get()); !status.ok())
    return status.ToString();
  return Serialize(*copy) == Serialize(message) ? "" : "another message came back";
}

// A vector of bytes that are a message; those with a text form have a JSON view as well.
void CheckVector(const json& vector, const std::string& folder, bool has_text) {
  const auto name = vector["name"].get<std::string>();
  const auto path = folder + "/" + name;
  const auto message = NewMessage(vector["message_type"]);
  if (!message->ParseFromString(Read(path + ".binpb"))) {
    Print("parse", name, "it does not parse");
    return;
  }
  Print("parse", name, CheckFields(*message, json::parse(Read(path + ".fields.json"))));
  const auto canonical = Read(path + (has_text ? ".binpb" : ".canonical.binpb"));
  Print("serialize", name, Serialize(*message) == canonical ? "" : "other bytes");
  if (!has_text) return;
  Print("textformat", name, CheckText(vector, path, canonical));
  Print("json_view", name, CheckJsonView(vector, *message));
}

}  // namespace

std::string Read(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error("cannot read " + path);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::unique_ptr<pb::Message> NewMessage(const std::string& name) {
  const auto* type = pb::DescriptorPool::generated_pool()->FindMessageTypeByName(name);
  if (type == nullptr) throw std::runtime_error("there is no message type " + name);
  const auto* prototype = pb::MessageFactory::generated_factory()->GetPrototype(type);
  return std::unique_ptr<pb::Message>(prototype->New());
}

std::string Serialize(const pb::Message& message) {
  std::string data;
  {
    pb::io::StringOutputStream stream(&data);
    pb::io::CodedOutputStream coded(&stream);
    coded.SetSerializationDeterministic(true);
    message.SerializeToCodedStream(&coded);
  }
  return data;
}

int main(int argc, char** argv) {
  if (argc != 2 && argc != 3) {
    std::cerr << "usage: cpp-runner VECTORS_DIR [RELAY_ADDRESS]\n";
    return 2;
  }
  // Bytes that are refused are no news: only the results are.
  pb::SetLogHandler(nullptr);
  // Links the files that nothing else here refers to.
  chatpb::v1::CompletionRecord::descriptor();
  chatpb::v1::ChatCompletionList::descriptor();
  chatpb::v1::ListModelsResponse::descriptor();

  const std::string vectors = argv[1];
  for (const auto& vector : json::parse(Read(vectors + "/manifest.json")))
    CheckVector(vector, vectors, true);
  const auto binary = vectors + "/binary";
  for (const auto& vector : json::parse(Read(binary + "/manifest.json"))) {
    if (!vector.value("invalid", false)) {
      CheckVector(vector, binary, false);
      continue;
    }
    const auto name = vector["name"].get<std::string>();
    const bool parses = NewMessage(vector["message_type"])->ParseFromString(Read(binary + "/" + name + ".binpb"));
    Print("reject", name, parses ? "it parses" : "");
  }
  CheckJson(vectors, Print);
  CheckStreams(vectors, Print);
  if (const char* corpus = std::getenv("CHATPB_CORPUS")) CheckCorpus(corpus, Print);
  if (argc == 3)
    CheckRelay(argv[2], [](const auto& name, const auto& wrong) { Print("relay", name, wrong); });
  return all_ok ? 0 : 1;
}
