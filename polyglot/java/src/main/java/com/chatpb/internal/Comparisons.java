package com.chatpb.internal;

/**
 * WebAssembly's comparisons of 32-bit integers, without a branch.
 *
 * <p>Chicory's have a branch whose result is compared again: {@code a < b ? 1 : 0}. HotSpot's
 * compiler C2 can join two of these wrongly (JDK-8376400): the first call that takes a way that was
 * never taken when the method was compiled takes another one instead. It joins only comparisons of
 * ints in branches, so these subtract longs.
 *
 * <p>src/tools/Redirect.java makes the compiled core call these instead of Chicory's, so they have
 * the names that Chicory's have.
 */
final class Comparisons {
  private static final long UNSIGNED = 0xffff_ffffL;

  private Comparisons() {}

  static int I32_LT_S(int a, int b) {
    return isNegative((long) a - b);
  }

  static int I32_GT_S(int a, int b) {
    return I32_LT_S(b, a);
  }

  static int I32_LE_S(int a, int b) {
    return I32_GE_S(b, a);
  }

  static int I32_GE_S(int a, int b) {
    return isNegative(~((long) a - b));
  }

  static int I32_LT_U(int a, int b) {
    return isNegative((a & UNSIGNED) - (b & UNSIGNED));
  }

  static int I32_GT_U(int a, int b) {
    return I32_LT_U(b, a);
  }

  static int I32_LE_U(int a, int b) {
    return I32_GE_U(b, a);
  }

  static int I32_GE_U(int a, int b) {
    return isNegative(~((a & UNSIGNED) - (b & UNSIGNED)));
  }

  /** Chicory's own way around the bug, for this comparison alone, which costs a call. */
  static int i32_ge_u(int a, int b) {
    return I32_GE_U(a, b);
  }

  private static int isNegative(long number) {
    return (int) (number >>> 63);
  }
}
