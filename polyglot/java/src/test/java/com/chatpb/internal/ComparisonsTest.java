package com.chatpb.internal;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.dylibso.chicory.runtime.OpcodeImpl;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.TimeUnit;
import java.util.regex.Pattern;
import java.util.spi.ToolProvider;
import org.junit.jupiter.api.Test;

class ComparisonsTest {
  private static final int[] NUMBERS = {
    Integer.MIN_VALUE, Integer.MIN_VALUE + 1, -65588, -1, 0, 1, 11, 245, Integer.MAX_VALUE
  };

  @Test
  void areChicorys() {
    for (int a : NUMBERS) {
      for (int b : NUMBERS) {
        String pair = a + ", " + b;
        assertEquals(OpcodeImpl.I32_LT_S(a, b), Comparisons.I32_LT_S(a, b), pair);
        assertEquals(OpcodeImpl.I32_GT_S(a, b), Comparisons.I32_GT_S(a, b), pair);
        assertEquals(OpcodeImpl.I32_LE_S(a, b), Comparisons.I32_LE_S(a, b), pair);
        assertEquals(OpcodeImpl.I32_GE_S(a, b), Comparisons.I32_GE_S(a, b), pair);
        assertEquals(OpcodeImpl.I32_LT_U(a, b), Comparisons.I32_LT_U(a, b), pair);
        assertEquals(OpcodeImpl.I32_GT_U(a, b), Comparisons.I32_GT_U(a, b), pair);
        assertEquals(OpcodeImpl.I32_LE_U(a, b), Comparisons.I32_LE_U(a, b), pair);
        assertEquals(OpcodeImpl.I32_GE_U(a, b), Comparisons.I32_GE_U(a, b), pair);
        assertEquals(OpcodeImpl.I32_GE_U(a, b), Comparisons.i32_ge_u(a, b), pair);
      }
    }
  }

  /** Disassembles the compiled core, in which src/tools/Redirect.java changed the calls. */
  @Test
  void areWhatTheCoreCalls() throws Exception {
    Path folder = Path.of(CoreModule.class.getResource("CoreModule.meta").toURI()).getParent();
    var own = Pattern.compile("Method com/chatpb/internal/Comparisons\\.I32_LT_U");
    var others = Pattern.compile("Method \\S*(?<!Comparisons)\\.([iI]32_[gGlL][eEtT]_[sSuU]):");
    ToolProvider javap = ToolProvider.findFirst("javap").orElseThrow();
    try (var files = Files.newDirectoryStream(folder, "CoreModuleMachineFuncGroup_*.class")) {
      int count = 0;
      for (Path file : files) {
        var code = new StringWriter();
        var errors = new StringWriter();
        String[] arguments = {"-c", "-p", file.toString()};
        int status = javap.run(new PrintWriter(code), new PrintWriter(errors), arguments);
        assertEquals(0, status, errors::toString);
        Set<String> left = new TreeSet<>();
        others.matcher(code.getBuffer()).results().forEach(found -> left.add(found.group(1)));
        assertEquals(Set.of(), left);
        count += (int) own.matcher(code.getBuffer()).results().count();
      }
      assertTrue(count > 100, "calls of I32_LT_U: " + count);
    }
  }

  /** With Chicory's this fails, on Java 17 and 25: C2 compiles methods at their 10000th call. */
  @Test
  void areNotJoinedWrongly() throws Exception {
    var command = new ArrayList<String>();
    command.add(Path.of(System.getProperty("java.home"), "bin", "java").toString());
    command.add("-XX:-TieredCompilation");
    command.add("-XX:-BackgroundCompilation");
    command.add("-XX:-UseOnStackReplacement");
    command.addAll(List.of("-cp", System.getProperty("java.class.path"), Joined.class.getName()));
    Process process = new ProcessBuilder(command).redirectErrorStream(true).start();
    String output = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
    assertTrue(process.waitFor(30, TimeUnit.SECONDS));
    assertEquals(0, process.exitValue(), output);
  }

  /**
   * A check that always passed, then a comparison of the same number that was never true. Loops
   * make C2 look at the method again after it has simplified it.
   */
  static final class Joined {
    private static int small;

    private Joined() {}

    /** Fails if a number takes a way that is not its own. */
    public static void main(String[] arguments) {
      for (int round = 0; round < 20_000; round++) {
        check(12);
        atLeast(16, 0);
        // Both results of each comparison have been seen, but elsewhere.
        for (int number = 0; number < 3; number++) {
          Comparisons.I32_GE_S(number, 1);
          Comparisons.I32_LT_S(number, 1);
        }
      }
      check(0);
      if (small != 1) {
        throw new IllegalStateException("0 is less than 8");
      }
    }

    private static void check(int number) {
      if (atLeast(number, 16) != 0) {
        throw new IllegalStateException(number + " is less than 16");
      }
      if (Comparisons.I32_LT_S(number, 8) != 0) {
        small++;
      }
      for (int outer = 0; outer < 10; outer++) {
        for (int inner = 0; inner < 10; inner++) {}
      }
    }

    private static int atLeast(int number, int limit) {
      if (Comparisons.I32_GE_S(number, limit) != 0) {
        for (int turn = 0; turn < 100; turn++) {}
        return 1;
      }
      return 0;
    }
  }
}
