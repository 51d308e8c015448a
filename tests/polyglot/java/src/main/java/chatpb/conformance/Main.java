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
    new Vectors(Path.of(arguments[0]), report).check();
    Relay.check(arguments[1], report);
    System.exit(report.hasFailed() ? 1 : 0);
  }
}
