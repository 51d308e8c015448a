import com.chatpb.ConversionException;
import com.chatpb.OpenAiJson;
import com.chatpb.Streams;
import com.chatpb.v1.ChatCompletion;
import com.chatpb.v1.ChatCompletionChunk;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;

/** What a user of the artifact does first; {@code Smoke FOLDER}. */
public final class Smoke {
  private Smoke() {}

  private static void expect(Object expected, Object actual) {
    if (!expected.equals(actual)) {
      throw new AssertionError("expected " + expected + ", got " + actual);
    }
  }

  /** Runs all of it. */
  public static void main(String[] arguments) throws IOException {
    Path folder = Path.of(arguments[0]);
    ChatCompletion expected =
        ChatCompletion.parseFrom(Files.readAllBytes(folder.resolve("completion.binpb")));
    String text = Files.readString(folder.resolve("completion.json"));
    ChatCompletion completion = OpenAiJson.fromJson(text, ChatCompletion.class);
    expect(expected, completion);
    String again = OpenAiJson.toJson(completion);
    expect(expected, OpenAiJson.fromJson(again, ChatCompletion.class));

    List<ChatCompletionChunk> chunks = new ArrayList<>();
    for (String line : Files.readAllLines(folder.resolve("stream.jsonl"))) {
      chunks.add(OpenAiJson.fromJson(line, ChatCompletionChunk.class));
    }
    byte[] folded = Files.readAllBytes(folder.resolve("folded.binpb"));
    expect(ChatCompletion.parseFrom(folded), Streams.fold(chunks));

    try {
      OpenAiJson.fromJson("{\"choices\": [tru]}", ChatCompletion.class);
      throw new AssertionError("no exception");
    } catch (ConversionException exception) {
      expect("$.choices[0]", exception.path());
    }
    System.out.println("passed");
  }
}
