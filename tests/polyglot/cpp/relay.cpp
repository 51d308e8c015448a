#include "relay.h"

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <memory>

#include "chatpb/v1/chat_completion_service.grpc.pb.h"
#include "chatpb/v1/error.pb.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"

using chatpb::v1::ChatCompletionService;
using chatpb::v1::CreateChatCompletionRequest;
using chatpb::v1::CreateChatCompletionResponse;
using chatpb::v1::StreamChatCompletionRequest;
using chatpb::v1::StreamChatCompletionResponse;
using std::chrono::milliseconds;
using std::chrono::steady_clock;
using std::chrono::system_clock;

namespace {

constexpr milliseconds kTimeout{30000};  // no call takes so long; one that hangs fails
constexpr milliseconds kSoon{5000};      // a call that is cancelled ends sooner

template <typename Request>
Request Ping(const std::string& model) {
  Request request;
  request.mutable_request()->set_model(model);
  auto* message = request.mutable_request()->add_messages();
  message->set_role(chatpb::v1::ROLE_USER);
  message->mutable_content()->set_text("ping");
  return request;
}

std::string Told(const grpc::Status& status) {
  return "status " + std::to_string(status.error_code()) + ": " + status.error_message();
}

class Caller {
 public:
  explicit Caller(const std::string& address)
      : stub_(ChatCompletionService::NewStub(
            grpc::CreateChannel(address, grpc::InsecureChannelCredentials()))) {}

  std::string Unary() {
    std::string content;
    return Create(&content);
  }

  // The chunks make the text that a unary call gives.
  std::string Stream(bool compact) {
    std::string whole, text;
    if (auto wrong = Create(&whole); !wrong.empty()) return wrong;
    auto request = Ping<StreamChatCompletionRequest>("m");
    request.set_compact(compact);
    grpc::ClientContext context;
    context.set_deadline(system_clock::now() + kTimeout);
    auto reader = stub_->StreamChatCompletion(&context, request);
    bool came_compact = false;
    for (StreamChatCompletionResponse response; reader->Read(&response);) {
      for (const auto* chunks : {&response.chunks(), &response.compact_chunks()})
        for (const auto& chunk : *chunks)
          for (const auto& choice : chunk.choices()) text += choice.delta().content();
      came_compact |= response.compact_chunks_size() > 0;
    }
    if (const auto status = reader->Finish(); !status.ok()) return Told(status);
    if (compact != came_compact) return compact ? "no compact chunks" : "compact chunks";
    return text == whole ? "" : "chunks make " + text + ", expected " + whole;
  }

  std::string Cancel() {
    grpc::ClientContext context;
    context.set_deadline(system_clock::now() + kTimeout);
    auto reader = stub_->StreamChatCompletion(&context, Ping<StreamChatCompletionRequest>("slow"));
    StreamChatCompletionResponse response;
    if (!reader->Read(&response)) return "no first message: " + Told(reader->Finish());
    const auto start = steady_clock::now();
    context.TryCancel();
    while (reader->Read(&response)) {
    }
    const auto status = reader->Finish();
    if (status.error_code() != grpc::StatusCode::CANCELLED) return Told(status);
    return steady_clock::now() - start < kSoon ? "" : "it did not end at once";
  }

  std::string Deadline() {
    grpc::ClientContext context;
    const auto start = steady_clock::now();
    context.set_deadline(system_clock::now() + milliseconds(200));
    CreateChatCompletionResponse response;
    const auto request = Ping<CreateChatCompletionRequest>("slow");
    const auto status = stub_->CreateChatCompletion(&context, request, &response);
    if (status.error_code() != grpc::StatusCode::DEADLINE_EXCEEDED) return Told(status);
    return steady_clock::now() - start < kSoon ? "" : "it did not end at once";
  }

  // A refusal carries OpenAI's error object, typed, and the identifier of the call.
  std::string Error() {
    grpc::ClientContext context;
    context.set_deadline(system_clock::now() + kTimeout);
    auto request = Ping<CreateChatCompletionRequest>("m");
    request.mutable_request()->set_temperature(9);
    CreateChatCompletionResponse response;
    const auto status = stub_->CreateChatCompletion(&context, request, &response);
    if (status.error_code() != grpc::StatusCode::INVALID_ARGUMENT) return Told(status);
    google::rpc::Status details;
    if (!details.ParseFromString(status.error_details())) return "no google.rpc.Status";
    chatpb::v1::ErrorResponse answer;
    google::rpc::RequestInfo info;
    for (const auto& detail : details.details()) {
      detail.UnpackTo(&answer);
      detail.UnpackTo(&info);
    }
    const auto& error = answer.error();
    if (error.message().empty() || error.type() != "invalid_request_error" ||
        error.param() != "temperature")
      return "an error of other fields: " + answer.ShortDebugString();
    return info.request_id().empty() ? "no RequestInfo" : "";
  }

 private:
  std::string Create(std::string* content) {
    grpc::ClientContext context;
    context.set_deadline(system_clock::now() + kTimeout);
    CreateChatCompletionResponse response;
    const auto request = Ping<CreateChatCompletionRequest>("m");
    const auto status = stub_->CreateChatCompletion(&context, request, &response);
    if (!status.ok()) return Told(status);
    const auto& completion = response.completion();
    if (completion.choices_size() != 1) return "expected one choice";
    *content = completion.choices(0).message().content();
    if (completion.model() != "m") return "expected the model m, got " + completion.model();
    return content->empty() ? "no content" : "";
  }

  std::unique_ptr<ChatCompletionService::Stub> stub_;
};

}  // namespace

void CheckRelay(const std::string& address,
                const std::function<void(const std::string&, const std::string&)>& report) {
  Caller caller(address);
  report("unary", caller.Unary());
  report("stream", caller.Stream(false));
  report("compact", caller.Stream(true));
  report("cancel", caller.Cancel());
  report("deadline", caller.Deadline());
  report("error", caller.Error());
}
