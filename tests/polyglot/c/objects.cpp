// Checks what chatpb.hpp adds to chatpb.h: exceptions, objects that move and end early, and results of
// several threads. Bytes are enough for this; `make polyglot-cpp` has the vectors and the messages.
//
//     objects
//
// Ends with exit code 1 if something is wrong, and says what.

#include <atomic>
#include <chatpb.hpp>
#include <cstdio>
#include <exception>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

namespace {

const char* const kCompletion =
    R"({"id":"c","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,)"
    R"("message":{"role":"assistant","content":"Hello there","refusal":null},"logprobs":null,)"
    R"("finish_reason":"stop"}]})";
const char* const kChunk =
    R"({"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,)"
    R"("delta":{"content":"Hello"},"finish_reason":null}]})";
// Field 15000, which no message has, with the number 1.
const std::string kUnknownField = "\xc0\xa9\x07\x01";

const chatpb::MessageType& completion_type() {
  static const chatpb::MessageType type("chatpb.v1.ChatCompletion");
  return type;
}

const chatpb::MessageType& chunk_type() {
  static const chatpb::MessageType type("chatpb.v1.ChatCompletionChunk");
  return type;
}

std::atomic<int> failed = 0;

void expect(bool holds, const char* what) {
  if (holds) return;
  std::printf("FAIL %s\n", what);
  ++failed;
}

// Whether a call throws just this.
template <typename Error, typename Call>
bool throws(Call call) {
  try {
    call();
  } catch (const Error&) {
    return true;
  } catch (...) {
  }
  return false;
}

void check_errors() {
  std::exception_ptr kept;
  try {
    chatpb::json_to_binary(R"({"id": tru})", completion_type());
  } catch (const chatpb::ConversionError&) {
    kept = std::current_exception();
  }
  expect(kept != nullptr, "JSON that is not JSON is refused");
  // The next call reuses the memory that the texts came from.
  chatpb::json_to_binary(kCompletion, completion_type());
  std::thread([&] {
    try {
      std::rethrow_exception(kept);
    } catch (const chatpb::ConversionError& error) {
      const chatpb::ConversionError copy = error;
      expect(copy.path() == error.path() && copy.path().front() == '$', "the path of an error");
      expect(!copy.reason().empty() && copy.offset().has_value(), "the reason and the offset");
      const std::string message = copy.what();
      expect(message.find(copy.reason()) != std::string::npos, "what() has the reason");
    }
  }).join();
  static_assert(std::is_nothrow_copy_constructible_v<chatpb::ConversionError>);
  expect(throws<chatpb::ConversionError>([] { chatpb::binary_to_json("{}", completion_type()); }),
         "what is not a message is refused");
  expect(throws<chatpb::ConversionError>([] { chatpb::unfold("{}"); }), "unfold refuses it too");
  expect(throws<chatpb::UsageError>([] { chatpb::MessageType("no.such.Type"); }),
         "an unknown message type");
  expect(throws<chatpb::ConversionError>([] { chatpb::Folder().finish(); }), "no chunk to fold");
  expect(throws<chatpb::ConversionError>([] { chatpb::Restorer().restore(""); }),
         "nothing to restore from");
  std::string out = "kept";
  expect(throws<chatpb::ConversionError>(
             [&] { chatpb::json_to_binary("[]", completion_type(), out); }) &&
             out == "kept",
         "a refused text leaves the string as it is");
}

void check_options() {
  const auto binary = chatpb::json_to_binary(kCompletion, completion_type()) + kUnknownField;
  const auto chunk = chatpb::json_to_binary(kChunk, chunk_type()) + kUnknownField;
  chatpb::Options ignore;
  ignore.ignore_unknown_fields = true;
  expect(throws<chatpb::ConversionError>([&] { chatpb::binary_to_json(binary, completion_type()); }),
         "an unknown field is refused");
  expect(chatpb::binary_to_json(binary, completion_type(), ignore) == kCompletion,
         "an unknown field is ignored if that is asked for");
  expect(throws<chatpb::ConversionError>([&] { chatpb::unfold(binary); }),
         "unfold refuses an unknown field");
  expect(!chatpb::unfold(binary, ignore).empty(), "unfold ignores an unknown field");
  expect(throws<chatpb::ConversionError>([&] {
           chatpb::Folder folder;
           folder.add(chunk);
           folder.finish();
         }),
         "fold refuses an unknown field");
  expect(!chatpb::fold(std::vector<std::string>{chunk}, ignore).empty(),
         "fold ignores an unknown field");
  const auto nan = R"({"top_logprobs":[],"choices":[{"logprobs":{"content":[{"logprob":NaN}]}}]})";
  chatpb::Options allow;
  allow.allow_nan = true;
  expect(throws<chatpb::ConversionError>([&] { chatpb::json_to_binary(nan, completion_type()); }),
         "NaN is refused");
  const auto read = chatpb::json_to_binary(nan, completion_type(), allow);
  expect(chatpb::binary_to_json(read, completion_type(), allow).find("NaN") != std::string::npos,
         "NaN is written if that is asked for");
}

// An object that was moved from can be assigned to and destroyed; other calls throw UsageError.
void check_moves() {
  const auto chunk = chatpb::json_to_binary(kChunk, chunk_type());
  const std::string event = "data: " + std::string(kChunk) + "\n\n";

  chatpb::Folder folder;
  folder.add(chunk);
  chatpb::Folder moved = std::move(folder);
  expect(throws<chatpb::UsageError>([&] { folder.add(chunk); }), "add to a folder that has moved");
  expect(throws<chatpb::UsageError>([&] { folder.finish(); }), "finish a folder that has moved");
  folder = chatpb::Folder();
  folder.add(chunk);
  expect(folder.finish() == moved.finish(), "a folder that has moved goes on");
  expect(throws<chatpb::UsageError>([&] { moved.finish(); }), "finish a folder twice");
  expect(throws<chatpb::UsageError>([&] { moved.add(chunk); }), "add to a finished folder");

  chatpb::Compactor compactor, other_compactor = std::move(compactor);
  expect(throws<chatpb::UsageError>([&] { compactor.add(chunk); }), "a compactor that has moved");
  other_compactor.add(chunk);

  chatpb::Restorer restorer, other_restorer = std::move(restorer);
  expect(throws<chatpb::UsageError>([&] { restorer.follow(chunk); }), "a restorer that has moved");
  other_restorer.follow(chunk);

  chatpb::ChunkDecoder decoder;
  expect(decoder.feed(event.substr(0, 20)).empty(), "no event yet");
  chatpb::ChunkDecoder other = std::move(decoder);
  expect(throws<chatpb::UsageError>([&] { decoder.feed(event); }), "a decoder that has moved");
  expect(throws<chatpb::UsageError>([&] { decoder.error(); }), "its error");
  expect(throws<chatpb::UsageError>([&] { decoder.close(); }), "its end");
  expect(!decoder.is_done() && !decoder.is_error_of_choice(), "what it knows");
  // It ends in another thread than it began.
  std::thread([event, chunk, other = std::move(other)]() mutable {
    expect(other.feed(event.substr(20)) == std::vector<std::string>{chunk}, "the rest of an event");
    expect(other.close().empty() && !other.error(), "the end of a stream");
  }).join();
}

// Objects that end while the stream goes on, or after an error.
void check_early_ends() {
  const std::string event = "data: " + std::string(kChunk) + "\n\n";
  for (std::size_t size = 0; size <= event.size(); size += 7) {
    chatpb::ChunkDecoder decoder;
    decoder.feed(event.substr(0, size));
  }
  {
    chatpb::ChunkDecoder decoder(16);
    expect(throws<chatpb::ConversionError>([&] { decoder.feed(event); }), "an event is too long");
    expect(throws<chatpb::ConversionError>([&] { decoder.feed(event); }), "and stays so");
  }
  {
    chatpb::ChunkDecoder decoder;
    const auto chunks = decoder.feed(event + "data: {\n\n" + event);
    expect(chunks.size() == 1, "the chunk before an error");
    expect(throws<chatpb::ConversionError>([&] { decoder.feed(""); }), "the error after it");
  }
  {
    chatpb::ChunkDecoder decoder;
    decoder.feed("data: {\"error\":{\"message\":\"no\"}}\n\ndata: [DONE]\n\n");
    expect(decoder.error().has_value() && decoder.is_done(), "an error event");
  }
  chatpb::Folder folder;
  expect(throws<chatpb::ConversionError>([&] { folder.add("{}"); }), "what is not a chunk");
  folder.add(chatpb::json_to_binary(kChunk, chunk_type()));
  const auto chunks = chatpb::unfold(chatpb::json_to_binary(kCompletion, completion_type()));
  expect(chatpb::binary_to_json(chatpb::fold(chunks), completion_type()) == kCompletion,
         "what is unfolded folds to the same");
}

void check_all(int rounds) {
  for (int round = 0; round < rounds; ++round) {
    check_errors();
    check_options();
    check_moves();
    check_early_ends();
  }
}

}  // namespace

int main() {
  constexpr int kThreads = 4, kRounds = 50;
  std::vector<std::thread> threads;
  for (int index = 0; index < kThreads; ++index) threads.emplace_back(check_all, kRounds);
  for (auto& thread : threads) thread.join();
  std::printf("chatpb.hpp from %d threads, %d failed\n", kThreads, failed.load());
  return failed != 0;
}
