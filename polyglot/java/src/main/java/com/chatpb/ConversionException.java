package com.chatpb;

import java.util.OptionalLong;

/**
 * The input cannot be converted: it is not a JSON object, not a message, or holds what JSON cannot
 * express.
 *
 * <p>The message has the path, the reason and the offset, such as {@code $.choices[0]: expected a
 * value, got ']' (byte 17)}.
 */
public final class ConversionException extends IllegalArgumentException {
  private static final long serialVersionUID = 1L;

  private final String path;
  private final String reason;
  private final long offset;

  /**
   * Made by this library.
   *
   * @param path where in the document the error is
   * @param reason why the input is refused
   * @param offset at which byte of the text
   * @param message all of it as one text
   */
  public ConversionException(String path, String reason, OptionalLong offset, String message) {
    super(message);
    this.path = path;
    this.reason = reason;
    this.offset = offset.orElse(-1);
  }

  /**
   * Where in the document the error is.
   *
   * @return a path such as {@code $.choices[0].logprobs}
   */
  public String path() {
    return path;
  }

  /**
   * Why the input is refused.
   *
   * @return a text in lower case, without the path
   */
  public String reason() {
    return reason;
  }

  /**
   * At which byte of the JSON text, in UTF-8, the error is.
   *
   * @return the offset; empty if the input is not a text, or the error has no such place
   */
  public OptionalLong offset() {
    return offset < 0 ? OptionalLong.empty() : OptionalLong.of(offset);
  }
}
