package chatpb.conformance;

import com.chatpb.OpenAiJson;
import com.chatpb.Options;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.protobuf.Message;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.stream.Stream;

/** Recorded JSON, which must come back equal: every object is a case. */
final class Corpus {
  private static final Map<String, String> NAMED =
      Map.of(
          "chat.completion", "ChatCompletion",
          "chat.completion.chunk", "ChatCompletionChunk",
          "chat.completion.deleted", "ChatCompletionDeleted",
          "error", "ErrorResponse");

  private Corpus() {}

  /** A JSON text of a file. */
  private record Recorded(String text, boolean inStream, String event) {}

  static void check(Path folder, Report report) throws IOException {
    List<Path> files;
    try (Stream<Path> found = Files.walk(folder)) {
      files = found.filter(Files::isRegularFile).sorted().toList();
    }
    for (Path file : files) {
      int number = 0;
      for (Recorded each : texts(file)) {
        String name = folder.relativize(file) + ":" + ++number;
        report.run("corpus", name, () -> check(each, file.getFileName().toString()));
      }
    }
  }

  private static void check(Recorded recorded, String file) {
    Message type = Types.of("chatpb.v1." + type(recorded, file));
    Message message = OpenAiJson.fromJson(recorded.text, type.getClass());
    Values.same(recorded.text, OpenAiJson.toJson(message));
    byte[] binary = Json.toBinary(recorded.text.getBytes(StandardCharsets.UTF_8), type);
    byte[] json = OpenAiJson.binaryToJson(binary, type.getDescriptorForType(), Options.DEFAULT);
    Values.same(recorded.text, new String(json, StandardCharsets.UTF_8));
  }

  private static List<Recorded> texts(Path file) throws IOException {
    String name = file.getFileName().toString();
    if (name.endsWith(".json")) {
      return List.of(new Recorded(Files.readString(file), false, ""));
    }
    if (name.endsWith(".jsonl")) {
      return Stream.of(Files.readString(file).split("\n"))
          .filter(line -> !line.isBlank())
          .map(line -> new Recorded(line, true, ""))
          .toList();
    }
    if (name.endsWith(".sse")) {
      return Stream.of(Files.readString(file).split("\r?\n\r?\n"))
          .map(Corpus::event)
          .filter(each -> !each.text.isEmpty() && !each.text.equals("[DONE]"))
          .toList();
    }
    return List.of();
  }

  private static Recorded event(String block) {
    var data = new ArrayList<String>();
    String event = "";
    for (String line : block.split("\r?\n")) {
      String[] parts = line.split(": ?", 2);
      String value = parts.length < 2 ? "" : parts[1];
      if (parts[0].equals("event")) {
        event = value;
      } else if (parts[0].equals("data")) {
        data.add(value);
      }
    }
    return new Recorded(String.join("\n", data), true, event);
  }

  /** The message type as which the command line of chatpb reads a text. */
  private static String type(Recorded recorded, String file) {
    JsonObject members = Values.parse(recorded.text).getAsJsonObject();
    JsonElement choices = members.get("choices");
    boolean hasDelta = someHas(choices, "delta");
    if (recorded.inStream && hasDelta) {
      return "ChatCompletionChunk";
    }
    JsonElement object = members.get("object");
    String named = object != null && object.isJsonPrimitive() ? object.getAsString() : "";
    if (NAMED.containsKey(named)) {
      return NAMED.get(named);
    }
    if (named.equals("list")) {
      JsonElement data = members.get("data");
      boolean isMessages =
          data != null && data.isJsonArray() && !data.getAsJsonArray().isEmpty()
              && !someHas(data, "choices");
      return isMessages ? "ChatCompletionStoreMessageList" : "ChatCompletionList";
    }
    if (choices != null && !(members.has("error") && choices.isJsonNull())) {
      boolean isChunk = !someHas(choices, "message") && (hasDelta || recorded.inStream);
      return isChunk ? "ChatCompletionChunk" : "ChatCompletion";
    }
    if (members.has("error")) {
      return "ErrorResponse";
    }
    if (members.has("messages")) {
      return "ChatCompletionRequest";
    }
    boolean isFlat = !members.has("id") && (members.has("message") || members.has("detail"));
    if (isFlat || recorded.event.equals("error") || file.endsWith(".error.json")) {
      return "ErrorResponse";
    }
    if (file.endsWith(".request.json")) {
      return "ChatCompletionRequest";
    }
    return recorded.inStream ? "ChatCompletionChunk" : "ChatCompletion";
  }

  /** Whether a value is an array with an object in it that has the member. */
  private static boolean someHas(JsonElement value, String name) {
    if (value == null || !value.isJsonArray()) {
      return false;
    }
    for (JsonElement item : value.getAsJsonArray()) {
      if (item.isJsonObject() && item.getAsJsonObject().has(name)) {
        return true;
      }
    }
    return false;
  }
}
