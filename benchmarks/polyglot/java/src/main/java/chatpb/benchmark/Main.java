package chatpb.benchmark;

import com.chatpb.OpenAiJson;
import com.chatpb.Options;
import com.chatpb.v1.ChatCompletion;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;

/**
 * Measures the library beside Jackson's tree.
 *
 * <p>Arguments: {@code --seconds S} and paths of JSON files. Prints a line for each file and
 * operation: the file's name without its ending, the operation, the peer, and the least nanoseconds
 * of ours and of the peer.
 */
final class Main {
  private static final String PEER = "Jackson (JsonNode)";

  /** A round takes at least so long, so that the clock is exact. */
  private static final long ROUND_NANOS = 200_000;

  /** How many times as long as it measures it warms up: the compiler of HotSpot takes its time. */
  private static final int WARM_UP = 4;

  /** What was made last: the compiler cannot leave out what makes it. */
  private static Object sink;

  private Main() {}

  private interface Work {
    Object run() throws Exception;
  }

  public static void main(String[] arguments) throws Exception {
    double seconds = 1;
    List<Path> files = new ArrayList<>();
    for (int index = 0; index < arguments.length; index++) {
      if (arguments[index].equals("--seconds")) {
        seconds = Double.parseDouble(arguments[++index]);
      } else {
        files.add(Path.of(arguments[index]));
      }
    }
    for (Path file : files) {
      measure(file, seconds);
    }
  }

  private static void measure(Path file, double seconds) throws Exception {
    byte[] text = Files.readAllBytes(file);
    var type = ChatCompletion.getDescriptor();
    var mapper = new ObjectMapper();
    byte[] binary = OpenAiJson.jsonToBinary(text, type, Options.DEFAULT);
    ChatCompletion message = ChatCompletion.parseFrom(binary);
    JsonNode tree = mapper.readTree(text);
    String stem = file.getFileName().toString().replaceFirst("\\.[^.]*$", "");
    Work reads = () -> mapper.readTree(text);
    Work writes = () -> mapper.writeValueAsBytes(tree);
    compare(
        stem,
        "json_to_binary",
        () -> OpenAiJson.jsonToBinary(text, type, Options.DEFAULT),
        reads,
        seconds);
    compare(
        stem, "from_json", () -> OpenAiJson.fromJson(text, ChatCompletion.class), reads, seconds);
    compare(
        stem,
        "binary_to_json",
        () -> OpenAiJson.binaryToJson(binary, type, Options.DEFAULT),
        writes,
        seconds);
    compare(
        stem, "to_json", () -> OpenAiJson.toJsonBytes(message, Options.DEFAULT), writes, seconds);
  }

  private static void compare(String stem, String operation, Work ours, Work peer, double seconds)
      throws Exception {
    least(ours, peer, seconds * WARM_UP);
    double[] least = least(ours, peer, seconds);
    System.out.printf("%s\t%s\t%s\t%.0f\t%.0f%n", stem, operation, PEER, least[0], least[1]);
  }

  /** The least nanoseconds of both, in rounds in which they alternate. */
  private static double[] least(Work ours, Work peer, double seconds) throws Exception {
    double[] least = {Double.MAX_VALUE, Double.MAX_VALUE};
    long end = System.nanoTime() + (long) (seconds * 1e9);
    do {
      least[0] = Math.min(least[0], round(ours));
      least[1] = Math.min(least[1], round(peer));
    } while (System.nanoTime() < end);
    return least;
  }

  private static double round(Work work) throws Exception {
    long start = System.nanoTime();
    long elapsed;
    int count = 0;
    do {
      sink = work.run();
      count++;
      elapsed = System.nanoTime() - start;
    } while (elapsed < ROUND_NANOS);
    return (double) elapsed / count;
  }
}
