package chatpb.conformance;

import static chatpb.conformance.Report.ensure;
import static chatpb.conformance.Report.expect;

import com.chatpb.v1.ChatCompletionChunk;
import com.chatpb.v1.ChatCompletionMessageParam;
import com.chatpb.v1.ChatCompletionRequest;
import com.chatpb.v1.ChatCompletionServiceGrpc;
import com.chatpb.v1.ChatCompletionServiceGrpc.ChatCompletionServiceBlockingStub;
import com.chatpb.v1.CreateChatCompletionRequest;
import com.chatpb.v1.ErrorResponse;
import com.chatpb.v1.MessageContent;
import com.chatpb.v1.Role;
import com.chatpb.v1.StreamChatCompletionRequest;
import com.chatpb.v1.StreamChatCompletionResponse;
import com.google.protobuf.Any;
import com.google.protobuf.Message;
import com.google.rpc.RequestInfo;
import io.grpc.Context;
import io.grpc.ManagedChannel;
import io.grpc.ManagedChannelBuilder;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.protobuf.StatusProto;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Iterator;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.stream.Collectors;
import java.util.stream.Stream;

/** The cases of a running relay. */
final class Relay {
  /** In what time a call that is ended has ended. */
  private static final Duration AT_ONCE = Duration.ofSeconds(5);

  /** How long a call may take, in seconds: longer than any takes that is answered. */
  private static final int LIMIT = 30;

  private final ChatCompletionServiceBlockingStub stub;

  private Relay(ManagedChannel channel) {
    stub = ChatCompletionServiceGrpc.newBlockingStub(channel);
  }

  static void check(String address, Report report) {
    ManagedChannel channel = ManagedChannelBuilder.forTarget(address).usePlaintext().build();
    var relay = new Relay(channel);
    report.run("relay", "unary", relay::unary);
    report.run("relay", "stream", relay::stream);
    report.run("relay", "compact", relay::compact);
    report.run("relay", "cancel", relay::cancel);
    report.run("relay", "deadline", relay::deadline);
    report.run("relay", "error", relay::error);
    channel.shutdownNow();
  }

  private void unary() {
    ensure(!answer().isEmpty(), "the answer has no text");
  }

  private void stream() {
    expect(answer(), text(responses(false)), "text");
  }

  private void compact() {
    List<StreamChatCompletionResponse> responses = responses(true);
    ensure(
        responses.stream().anyMatch(each -> each.getCompactChunksCount() > 0),
        "no chunk came compact");
    expect(text(responses(false)), text(responses), "text");
  }

  private void cancel() throws Exception {
    try (var context = Context.current().withCancellation()) {
      Iterator<StreamChatCompletionResponse> stream =
          context.call(() -> limited().streamChatCompletion(streamed(request("slow"), false)));
      ensure(stream.hasNext(), "the stream ended before its first message");
      stream.next();
      long start = System.nanoTime();
      context.cancel(null);
      refused(Status.Code.CANCELLED, start, stream::hasNext);
    }
  }

  private void deadline() {
    var hurried = stub.withDeadlineAfter(200, TimeUnit.MILLISECONDS);
    refused(
        Status.Code.DEADLINE_EXCEEDED,
        System.nanoTime(),
        () -> hurried.createChatCompletion(created(request("slow"))));
  }

  private void error() throws Exception {
    ChatCompletionRequest request = request("m").toBuilder().setTemperature(9).build();
    StatusRuntimeException refusal =
        refused(
            Status.Code.INVALID_ARGUMENT,
            System.nanoTime(),
            () -> limited().createChatCompletion(created(request)));
    List<Any> details = StatusProto.fromThrowable(refusal).getDetailsList();
    var error = detail(details, ErrorResponse.class).getError();
    expect(refusal.getStatus().getDescription(), error.getMessage(), "message");
    expect("invalid_request_error", error.getType(), "type");
    expect("temperature", error.getParam(), "param");
    var info = detail(details, RequestInfo.class);
    ensure(!info.getRequestId().isEmpty(), "the RequestInfo has no id");
  }

  private static <T extends Message> T detail(List<Any> details, Class<T> type) throws Exception {
    for (Any each : details) {
      if (each.is(type)) {
        return each.unpack(type);
      }
    }
    throw new AssertionError("no detail is a " + type.getSimpleName());
  }

  /** The error that a call ends with, at once. */
  private static StatusRuntimeException refused(Status.Code wanted, long start, Runnable call) {
    try {
      call.run();
    } catch (StatusRuntimeException refusal) {
      expect(wanted, refusal.getStatus().getCode(), "status");
      boolean isAtOnce = System.nanoTime() - start < AT_ONCE.toNanos();
      ensure(isAtOnce, "the call did not end at once");
      return refusal;
    }
    throw new AssertionError("the call was answered");
  }

  private ChatCompletionServiceBlockingStub limited() {
    return stub.withDeadlineAfter(LIMIT, TimeUnit.SECONDS);
  }

  /** The text of the answer of a unary call. */
  private String answer() {
    var completion = limited().createChatCompletion(created(request("m"))).getCompletion();
    return completion.getChoices(0).getMessage().getContent();
  }

  private List<StreamChatCompletionResponse> responses(boolean compact) {
    var responses = new ArrayList<StreamChatCompletionResponse>();
    var request = streamed(request("m"), compact);
    limited().streamChatCompletion(request).forEachRemaining(responses::add);
    return responses;
  }

  /** The text of the first choice. */
  private static String text(List<StreamChatCompletionResponse> responses) {
    return responses.stream()
        .flatMap(Relay::chunks)
        .flatMap(chunk -> chunk.getChoicesList().stream())
        .filter(choice -> choice.getIndex() == 0)
        .map(choice -> choice.getDelta().getContent())
        .collect(Collectors.joining());
  }

  private static Stream<ChatCompletionChunk> chunks(StreamChatCompletionResponse response) {
    return Stream.concat(
        response.getChunksList().stream(), response.getCompactChunksList().stream());
  }

  /** A request that says "ping". */
  private static ChatCompletionRequest request(String model) {
    return ChatCompletionRequest.newBuilder()
        .setModel(model)
        .addMessages(
            ChatCompletionMessageParam.newBuilder()
                .setRole(Role.ROLE_USER)
                .setContent(MessageContent.newBuilder().setText("ping")))
        .build();
  }

  private static CreateChatCompletionRequest created(ChatCompletionRequest request) {
    return CreateChatCompletionRequest.newBuilder().setRequest(request).build();
  }

  private static StreamChatCompletionRequest streamed(
      ChatCompletionRequest request, boolean compact) {
    return StreamChatCompletionRequest.newBuilder().setRequest(request).setCompact(compact).build();
  }
}
