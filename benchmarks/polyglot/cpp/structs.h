// A completion as structs of the standard library, read by simdjson on demand: what a program without
// chatpb would have. A member that is absent, null or of another type is left at its default.

#ifndef STRUCTS_H
#define STRUCTS_H

#include <simdjson.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace structs {

struct Alternative {
  std::string token;
  double logprob = 0;
  std::optional<std::vector<std::int64_t>> bytes;
};

struct Token : Alternative {
  std::vector<Alternative> top_logprobs;
};

struct Logprobs {
  std::optional<std::vector<Token>> content, refusal;
};

struct ToolCall {
  std::string id, type, name, arguments;
};

struct Citation {
  std::int64_t start_index = 0, end_index = 0;
  std::string title, url;
};

struct Message {
  std::string role;
  std::optional<std::string> content, refusal;
  std::vector<Citation> annotations;
  std::vector<ToolCall> tool_calls;
};

struct Choice {
  std::int64_t index = 0;
  Message message;
  std::optional<Logprobs> logprobs;
  std::optional<std::string> finish_reason;
};

struct Usage {
  std::int64_t prompt_tokens = 0, completion_tokens = 0, total_tokens = 0;
  std::int64_t cached_tokens = 0, reasoning_tokens = 0;
};

struct Completion {
  std::string id, object, model;
  std::int64_t created = 0;
  std::vector<Choice> choices;
  std::optional<Usage> usage;
  std::optional<std::string> service_tier, system_fingerprint;
};

using Value = simdjson::simdjson_result<simdjson::ondemand::value>;
using Object = simdjson::ondemand::object;

inline void read(Value value, std::int64_t& to) {
  if (value.get_int64().get(to)) to = 0;
}
inline void read(Value value, double& to) {
  if (value.get_double().get(to)) to = 0;
}
inline void read(Value value, std::string& to) {
  std::string_view text;
  if (!value.get_string().get(text)) to = text;
}

inline void read_members(Object& object, Alternative& to);
inline void read_members(Object& object, Token& to);
inline void read_members(Object& object, Logprobs& to);
inline void read_members(Object& object, ToolCall& to);
inline void read_members(Object& object, Citation& to);
inline void read_members(Object& object, Message& to);
inline void read_members(Object& object, Choice& to);
inline void read_members(Object& object, Usage& to);

template <typename T>
auto read(Value value, T& to) -> decltype(read_members(std::declval<Object&>(), to)) {
  Object object;
  if (!value.get_object().get(object)) read_members(object, to);
}

template <typename T>
void read(Value value, std::vector<T>& to) {
  simdjson::ondemand::array array;
  if (value.get_array().get(array)) return;
  for (auto item : array) read(item, to.emplace_back());
}

template <typename T>
void read(Value value, std::optional<T>& to) {
  if (!value.error() && !value.is_null()) read(value, to.emplace());
}

// Members are looked for in the order in which api.openai.com sends them, which is the fast one.

inline void read_members(Object& object, Alternative& to) {
  read(object["token"], to.token);
  read(object["logprob"], to.logprob);
  read(object["bytes"], to.bytes);
}

inline void read_members(Object& object, Token& to) {
  read_members(object, static_cast<Alternative&>(to));
  read(object["top_logprobs"], to.top_logprobs);
}

inline void read_members(Object& object, Logprobs& to) {
  read(object["content"], to.content);
  read(object["refusal"], to.refusal);
}

inline void read_members(Object& object, ToolCall& to) {
  read(object["id"], to.id);
  read(object["type"], to.type);
  Object function;
  if (object["function"].get_object().get(function)) return;
  read(function["name"], to.name);
  read(function["arguments"], to.arguments);
}

inline void read_members(Object& object, Citation& to) {
  Object citation;
  if (object["url_citation"].get_object().get(citation)) return;
  read(citation["end_index"], to.end_index);
  read(citation["start_index"], to.start_index);
  read(citation["title"], to.title);
  read(citation["url"], to.url);
}

inline void read_members(Object& object, Message& to) {
  read(object["role"], to.role);
  read(object["content"], to.content);
  read(object["tool_calls"], to.tool_calls);
  read(object["refusal"], to.refusal);
  read(object["annotations"], to.annotations);
}

inline void read_members(Object& object, Choice& to) {
  read(object["index"], to.index);
  read(object["message"], to.message);
  read(object["logprobs"], to.logprobs);
  read(object["finish_reason"], to.finish_reason);
}

inline void read_members(Object& object, Usage& to) {
  read(object["prompt_tokens"], to.prompt_tokens);
  read(object["completion_tokens"], to.completion_tokens);
  read(object["total_tokens"], to.total_tokens);
  Object details;
  if (!object["prompt_tokens_details"].get_object().get(details))
    read(details["cached_tokens"], to.cached_tokens);
  if (!object["completion_tokens_details"].get_object().get(details))
    read(details["reasoning_tokens"], to.reasoning_tokens);
}

inline Completion parse(simdjson::ondemand::parser& parser, const simdjson::padded_string& text) {
  Completion to;
  auto document = parser.iterate(text);
  Object object;
  if (document.get_object().get(object)) return to;
  read(object["id"], to.id);
  read(object["object"], to.object);
  read(object["created"], to.created);
  read(object["model"], to.model);
  read(object["choices"], to.choices);
  read(object["usage"], to.usage);
  read(object["service_tier"], to.service_tier);
  read(object["system_fingerprint"], to.system_fingerprint);
  return to;
}

}  // namespace structs

#endif  // STRUCTS_H
