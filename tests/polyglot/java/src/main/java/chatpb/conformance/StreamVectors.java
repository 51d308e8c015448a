package chatpb.conformance;

import static chatpb.conformance.Report.expect;
import static java.nio.charset.StandardCharsets.UTF_8;

import com.chatpb.ChunkDecoder;
import com.chatpb.Compactor;
import com.chatpb.OpenAiJson;
import com.chatpb.Options;
import com.chatpb.Restorer;
import com.chatpb.Streams;
import com.chatpb.v1.ChatCompletion;
import com.chatpb.v1.ChatCompletionChunk;
import com.chatpb.v1.StreamChatCompletionResponse;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.protobuf.Message;
import com.google.protobuf.Parser;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.List;

/** The cases of streams: fold, unfold, compact, sse. */
final class StreamVectors {
  private final Path folder;
  private final Report report;

  StreamVectors(Path folder, Report report) {
    this.folder = folder.resolve("stream");
    this.report = report;
  }

  void check() throws IOException {
    for (JsonElement entry : Vectors.json(folder.resolve("manifest.json"))) {
      JsonObject vector = entry.getAsJsonObject();
      String kind = vector.get("kind").getAsString();
      String name = vector.get("name").getAsString();
      switch (kind) {
        case "fold" -> report.run(kind, name, () -> checkFold(vector, name));
        case "unfold" -> report.run(kind, name, () -> checkUnfold(vector, name));
        case "compact" -> report.run(kind, name, () -> checkCompact(vector, name));
        case "sse" -> report.run(kind, name, () -> checkSse(vector, name));
        default -> throw new IllegalStateException("there is no kind " + kind);
      }
    }
  }

  private void checkFold(JsonObject vector, String name) throws IOException {
    byte[] expected = Files.readAllBytes(path(name, ".binpb"));
    List<ChatCompletionChunk> chunks = chunks(vector, name);
    ChatCompletion folded = Streams.fold(chunks);
    expect(ChatCompletion.parseFrom(expected), folded, "completion");
    expect(folded, Streams.fold(Streams.unfold(folded)), "completion of what was unfolded");
    List<byte[]> binary = chunks.stream().map(Message::toByteArray).toList();
    Json.same(expected, Streams.foldBinary(binary, Options.DEFAULT));
    List<byte[]> unfolded = Streams.unfoldBinary(expected, Options.DEFAULT);
    Json.same(expected, Streams.foldBinary(unfolded, Options.DEFAULT));
  }

  private void checkUnfold(JsonObject vector, String name) throws IOException {
    byte[] text = Files.readAllBytes(path(name, ".json"));
    var type = ChatCompletion.getDefaultInstance();
    ChatCompletion completion = OpenAiJson.fromJson(text, type, options(vector));
    List<ChatCompletionChunk> expected =
        delimited(ChatCompletionChunk.parser(), path(name, ".binpbs"));
    expect(expected, Streams.unfold(completion), "chunks");
    List<byte[]> binary = Streams.unfoldBinary(completion.toByteArray(), Options.DEFAULT);
    expect(expected.size(), binary.size(), "number of chunks");
    for (int index = 0; index < binary.size(); index++) {
      Json.same(Vectors.serialize(expected.get(index)), binary.get(index));
    }
  }

  private void checkCompact(JsonObject vector, String name) throws IOException {
    List<StreamChatCompletionResponse> responses =
        delimited(StreamChatCompletionResponse.parser(), path(name, ".binpbs"));
    var restorer = new Restorer();
    List<ChatCompletionChunk> found = new ArrayList<>();
    gives(vector, () -> responses.forEach(each -> restorer.add(each, found::add)));
    expect(delimited(ChatCompletionChunk.parser(), path(name, ".chunks.binpbs")), found, "chunks");
    List<ChatCompletionChunk> streamed = new ArrayList<>();
    var stream = Streams.chunks(responses.iterator());
    gives(vector, () -> stream.forEachRemaining(streamed::add));
    expect(found, streamed, "chunks of the stream");
    if (Files.exists(path(name, ".jsonl"))) {
      var compactor = new Compactor();
      List<ChatCompletionChunk> chunks = chunks(vector, name);
      expect(responses, chunks.stream().map(compactor::add).toList(), "responses");
    }
  }

  private void checkSse(JsonObject vector, String name) throws IOException {
    byte[] data = Files.readAllBytes(path(name, ".sse"));
    for (int size : new int[] {Math.max(1, data.length), 1, 7}) {
      var decoder = new ChunkDecoder(vector.get("max_event_bytes").getAsInt(), options(vector));
      List<ChatCompletionChunk> found = new ArrayList<>();
      gives(
          vector,
          () -> {
            for (int at = 0; at < data.length; at += size) {
              found.addAll(decoder.feed(data, at, Math.min(size, data.length - at)));
            }
            for (var rest = decoder.close(); !rest.isEmpty(); rest = decoder.close()) {
              found.addAll(rest);
            }
          });
      checkDecoded(vector, decoder, found);
    }
    var decoder = new ChunkDecoder(vector.get("max_event_bytes").getAsInt(), options(vector));
    List<ChatCompletionChunk> found = new ArrayList<>();
    gives(
        vector, () -> decoder.decode(new ByteArrayInputStream(data)).forEachRemaining(found::add));
    checkDecoded(vector, decoder, found);
  }

  private static void checkDecoded(
      JsonObject vector, ChunkDecoder decoder, List<ChatCompletionChunk> found) {
    List<String> expected = new ArrayList<>();
    vector.get("chunks").getAsJsonArray().forEach(each -> expected.add(each.getAsString()));
    expect(expected, found.stream().map(StreamVectors::hex).toList(), "chunks");
    JsonElement error = vector.get("error");
    String wanted = error.isJsonNull() ? null : error.getAsString();
    expect(wanted, decoder.error().map(StreamVectors::hex).orElse(null), "error");
    expect(vector.get("is_error_of_choice").getAsBoolean(), decoder.isErrorOfChoice(), "of choice");
    expect(vector.get("is_done").getAsBoolean(), decoder.isDone(), "done");
  }

  private static String hex(Message message) {
    try {
      return HexFormat.of().formatHex(Vectors.serialize(message));
    } catch (IOException error) {
      throw new UncheckedIOException(error);
    }
  }

  /** Runs something that must fail for the reason of a vector, if that has one. */
  static void gives(JsonObject vector, Runnable work) {
    JsonElement reason = vector.get("reason");
    if (reason == null || reason.isJsonNull()) {
      work.run();
    } else {
      Json.refuses(vector, work);
    }
  }

  private List<ChatCompletionChunk> chunks(JsonObject vector, String name) throws IOException {
    var type = ChatCompletionChunk.getDefaultInstance();
    return Files.readAllLines(path(name, ".jsonl")).stream()
        .filter(line -> !line.isEmpty())
        .map(line -> OpenAiJson.fromJson(line.getBytes(UTF_8), type, options(vector)))
        .toList();
  }

  static Options options(JsonObject vector) {
    JsonElement allowNan = vector.get("allow_nan");
    return Options.DEFAULT.withAllowNan(allowNan != null && allowNan.getAsBoolean());
  }

  private Path path(String name, String ending) {
    return folder.resolve(name + ending);
  }

  /** The messages of a file, each after its length. */
  private static <T extends Message> List<T> delimited(Parser<T> parser, Path path)
      throws IOException {
    var messages = new ArrayList<T>();
    try (var input = Files.newInputStream(path)) {
      for (T each = parser.parseDelimitedFrom(input);
          each != null;
          each = parser.parseDelimitedFrom(input)) {
        messages.add(each);
      }
    }
    return messages;
  }
}
