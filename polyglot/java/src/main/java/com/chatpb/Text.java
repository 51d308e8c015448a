package com.chatpb;

import java.nio.charset.StandardCharsets;
import java.util.Arrays;

/** Texts of Java as UTF-8. */
final class Text {
  private Text() {}

  /**
   * The bytes of a text. A surrogate without its pair, which UTF-8 cannot express, becomes bytes
   * that the core refuses; {@code getBytes} would make it a question mark.
   */
  static byte[] utf8(String text) {
    byte[] bytes = text.getBytes(StandardCharsets.UTF_8);
    int lone = loneSurrogate(text);
    if (lone < 0) {
      return bytes;
    }
    int before = text.substring(0, lone).getBytes(StandardCharsets.UTF_8).length;
    byte[] refused = Arrays.copyOf(bytes, before + 3);
    char surrogate = text.charAt(lone);
    refused[before] = (byte) 0xED;
    refused[before + 1] = (byte) (0x80 | surrogate >> 6 & 0x3F);
    refused[before + 2] = (byte) (0x80 | surrogate & 0x3F);
    return refused;
  }

  /** Where the first surrogate without its pair is; -1 if there is none. */
  private static int loneSurrogate(String text) {
    for (int index = 0; index < text.length(); index++) {
      char unit = text.charAt(index);
      if (!Character.isSurrogate(unit)) {
        continue;
      }
      if (!Character.isHighSurrogate(unit)
          || index + 1 == text.length()
          || !Character.isLowSurrogate(text.charAt(index + 1))) {
        return index;
      }
      index++;
    }
    return -1;
  }
}
