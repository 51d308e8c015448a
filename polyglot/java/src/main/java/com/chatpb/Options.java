package com.chatpb;

/**
 * How to convert.
 *
 * @param allowNan whether NaN, Infinity and -Infinity, which are not JSON, are read and written
 * @param ignoreUnknownFields whether fields and enum values that the schema does not know are left
 *     out of JSON and of folded completions; otherwise they are errors
 */
public record Options(boolean allowNan, boolean ignoreUnknownFields) {
  /** Neither. */
  public static final Options DEFAULT = new Options(false, false);

  /**
   * The same with another choice.
   *
   * @param allowNan the choice
   * @return new options
   */
  public Options withAllowNan(boolean allowNan) {
    return new Options(allowNan, ignoreUnknownFields);
  }

  /**
   * The same with another choice.
   *
   * @param ignoreUnknownFields the choice
   * @return new options
   */
  public Options withIgnoreUnknownFields(boolean ignoreUnknownFields) {
    return new Options(allowNan, ignoreUnknownFields);
  }

  /** The flags of chatpb.h. */
  int flags() {
    return (allowNan ? 1 : 0) | (ignoreUnknownFields ? 2 : 0);
  }
}
