package chatpb.conformance;

import static chatpb.conformance.Report.expect;

import com.google.gson.JsonArray;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import com.google.protobuf.CodedOutputStream;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.protobuf.Message;
import com.google.protobuf.TextFormat;
import com.google.protobuf.util.JsonFormat;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HexFormat;

/** The cases of the vectors: parse, serialize, reject, textformat, json_view. */
final class Vectors {
  private final Path folder;
  private final Report report;

  Vectors(Path folder, Report report) {
    this.folder = folder;
    this.report = report;
  }

  void check() throws IOException {
    for (JsonElement entry : json(folder.resolve("manifest.json"))) {
      var vector = new Vector(folder, entry.getAsJsonObject());
      vector.checkValid(".binpb");
      report.run("textformat", vector.name, vector::checkText);
    }
    Path binary = folder.resolve("binary");
    for (JsonElement entry : json(binary.resolve("manifest.json"))) {
      var vector = new Vector(binary, entry.getAsJsonObject());
      if (vector.isInvalid) {
        report.run("reject", vector.name, vector::checkInvalid);
      } else {
        vector.checkValid(".canonical.binpb");
      }
    }
  }

  static JsonArray json(Path path) throws IOException {
    return JsonParser.parseString(Files.readString(path)).getAsJsonArray();
  }

  /** A line of a manifest. */
  private final class Vector {
    final String name;
    final boolean isInvalid;
    private final Path folder;
    private final Message type;

    Vector(Path folder, JsonObject entry) {
      this.folder = folder;
      name = entry.get("name").getAsString();
      isInvalid = entry.has("invalid") && entry.get("invalid").getAsBoolean();
      type = Types.of(entry.get("message_type").getAsString());
    }

    void checkValid(String canonical) {
      report.run("parse", name, () -> Assertions.check(parse(), json(path(".fields.json"))));
      report.run(
          "serialize",
          name,
          () -> expect(hex(Files.readAllBytes(path(canonical))), hex(serialize(parse())), "bytes"));
      report.run("json_view", name, this::checkJsonView);
    }

    void checkInvalid() throws IOException {
      try {
        parse();
      } catch (InvalidProtocolBufferException expected) {
        return;
      }
      throw new AssertionError("it was parsed");
    }

    void checkText() throws IOException {
      Message.Builder read = type.newBuilderForType();
      TextFormat.getParser().merge(Files.readString(path(".txtpb")), read);
      expect(parse(), read.build(), "message");
    }

    /** ProtoJSON says nothing of unknown fields. */
    private void checkJsonView() throws IOException {
      Message message = Unknown.dropped(parse());
      Message.Builder read = type.newBuilderForType();
      JsonFormat.parser().merge(JsonFormat.printer().print(message), read);
      expect(message, read.build(), "message");
    }

    private Message parse() throws IOException {
      return type.getParserForType().parseFrom(Files.readAllBytes(path(".binpb")));
    }

    private Path path(String ending) {
      return folder.resolve(name + ending);
    }
  }

  static byte[] serialize(Message message) throws IOException {
    var bytes = new ByteArrayOutputStream();
    CodedOutputStream out = CodedOutputStream.newInstance(bytes);
    out.useDeterministicSerialization();
    message.writeTo(out);
    out.flush();
    return bytes.toByteArray();
  }

  private static String hex(byte[] data) {
    return HexFormat.of().formatHex(data);
  }
}
