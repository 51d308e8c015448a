package com.chatpb;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import com.google.gson.JsonArray;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import com.google.protobuf.Descriptors.Descriptor;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.TestFactory;

/** The vectors of JSON. tests/polyglot/java checks all kinds, with the newest runtimes. */
class VectorsTest {
  private static final Path VECTORS = Path.of(System.getProperty("vectors"));

  /** The type of a vector. The stubs of all messages are in one package. */
  private static Descriptor type(JsonObject vector) {
    String name = vector.get("message_type").getAsString().replaceFirst("^chatpb", "com.chatpb");
    try {
      return (Descriptor) Class.forName(name).getMethod("getDescriptor").invoke(null);
    } catch (ReflectiveOperationException error) {
      throw new IllegalStateException(error);
    }
  }

  @TestFactory
  List<DynamicTest> valid() throws IOException {
    var tests = new ArrayList<DynamicTest>();
    for (JsonElement each : manifest(VECTORS)) {
      JsonObject vector = each.getAsJsonObject();
      String name = vector.get("name").getAsString();
      Descriptor type = type(vector);
      tests.add(
          DynamicTest.dynamicTest(
              name,
              () -> {
                byte[] text = Files.readAllBytes(VECTORS.resolve(name + ".json"));
                byte[] binary = Files.readAllBytes(VECTORS.resolve(name + ".binpb"));
                assertArrayEquals(binary, OpenAiJson.jsonToBinary(text, type, Options.DEFAULT));
                byte[] json = OpenAiJson.binaryToJson(binary, type, Options.DEFAULT);
                assertArrayEquals(binary, OpenAiJson.jsonToBinary(json, type, Options.DEFAULT));
              }));
    }
    return tests;
  }

  @TestFactory
  List<DynamicTest> invalid() throws IOException {
    Path folder = VECTORS.resolve("invalid");
    var tests = new ArrayList<DynamicTest>();
    for (JsonElement each : manifest(folder)) {
      JsonObject vector = each.getAsJsonObject();
      if (!vector.get("form").getAsString().equals("json")) {
        continue;
      }
      String name = vector.get("name").getAsString();
      Descriptor type = type(vector);
      tests.add(
          DynamicTest.dynamicTest(
              name,
              () -> {
                byte[] text = Files.readAllBytes(folder.resolve(name + ".json"));
                var error =
                    assertThrows(
                        ConversionException.class,
                        () -> OpenAiJson.jsonToBinary(text, type, Options.DEFAULT));
                assertEquals(vector.get("path").getAsString(), error.path());
                assertEquals(vector.get("offset").getAsLong(), error.offset().orElse(-1));
              }));
    }
    return tests;
  }

  private static JsonArray manifest(Path folder) throws IOException {
    return JsonParser.parseString(Files.readString(folder.resolve("manifest.json")))
        .getAsJsonArray();
  }
}
