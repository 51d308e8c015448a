package chatpb.conformance;

import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.Map;
import java.util.Objects;

/** Prints the results of cases, and knows whether one failed. */
final class Report {
  private static final String MINUS_ZERO = "JsonFormat reads -0.0 as 0.0";
  private static final String ORDER = "Java sorts the keys of maps by UTF-16, not by their bytes";

  /** What Java's runtime does not do as others do, by kind and case. */
  private static final Map<String, String> LIMITS =
      Map.of(
          "serialize map_keys", ORDER,
          "json_view completion_logprobs", MINUS_ZERO,
          "json_view completion_stored", MINUS_ZERO,
          "json_view least_numbers", MINUS_ZERO,
          "json_view request_zeros", MINUS_ZERO);

  private final PrintStream out;
  private boolean hasFailed;

  Report(PrintStream out) {
    this.out = new PrintStream(out, true, StandardCharsets.UTF_8);
  }

  boolean hasFailed() {
    return hasFailed;
  }

  /** Runs a case, which fails if it throws. */
  void run(String kind, String name, Case body) {
    String failure = failure(body);
    String limit = LIMITS.get(kind + " " + name);
    if (failure == null && limit != null) {
      failure = "no longer a limit: " + limit;
    } else if (limit != null) {
      print(kind, name, "limit: " + limit);
      return;
    }
    hasFailed |= failure != null;
    print(kind, name, failure == null ? "ok" : "FAIL: " + failure.replaceAll("\\s+", " "));
  }

  private static String failure(Case body) {
    try {
      body.run();
      return null;
    } catch (Exception | AssertionError error) {
      return error.toString();
    }
  }

  private void print(String... columns) {
    out.println(String.join("\t", columns));
  }

  static void expect(Object wanted, Object found, String what) {
    ensure(Objects.equals(wanted, found), what + ": expected " + wanted + ", got " + found);
  }

  static void ensure(boolean holds, String otherwise) {
    if (!holds) {
      throw new AssertionError(otherwise);
    }
  }

  /** What a case does. */
  interface Case {
    void run() throws Exception;
  }
}
