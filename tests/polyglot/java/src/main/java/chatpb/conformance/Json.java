package chatpb.conformance;

import static chatpb.conformance.Report.ensure;
import static chatpb.conformance.Report.expect;

import com.chatpb.ConversionException;
import com.chatpb.OpenAiJson;
import com.chatpb.Options;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.protobuf.Message;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HexFormat;
import java.util.List;
import java.util.regex.Pattern;

/** The cases of OpenAI's JSON. */
final class Json {
  private static final Pattern TOKEN =
      Pattern.compile("(\"(?:[^\"\\\\]|\\\\.)*+\")|([\\[\\]{},:])", Pattern.DOTALL);

  private final Path folder;
  private final Report report;

  Json(Path folder, Report report) {
    this.folder = folder;
    this.report = report;
  }

  void check() throws IOException {
    for (JsonElement entry : Vectors.json(folder.resolve("manifest.json"))) {
      JsonObject vector = entry.getAsJsonObject();
      String name = vector.get("name").getAsString();
      report.run("json", name, () -> checkValid(name, type(vector)));
    }
    Path invalid = folder.resolve("invalid");
    for (JsonElement entry : Vectors.json(invalid.resolve("manifest.json"))) {
      JsonObject vector = entry.getAsJsonObject();
      String name = vector.get("name").getAsString();
      report.run("json", "invalid/" + name, () -> checkInvalid(invalid, vector));
    }
  }

  private static Message type(JsonObject vector) {
    return Types.of(vector.get("message_type").getAsString());
  }

  private void checkValid(String name, Message type) throws IOException {
    byte[] binary = Files.readAllBytes(folder.resolve(name + ".binpb"));
    byte[] data = Files.readAllBytes(folder.resolve(name + ".json"));
    String text = new String(data, StandardCharsets.UTF_8).replaceFirst("^\ufeff", "");
    String spaced = TOKEN.matcher(text).replaceAll(" \r\n$1$2\t ");
    for (String each : List.of(text, "\ufeff" + text, spaced)) {
      same(binary, toBinary(each.getBytes(StandardCharsets.UTF_8), type));
    }
    same(binary, toBinary(data, type));
    byte[] written =
        OpenAiJson.binaryToJson(binary, type.getDescriptorForType(), Options.DEFAULT);
    String json = new String(written, StandardCharsets.UTF_8);
    Values.same(text, json);
    same(binary, toBinary(written, type));
    Message message = OpenAiJson.fromJson(data, type, Options.DEFAULT);
    expect(type.newBuilderForType().mergeFrom(binary).build(), message, "message");
    expect(message, OpenAiJson.fromJson(text, type.getClass()), "message of a String");
    Values.same(text, OpenAiJson.toJson(message));
  }

  private static void checkInvalid(Path folder, JsonObject vector) throws IOException {
    boolean isJson = vector.get("form").getAsString().equals("json");
    String ending = isJson ? ".json" : ".binpb";
    byte[] data = Files.readAllBytes(folder.resolve(vector.get("name").getAsString() + ending));
    Message type = type(vector);
    if (isJson) {
      refuses(vector, () -> OpenAiJson.fromJson(data, type, Options.DEFAULT));
      refuses(vector, () -> toBinary(data, type));
    } else {
      var descriptor = type.getDescriptorForType();
      refuses(vector, () -> OpenAiJson.binaryToJson(data, descriptor, Options.DEFAULT));
    }
  }

  /** Throws if something is not refused where and for the reason that a vector says. */
  static void refuses(JsonObject vector, Runnable conversion) {
    ConversionException refusal = null;
    try {
      conversion.run();
    } catch (ConversionException error) {
      refusal = error;
    }
    ensure(refusal != null, "it was converted");
    JsonElement path = vector.get("path");
    expect(path == null ? "$" : path.getAsString(), refusal.path(), "path");
    JsonElement offset = vector.get("offset");
    boolean hasOffset = offset != null && !offset.isJsonNull();
    expect(hasOffset ? offset.getAsLong() : -1L, refusal.offset().orElse(-1), "offset");
    String reason = vector.get("reason").getAsString();
    String found = refusal.reason();
    boolean isSame =
        found.equals(reason)
            || List.of("; ", ": ", ", got ").stream()
                .anyMatch(next -> found.startsWith(reason + next));
    ensure(isSame, "expected the reason " + reason + ", got " + found);
  }

  static byte[] toBinary(byte[] text, Message type) {
    return OpenAiJson.jsonToBinary(text, type.getDescriptorForType(), Options.DEFAULT);
  }

  static void same(byte[] wanted, byte[] found) {
    HexFormat hex = HexFormat.of();
    expect(hex.formatHex(wanted), hex.formatHex(found), "bytes");
  }
}
