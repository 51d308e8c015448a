package chatpb.conformance;

import java.nio.file.Path;

/**
 * Checks that Java reads chatpb's messages as every other language does.
 *
 * <p>Arguments: the folder of the vectors, and the address of a relay. Prints a line for each case.
 */
final class Main {
  private Main() {}

  public static void main(String[] arguments) throws Exception {
    if (arguments.length != 2) {
      System.err.println("usage: Main VECTORS_DIR RELAY_ADDRESS");
      System.exit(2);
    }
    var report = new Report(System.out);
    Path folder = Path.of(arguments[0]);
    new Vectors(folder, report).check();
    new Json(folder, report).check();
    new StreamVectors(folder, report).check();
    String corpus = System.getenv("CHATPB_CORPUS");
    if (corpus != null && !corpus.isEmpty()) {
      Corpus.check(Path.of(corpus), report);
    }
    Relay.check(arguments[1], report);
    System.exit(report.hasFailed() ? 1 : 0);
  }
}
