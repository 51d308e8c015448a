// Measures libchatpb next to simdjson, which reads the same text, visiting every value or filling
// structs, and rapidjson, which writes what it has read.
//
//     bench-cpp [--seconds S] FILE...
//
// benchmarks/polyglot/compare.py has the form of what it prints.

#include <rapidjson/document.h>
#include <rapidjson/stringbuffer.h>
#include <rapidjson/writer.h>
#include <simdjson.h>

#include <chatpb.hpp>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include "chatpb/v1/chat_completion.pb.h"
#include "structs.h"

using Clock = std::chrono::steady_clock;
using chatpb::v1::ChatCompletion;

namespace {

// Keeps what is computed from being left out.
volatile std::size_t sink;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

template <typename Work>
double round_of(int calls, Work& work) {
  const auto start = Clock::now();
  for (int call = 0; call < calls; ++call) work();
  return seconds_since(start) * 1e9 / calls;
}

// Prints the least time of a round of each, in nanoseconds for one call. The rounds alternate.
template <typename Ours, typename Peer>
void measure(const std::string& stem, const char* operation, const char* name, double seconds,
             Ours ours, Peer peer) {
  round_of(3, peer);
  const int calls = 1 + static_cast<int>(2e6 / round_of(3, ours));
  double least = 1e18, least_peer = 1e18;
  for (const auto start = Clock::now(); seconds_since(start) < seconds;) {
    least = std::min(least, round_of(calls, ours));
    least_peer = std::min(least_peer, round_of(calls, peer));
  }
  std::printf("%s\t%s\t%s\t%.0f\t%.0f\n", stem.c_str(), operation, name, least, least_peer);
  std::fflush(stdout);
}

std::size_t walk(simdjson::dom::element element) {
  switch (element.type()) {
    case simdjson::dom::element_type::ARRAY: {
      std::size_t sum = 1;
      for (const auto item : simdjson::dom::array(element)) sum += walk(item);
      return sum;
    }
    case simdjson::dom::element_type::OBJECT: {
      std::size_t sum = 1;
      for (const auto field : simdjson::dom::object(element))
        sum += field.key.size() + walk(field.value);
      return sum;
    }
    case simdjson::dom::element_type::STRING:
      return std::string_view(element).size();
    case simdjson::dom::element_type::DOUBLE:
      return static_cast<std::size_t>(double(element) != 0);
    default:
      return 1;
  }
}

void measure_file(const std::string& path, double seconds) {
  std::ifstream file(path, std::ios::binary);
  const std::string text(std::istreambuf_iterator<char>(file), {});
  const auto stem = std::filesystem::path(path).stem().string();
  const auto type = chatpb::MessageType::of<ChatCompletion>();
  const auto binary = chatpb::json_to_binary(text, type);
  const auto message = chatpb::from_json<ChatCompletion>(text);

  simdjson::dom::parser parser;
  simdjson::ondemand::parser on_demand;
  const simdjson::padded_string padded(text);
  const auto walk_all = [&] { sink = walk(parser.parse(padded)); };
  const auto fill = [&] { sink = structs::parse(on_demand, padded).choices.size(); };
  rapidjson::Document document;
  document.Parse(text.data(), text.size());
  const auto write = [&] {
    rapidjson::StringBuffer buffer;
    rapidjson::Writer<rapidjson::StringBuffer> writer(buffer);
    document.Accept(writer);
    sink = buffer.GetSize();
  };
  // Like simdjson's parser, the memory of what is read is used again.
  std::string out;
  ChatCompletion target;
  const auto to_binary = [&] {
    chatpb::json_to_binary(text, type, out);
    sink = out.size();
  };
  const auto from_json = [&] {
    chatpb::from_json(text, target);
    sink = target.choices_size();
  };
  const auto from_json_on_arena = [&] {
    google::protobuf::Arena arena;
    auto* message = google::protobuf::Arena::CreateMessage<ChatCompletion>(&arena);
    chatpb::from_json(text, *message);
    sink = message->choices_size();
  };
  const auto to_json = [&] {
    chatpb::binary_to_json(binary, type, out);
    sink = out.size();
  };
  measure(stem, "json_to_binary", "simdjson", seconds, to_binary, walk_all);
  measure(stem, "json_to_binary", "simdjson into structs", seconds, to_binary, fill);
  measure(stem, "from_json", "simdjson", seconds, from_json, walk_all);
  measure(stem, "from_json", "simdjson into structs", seconds, from_json, fill);
  measure(stem, "from_json (arena)", "simdjson into structs", seconds, from_json_on_arena, fill);
  measure(stem, "binary_to_json", "rapidjson", seconds, to_json, write);
  measure(stem, "to_json", "rapidjson", seconds, [&] { sink = chatpb::to_json(message).size(); },
          write);
}

}  // namespace

int main(int argc, char** argv) {
  double seconds = 1;
  int at = 1;
  if (at + 1 < argc && std::string(argv[at]) == "--seconds") {
    seconds = std::atof(argv[at + 1]);
    at += 2;
  }
  for (; at < argc; ++at) measure_file(argv[at], seconds);
}
