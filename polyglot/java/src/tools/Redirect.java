import java.io.ByteArrayOutputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Set;

/**
 * Makes the compiled core call com.chatpb.internal.Comparisons, which says why.
 *
 * <p>In the table of constants of a class, the methods that it calls: JVMS 4.4. What is redirected
 * already stays as it is.
 */
class Redirect {
  private static final String TARGET = "com/chatpb/internal/Comparisons";
  private static final Set<String> SOURCES =
      Set.of(
          "com/dylibso/chicory/runtime/OpcodeImpl", "com/chatpb/internal/CoreModuleMachineShaded");
  private static final Set<String> METHODS =
      Set.of(
          "I32_LT_S", "I32_GT_S", "I32_LE_S", "I32_GE_S", "I32_LT_U", "I32_GT_U", "I32_LE_U",
          "I32_GE_U", "i32_ge_u");

  private static final int UTF8 = 1;
  private static final int CLASS = 7;
  private static final int METHOD = 10;
  private static final int COUNT_AT = 8;

  private final ByteBuffer data;
  private final int count;

  /** By its number, where a constant begins; the last one is where the table ends. */
  private final int[] starts;

  private Redirect(byte[] classFile) {
    data = ByteBuffer.wrap(classFile);
    count = unsigned(COUNT_AT);
    starts = new int[count + 1];
    int at = COUNT_AT + 2;
    for (int number = 1; number < count; number++) {
      starts[number] = at;
      int tag = data.get(at);
      at += size(tag, at);
      if (tag == 5 || tag == 6) { // a long or a double, which takes two numbers
        number++;
      }
    }
    starts[count] = at;
  }

  /** Redirects the classes of the core in a folder of classes. */
  public static void main(String[] arguments) throws IOException {
    Path folder = Path.of(arguments[0], "com", "chatpb", "internal");
    List<Path> classes;
    try (var all = Files.list(folder)) {
      classes = all.filter(Redirect::isOfTheCore).toList();
    }
    if (classes.isEmpty()) {
      throw new IllegalStateException("no compiled core in " + folder);
    }
    for (Path path : classes) {
      byte[] before = Files.readAllBytes(path);
      byte[] after = new Redirect(before).redirected();
      if (after != before) {
        Files.write(path, after);
      }
    }
  }

  private static boolean isOfTheCore(Path path) {
    return path.getFileName().toString().matches("CoreModuleMachine.*\\.class");
  }

  private byte[] redirected() throws IOException {
    boolean isChanged = false;
    for (int number = 1; number < count; number++) {
      int at = starts[number];
      if (at == 0 || data.get(at) != METHOD) {
        continue;
      }
      String owner = text(unsigned(starts[unsigned(at + 1)] + 1));
      String name = text(unsigned(starts[unsigned(at + 3)] + 1));
      if (SOURCES.contains(owner) && METHODS.contains(name)) {
        data.putShort(at + 1, (short) (count + 1));
        isChanged = true;
      }
    }
    if (!isChanged) {
      return data.array();
    }
    data.putShort(COUNT_AT, (short) (count + 2));
    var bytes = new ByteArrayOutputStream();
    var out = new DataOutputStream(bytes);
    out.write(data.array(), 0, starts[count]);
    out.writeByte(UTF8);
    out.writeUTF(TARGET);
    out.writeByte(CLASS);
    out.writeShort(count);
    out.write(data.array(), starts[count], data.capacity() - starts[count]);
    return bytes.toByteArray();
  }

  private String text(int number) {
    int at = starts[number];
    return new String(data.array(), at + 3, unsigned(at + 1), StandardCharsets.UTF_8);
  }

  private int unsigned(int at) {
    return Short.toUnsignedInt(data.getShort(at));
  }

  private int size(int tag, int at) {
    return switch (tag) {
      case UTF8 -> 3 + unsigned(at + 1);
      case 3, 4, 9, METHOD, 11, 12, 17, 18 -> 5;
      case 5, 6 -> 9;
      case CLASS, 8, 16, 19, 20 -> 3;
      case 15 -> 4;
      default -> throw new IllegalStateException("a constant of unknown kind: " + tag);
    };
  }
}
