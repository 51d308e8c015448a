#include "openai.h"

#include <chatpb.hpp>
#include <filesystem>
#include <regex>
#include <stdexcept>

#include "json_value.h"

namespace fs = std::filesystem;
using nlohmann::json;

namespace {

constexpr char kBom[] = "\xef\xbb\xbf";

// The text with white space around each sign of JSON's that is not in a string.
std::string Spaced(const std::string& text) {
  std::string spaced;
  bool in_string = false;
  for (std::size_t at = 0; at < text.size(); ++at) {
    const char c = text[at];
    if (in_string && c == '\\') {
      spaced += c;
      spaced += text[++at];
      continue;
    }
    if (c == '"') in_string = !in_string;
    const bool is_sign = !in_string && std::string("[]{},:").find(c) != std::string::npos;
    if (is_sign) spaced += " \r\n";
    spaced += c;
    if (is_sign) spaced += "\t ";
  }
  return spaced;
}

// Each extra_json in a message must be in the JSON as it is spelled.
std::string CheckSpelling(const google::protobuf::Message& message, const std::string& written) {
  std::vector<const google::protobuf::FieldDescriptor*> fields;
  const auto* reflection = message.GetReflection();
  reflection->ListFields(message, &fields);
  for (const auto* field : fields) {
    if (field->name() == "extra_json") {
      const auto extra = reflection->GetString(message, field);
      if (written.find(extra.substr(1, extra.size() - 2)) == std::string::npos)
        return extra + " is spelled otherwise";
    }
    if (field->cpp_type() != field->CPPTYPE_MESSAGE) continue;
    const int count = field->is_repeated() ? reflection->FieldSize(message, field) : 1;
    for (int index = 0; index < count; ++index) {
      const auto& inner = field->is_repeated()
                              ? reflection->GetRepeatedMessage(message, field, index)
                              : reflection->GetMessage(message, field);
      if (auto wrong = CheckSpelling(inner, written); !wrong.empty()) return wrong;
    }
  }
  return "";
}

std::string CheckVector(const json& vector, const std::string& path) {
  const auto expected = Read(path + ".binpb");
  auto text = Read(path + ".json");
  if (text.rfind(kBom, 0) == 0) text.erase(0, 3);
  const auto name = vector["message_type"].get<std::string>();
  const chatpb::MessageType type(name);
  const auto message = NewMessage(name);
  for (const auto& each : {text, kBom + text, Spaced(text)}) {
    if (chatpb::json_to_binary(each, type) != expected) return "json_to_binary gives other bytes";
    chatpb::from_json(each, *message);
    if (Serialize(*message) != expected) return "from_json gives another message";
  }
  const auto written = chatpb::to_json(*message);
  if (written != chatpb::binary_to_json(expected, type)) return "to_json is not binary_to_json";
  if (auto wrong = CheckSpelling(*message, written); !wrong.empty()) return wrong;
  return Difference(ParseJson(text), ParseJson(written));
}

std::string CheckInvalid(const json& vector, const std::string& path) {
  const chatpb::MessageType type(vector["message_type"].get<std::string>());
  try {
    if (vector["form"] == "json")
      chatpb::json_to_binary(Read(path + ".json"), type);
    else
      chatpb::binary_to_json(Read(path + ".binpb"), type);
    return "it was converted";
  } catch (const chatpb::ConversionError& error) {
    const auto offset = error.offset() ? json(*error.offset()) : json();
    const bool is_same = error.path() == vector["path"] && offset == vector.value("offset", json()) &&
                         error.reason().rfind(vector["reason"].get<std::string>(), 0) == 0;
    return is_same ? "" : "expected " + vector.dump() + ", got " + error.what();
  }
}

// The type as which the command line of chatpb reads a recorded text.
std::string TypeOf(const JsonValue& value, const std::string& name, bool in_stream,
                   const std::string& event) {
  const std::string completion = "ChatCompletion", chunk = "ChatCompletionChunk",
                    error = "ErrorResponse", request = "ChatCompletionRequest";
  const auto has = [&](const char* member) { return value.Find(member) != nullptr; };
  const auto* choices = value.Find("choices");
  const bool has_delta = choices != nullptr && choices->AnyHas("delta");
  if (in_stream && has_delta) return chunk;
  const auto* object = value.Find("object");
  const std::string kind = object == nullptr ? "" : object->text;
  if (kind == "chat.completion") return completion;
  if (kind == "chat.completion.chunk") return chunk;
  if (kind == "chat.completion.deleted") return "ChatCompletionDeleted";
  if (kind == "error") return error;
  if (kind == "list") {
    const auto* data = value.Find("data");
    const bool is_messages = data != nullptr && !data->items.empty() && !data->AnyHas("choices");
    return is_messages ? "ChatCompletionStoreMessageList" : "ChatCompletionList";
  }
  if (choices != nullptr && !(has("error") && choices->kind == JsonValue::Kind::kNull))
    return !choices->AnyHas("message") && (has_delta || in_stream) ? chunk : completion;
  if (has("error")) return error;
  if (has("messages")) return request;
  if ((!has("id") && (has("message") || has("detail"))) || event == "error") return error;
  if (name.find(".request.json:") != std::string::npos) return request;
  if (name.find(".error.json:") != std::string::npos) return error;
  return in_stream ? chunk : completion;
}

std::string CheckRecorded(const std::string& text, const std::string& name, bool in_stream,
                          const std::string& event) {
  const auto value = ParseJson(text);
  const auto message = NewMessage("chatpb.v1." + TypeOf(value, name, in_stream, event));
  chatpb::from_json(text, *message);
  return Difference(value, ParseJson(chatpb::to_json(*message)));
}

template <typename Check>
void Run(const Report& report, const std::string& kind, const std::string& name, Check check) {
  try {
    report(kind, name, check());
  } catch (const std::exception& error) {
    report(kind, name, error.what());
  }
}

std::vector<std::string> Split(const std::string& text, const std::string& separator) {
  std::vector<std::string> parts;
  std::size_t at = 0;
  for (auto end = text.find(separator); end != std::string::npos;
       at = end + separator.size(), end = text.find(separator, at))
    parts.push_back(text.substr(at, end - at));
  parts.push_back(text.substr(at));
  return parts;
}

// The name and the joined data of a block of a recorded event stream.
std::pair<std::string, std::string> Event(const std::string& block) {
  std::string event, data;
  for (const auto& line : Split(block, "\n")) {
    const auto colon = line.find(':');
    auto value = colon == std::string::npos ? "" : line.substr(colon + 1);
    if (value.rfind(' ', 0) == 0) value.erase(0, 1);
    if (line.substr(0, colon) == "event") event = value;
    if (line.substr(0, colon) == "data") data += (data.empty() ? "" : "\n") + value;
  }
  return {event, data};
}

}  // namespace

void CheckJson(const std::string& vectors, const Report& report) {
  for (const auto& vector : json::parse(Read(vectors + "/manifest.json"))) {
    const auto name = vector["name"].get<std::string>();
    Run(report, "json", name, [&] { return CheckVector(vector, vectors + "/" + name); });
  }
  for (const auto& vector : json::parse(Read(vectors + "/invalid/manifest.json"))) {
    const auto name = "invalid/" + vector["name"].get<std::string>();
    Run(report, "json", name, [&] { return CheckInvalid(vector, vectors + "/" + name); });
  }
}

void CheckCorpus(const std::string& folder, const Report& report) {
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    const auto ending = entry.path().extension();
    if (!entry.is_regular_file() || (ending != ".json" && ending != ".jsonl" && ending != ".sse"))
      continue;
    auto text = Read(entry.path().string());
    const auto file = fs::relative(entry.path(), folder).generic_string();
    if (ending == ".sse") text = std::regex_replace(text, std::regex("\r\n"), "\n");
    const auto parts = ending == ".json" ? std::vector<std::string>{text}
                                         : Split(text, ending == ".sse" ? "\n\n" : "\n");
    int count = 0;
    for (const auto& part : parts) {
      auto [event, data] = ending == ".sse" ? Event(part) : std::pair<std::string, std::string>{"", part};
      if (data.find_first_not_of(" \t\r\n") == std::string::npos || data == "[DONE]") continue;
      const auto name = file + ":" + std::to_string(++count);
      Run(report, "corpus", name, [&, &event = event, &data = data] {
        return CheckRecorded(data, name, ending != ".json", event);
      });
    }
  }
}
