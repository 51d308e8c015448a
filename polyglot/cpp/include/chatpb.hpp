// OpenAI's JSON of chat completions as protobuf messages, and back; streams of chunks folded, split,
// made compact and restored; event streams decoded. In one header over libchatpb's C interface.
//
// Everything works on bytes: std::string_view in, std::string out. Templates do the same with the
// messages that protoc generates in chatpb::v1; this header includes nothing of protobuf, and a
// program that does not use the templates needs no protobuf.
//
//     const auto completion = chatpb::from_json<chatpb::v1::ChatCompletion>(text);
//     const std::string text = chatpb::to_json(completion);
//
// Functions may be called from any thread at any time. An object may move from one thread to another,
// but two threads must not use one object at the same time.
//
// Errors: ConversionError if the input is refused, UsageError if the call is wrong (for example, a
// message type that the schema does not have), InternalError for a bug of chatpb.

#ifndef CHATPB_HPP
#define CHATPB_HPP

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "chatpb.h"

namespace google::protobuf::io {
class ArrayOutputStream;
class CodedOutputStream;
}  // namespace google::protobuf::io

namespace chatpb {

// How values are converted. By default nothing is allowed.
struct Options {
  // Whether NaN, Infinity and -Infinity, which are not JSON, are accepted and written.
  bool allow_nan = false;
  // Whether fields and enum values that the schema does not know are left out of the JSON, and out of
  // what is folded. Otherwise they are errors.
  bool ignore_unknown_fields = false;
};

// A value that cannot be converted, and where it is. what() is the path, the offset and the reason.
class ConversionError : public std::runtime_error {
 public:
  ConversionError(const std::string& message, std::string path, std::string reason,
                  std::optional<std::size_t> offset)
      : std::runtime_error(message),
        texts_(std::make_shared<const std::pair<std::string, std::string>>(std::move(path),
                                                                           std::move(reason))),
        offset_(offset) {}

  // The place in the JSON document, such as "$.choices[0].logprobs"; "$" is all of it.
  const std::string& path() const noexcept { return texts_->first; }
  // What is wrong there and what was expected, in lower case.
  const std::string& reason() const noexcept { return texts_->second; }
  // The byte offset in the JSON text; none if there is no text.
  std::optional<std::size_t> offset() const noexcept { return offset_; }

 private:
  // Shared, so that copying an exception cannot throw.
  std::shared_ptr<const std::pair<std::string, std::string>> texts_;
  std::optional<std::size_t> offset_;
};

// A call that is wrong whatever its input: an unknown message type, or an object that is finished or
// moved from.
class UsageError : public std::invalid_argument {
  using std::invalid_argument::invalid_argument;
};

// A bug of chatpb.
class InternalError : public std::logic_error {
  using std::logic_error::logic_error;
};

// What the rest of this header is made of; not for use.
namespace internal {

inline std::uint32_t flags(Options options) noexcept {
  return (options.allow_nan ? CHATPB_ALLOW_NAN : 0) |
         (options.ignore_unknown_fields ? CHATPB_IGNORE_UNKNOWN_FIELDS : 0);
}

inline const std::uint8_t* bytes(std::string_view data) noexcept {
  return reinterpret_cast<const std::uint8_t*>(data.data());
}

template <auto free>
struct Free {
  template <typename T>
  void operator()(T* handle) const noexcept {
    free(handle);
  }
};

template <typename T, auto free>
using Handle = std::unique_ptr<T, Free<free>>;

template <auto free, typename T>
Handle<T, free> made(T* handle) {
  if (handle == nullptr) throw std::bad_alloc();
  return Handle<T, free>(handle);
}

// What a call gave.
class Result {
 public:
  Result() : handle_(made<chatpb_result_free>(chatpb_result_new())) {}

  // One for each thread, so that a call reuses the memory of the call before.
  static Result& of_thread() {
    thread_local Result result;
    return result;
  }

  chatpb_result* get() noexcept { return handle_.get(); }

  // Throws what a status says.
  Result& check(chatpb_status status) {
    if (status == CHATPB_STATUS_OK) return *this;
    const chatpb_result* result = get();
    std::string message(chatpb_result_message(result), chatpb_result_message_size(result));
    if (status == CHATPB_STATUS_USAGE) throw UsageError(message);
    if (status != CHATPB_STATUS_REFUSED) throw InternalError(message);
    const std::size_t offset = chatpb_result_offset(result);
    throw ConversionError(
        message, {chatpb_result_path(result), chatpb_result_path_size(result)},
        {chatpb_result_reason(result), chatpb_result_reason_size(result)},
        offset == SIZE_MAX ? std::nullopt : std::optional<std::size_t>(offset));
  }

  std::size_t count() noexcept { return chatpb_result_count(get()); }

  // Valid until the next call with this result.
  std::string_view view(std::size_t index = 0) noexcept {
    const auto* data = chatpb_result_data(get(), index);
    return {reinterpret_cast<const char*>(data), chatpb_result_size(get(), index)};
  }

  std::string string() { return std::string(view()); }

  std::vector<std::string> strings() {
    std::vector<std::string> all;
    all.reserve(count());
    for (std::size_t index = 0; index < count(); ++index) all.emplace_back(view(index));
    return all;
  }

 private:
  Handle<chatpb_result, chatpb_result_free> handle_;
};

// A name that is looked up when a template is used: protobuf is included by then.
template <typename, typename T>
struct Dependent {
  using type = T;
};

// The bytes of a message, always the same ones: maps are in the order of their keys.
class Serialized {
 public:
  template <typename Message>
  explicit Serialized(const Message& message) : size_(message.ByteSizeLong()) {
    using Stream = typename Dependent<Message, google::protobuf::io::ArrayOutputStream>::type;
    using Coded = typename Dependent<Message, google::protobuf::io::CodedOutputStream>::type;
    if (size_ > INT32_MAX) throw InternalError("the message cannot be serialized");
    // Not a string or a vector, which would first fill it with zeros.
    data_.reset(new char[size_]);
    Stream stream(data_.get(), static_cast<int>(size_));
    Coded coded(&stream);
    coded.SetSerializationDeterministic(true);
    message.SerializeWithCachedSizes(&coded);
  }

  operator std::string_view() const noexcept { return {data_.get(), size_}; }

 private:
  std::size_t size_;
  std::unique_ptr<char[]> data_;
};

template <typename Message>
void parse(std::string_view data, Message& message) {
  if (data.size() > INT32_MAX || !message.ParseFromArray(data.data(), static_cast<int>(data.size())))
    throw InternalError("the message cannot be parsed");
}

template <typename Message>
Message parsed(std::string_view data) {
  Message message;
  parse(data, message);
  return message;
}

template <typename Message>
std::vector<Message> all_parsed(Result& result) {
  std::vector<Message> all;
  all.reserve(result.count());
  for (std::size_t index = 0; index < result.count(); ++index)
    all.push_back(parsed<Message>(result.view(index)));
  return all;
}

}  // namespace internal

// The version of the library, such as "0.1.0".
inline std::string version() { return chatpb_version(); }

// A message type of the schema, looked up once.
class MessageType {
 public:
  // Takes the full name, such as "chatpb.v1.ChatCompletion".
  // Throws UsageError if no message type with this name mirrors a JSON object.
  explicit MessageType(std::string_view full_name)
      : number_(chatpb_message_type(full_name.data(), full_name.size())) {
    if (number_ < 0) throw UsageError("no message type " + std::string(full_name));
  }

  // The type of a generated class.
  template <typename Message>
  static MessageType of() {
    static const MessageType type{std::string(Message().GetTypeName())};
    return type;
  }

  // The type of a message, whose class may be google::protobuf::Message too.
  template <typename Message>
  static MessageType of(const Message& message) {
    if constexpr (std::is_abstract_v<Message>)
      return MessageType{std::string(message.GetTypeName())};
    else
      return of<Message>();
  }

  // The number, which is valid in this process only.
  std::int32_t number() const noexcept { return number_; }

 private:
  std::int32_t number_;
};

// Reads OpenAI's JSON into the binary form of a message.
// Throws ConversionError if the text is not one JSON object in UTF-8, or nests deeper than 200 levels.
inline std::string json_to_binary(std::string_view json, MessageType type, Options options = {}) {
  auto& result = internal::Result::of_thread();
  result.check(chatpb_json_to_binary(internal::bytes(json), json.size(), type.number(),
                                     internal::flags(options), result.get()));
  return result.string();
}

// The same, into a string whose memory is reused: for large texts, new memory costs a good part.
inline void json_to_binary(std::string_view json, MessageType type, std::string& binary,
                           Options options = {}) {
  auto& result = internal::Result::of_thread();
  result.check(chatpb_json_to_binary(internal::bytes(json), json.size(), type.number(),
                                     internal::flags(options), result.get()));
  binary.assign(result.view());
}

// Writes the binary form of a message as OpenAI's JSON. The law: what json_to_binary reads from a text
// is written as the same JSON value.
// Throws ConversionError if the bytes are not a message of this type, or stand for no JSON.
inline std::string binary_to_json(std::string_view data, MessageType type, Options options = {}) {
  auto& result = internal::Result::of_thread();
  result.check(chatpb_binary_to_json(internal::bytes(data), data.size(), type.number(),
                                     internal::flags(options), result.get()));
  return result.string();
}

// The same, into a string whose memory is reused.
inline void binary_to_json(std::string_view data, MessageType type, std::string& json,
                           Options options = {}) {
  auto& result = internal::Result::of_thread();
  result.check(chatpb_binary_to_json(internal::bytes(data), data.size(), type.number(),
                                     internal::flags(options), result.get()));
  json.assign(result.view());
}

// Reads OpenAI's JSON into a message of any generated class, replacing what it holds.
// Throws as json_to_binary does; the message is unchanged then.
template <typename Message>
void from_json(std::string_view json, Message& message, Options options = {}) {
  const auto type = MessageType::of(message);
  auto& result = internal::Result::of_thread();
  result.check(chatpb_json_to_binary(internal::bytes(json), json.size(), type.number(),
                                     internal::flags(options), result.get()));
  internal::parse(result.view(), message);
}

// The same, as a new message: from_json<chatpb::v1::ChatCompletion>(text).
template <typename Message>
Message from_json(std::string_view json, Options options = {}) {
  auto& result = internal::Result::of_thread();
  result.check(chatpb_json_to_binary(internal::bytes(json), json.size(),
                                     MessageType::of<Message>().number(), internal::flags(options),
                                     result.get()));
  return internal::parsed<Message>(result.view());
}

// Writes a message as OpenAI's JSON. Throws as binary_to_json does.
template <typename Message>
std::string to_json(const Message& message, Options options = {}) {
  return binary_to_json(internal::Serialized(message), MessageType::of(message), options);
}

// Joins the chunks of one stream into the completion that they make. Its memory is that of the
// completion, however many chunks come. The law: folding what unfold gives makes the same completion.
class Folder {
 public:
  explicit Folder(Options options = {})
      : handle_(internal::made<chatpb_folder_free>(chatpb_folder_new(internal::flags(options)))) {}

  // Takes the next chunk, in binary form or as a chatpb::v1::ChatCompletionChunk.
  // Throws ConversionError if it cannot be read.
  void add(std::string_view chunk) {
    auto& result = internal::Result::of_thread();
    result.check(
        chatpb_folder_add(handle_.get(), internal::bytes(chunk), chunk.size(), result.get()));
  }
  template <typename Chunk, typename = decltype(std::declval<const Chunk&>().GetTypeName())>
  void add(const Chunk& chunk) {
    add(std::string_view(internal::Serialized(chunk)));
  }

  // Gives the completion in binary form. The folder is finished then.
  // Throws ConversionError if no chunk came.
  std::string finish() { return finished().string(); }
  // The same, as a message: finish<chatpb::v1::ChatCompletion>().
  template <typename Completion>
  Completion finish() {
    return internal::parsed<Completion>(finished().view());
  }

 private:
  internal::Result& finished() {
    auto& result = internal::Result::of_thread();
    return result.check(chatpb_folder_finish(handle_.get(), result.get()));
  }

  internal::Handle<chatpb_folder, chatpb_folder_free> handle_;
};

// Folds a range of chunks in binary form into a completion in binary form.
template <typename Chunks>
std::string fold(const Chunks& chunks, Options options = {}) {
  Folder folder(options);
  for (const auto& chunk : chunks) folder.add(chunk);
  return folder.finish();
}

// Folds a range of messages: fold<chatpb::v1::ChatCompletion>(chunks).
template <typename Completion, typename Chunks>
Completion fold(const Chunks& chunks, Options options = {}) {
  Folder folder(options);
  for (const auto& chunk : chunks) folder.add(chunk);
  return folder.template finish<Completion>();
}

// Splits a completion, in binary form, into the chunks of a stream, as api.openai.com would send it.
// Throws ConversionError if it cannot be read.
inline std::vector<std::string> unfold(std::string_view completion, Options options = {}) {
  auto& result = internal::Result::of_thread();
  result.check(chatpb_unfold(internal::bytes(completion), completion.size(),
                             internal::flags(options), result.get()));
  return result.strings();
}

// The same with messages: unfold<chatpb::v1::ChatCompletionChunk>(completion).
template <typename Chunk, typename Completion>
std::vector<Chunk> unfold(const Completion& completion, Options options = {}) {
  const internal::Serialized serialized(completion);
  const std::string_view data = serialized;
  auto& result = internal::Result::of_thread();
  result.check(
      chatpb_unfold(internal::bytes(data), data.size(), internal::flags(options), result.get()));
  return internal::all_parsed<Chunk>(result);
}

// Makes the chunks of one stream compact, where that makes them shorter.
class Compactor {
 public:
  Compactor() : handle_(internal::made<chatpb_compactor_free>(chatpb_compactor_new())) {}

  // Takes the next chunk in binary form, and gives the compact one; none if it must be sent whole.
  std::optional<std::string> add(std::string_view chunk) {
    auto& result = internal::Result::of_thread();
    result.check(
        chatpb_compactor_add(handle_.get(), internal::bytes(chunk), chunk.size(), result.get()));
    if (result.count() == 0) return std::nullopt;
    return result.string();
  }

 private:
  internal::Handle<chatpb_compactor, chatpb_compactor_free> handle_;
};

// Restores the chunks of one stream, of which some are whole and some are compact.
class Restorer {
 public:
  Restorer() : handle_(internal::made<chatpb_restorer_free>(chatpb_restorer_new())) {}

  // Takes the next chunk, in binary form, which is whole.
  void follow(std::string_view whole) {
    auto& result = internal::Result::of_thread();
    result.check(
        chatpb_restorer_follow(handle_.get(), internal::bytes(whole), whole.size(), result.get()));
  }

  // Takes the next chunk, in binary form, which is compact, and gives it whole.
  // Throws ConversionError if there is no chunk before it, or if it leaves out too much.
  std::string restore(std::string_view compact) { return restored(compact).string(); }

  // Takes the next chatpb::v1::StreamChatCompletionResponse and calls each(chunk) with its chunks, all
  // of them whole. Throws as restore does, after the chunks before the one that is refused.
  template <typename Response, typename Each>
  void add(const Response& response, Each each) {
    for (const auto& whole : response.chunks()) each(whole);
    const int count = response.chunks_size();
    if (count != 0) follow(internal::Serialized(response.chunks(count - 1)));
    using Chunk = std::decay_t<decltype(response.chunks(0))>;
    for (const auto& compact : response.compact_chunks())
      each(internal::parsed<Chunk>(restored(internal::Serialized(compact)).view()));
  }

  // The same, and gives the chunks in a vector.
  template <typename Response>
  auto add(const Response& response) {
    std::vector<std::decay_t<decltype(response.chunks(0))>> chunks;
    add(response, [&](const auto& chunk) { chunks.push_back(chunk); });
    return chunks;
  }

 private:
  internal::Result& restored(std::string_view compact) {
    auto& result = internal::Result::of_thread();
    return result.check(chatpb_restorer_restore(handle_.get(), internal::bytes(compact),
                                                compact.size(), result.get()));
  }

  internal::Handle<chatpb_restorer, chatpb_restorer_free> handle_;
};

// Turns the bytes of an event stream, however they arrive, into chunks.
//
// An event that is an error, wherever servers put one, is not a chunk: error() gives it. Chunks that
// follow are still given.
class ChunkDecoder {
 public:
  // max_event_bytes is the most bytes that one event may have; 0 means 64 MiB.
  explicit ChunkDecoder(std::size_t max_event_bytes = std::size_t{64} << 20, Options options = {})
      : handle_(internal::made<chatpb_chunk_decoder_free>(
            chatpb_chunk_decoder_new(max_event_bytes, internal::flags(options)))) {}

  // Takes the next bytes and gives the chunks that they complete, in binary form or as messages:
  // feed<chatpb::v1::ChatCompletionChunk>(bytes).
  // Throws ConversionError if an event is too long or its data is not a JSON object. Chunks before it
  // are given first, and the next call throws.
  std::vector<std::string> feed(std::string_view data) { return fed(data).strings(); }
  template <typename Chunk>
  std::vector<Chunk> feed(std::string_view data) {
    return internal::all_parsed<Chunk>(fed(data));
  }

  // Gives the chunks that the end of the stream completes. To be called until it gives none.
  // Throws as feed does.
  std::vector<std::string> close() { return closed().strings(); }
  template <typename Chunk>
  std::vector<Chunk> close() {
    return internal::all_parsed<Chunk>(closed());
  }

  // The first error event, or else the first error in a chunk, as the binary form of a
  // chatpb::v1::ErrorResponse; none without one.
  std::optional<std::string> error() const {
    auto& result = internal::Result::of_thread();
    result.check(chatpb_chunk_decoder_error(handle_.get(), result.get()));
    if (result.count() == 0) return std::nullopt;
    return result.string();
  }
  // The same, as a message: error<chatpb::v1::ErrorResponse>().
  template <typename Response>
  std::optional<Response> error() const {
    const auto data = error();
    if (!data) return std::nullopt;
    return internal::parsed<Response>(*data);
  }

  // Whether the error is that of one choice of a chunk, so that others go on.
  bool is_error_of_choice() const noexcept {
    return chatpb_chunk_decoder_is_error_of_choice(handle_.get());
  }
  // Whether the event that ends a stream has come. Some servers never send it.
  bool is_done() const noexcept { return chatpb_chunk_decoder_is_done(handle_.get()); }

 private:
  internal::Result& fed(std::string_view data) {
    auto& result = internal::Result::of_thread();
    return result.check(chatpb_chunk_decoder_feed(handle_.get(), internal::bytes(data),
                                                  data.size(), result.get()));
  }
  internal::Result& closed() {
    auto& result = internal::Result::of_thread();
    return result.check(chatpb_chunk_decoder_close(handle_.get(), result.get()));
  }

  internal::Handle<chatpb_chunk_decoder, chatpb_chunk_decoder_free> handle_;
};

}  // namespace chatpb

#endif  // CHATPB_HPP
