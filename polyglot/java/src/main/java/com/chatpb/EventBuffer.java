package com.chatpb;

import java.util.Arrays;

/** Bytes of an event stream, cut behind blank lines: events end there. */
final class EventBuffer {
  private byte[] bytes = new byte[1024];
  private int size;

  /** How many of the bytes are whole events. */
  private int whole;

  private boolean isLineStart = true;
  private boolean isAfterReturn;

  /** A byte order mark counts at the start of a stream only; a line feed before it says so. */
  private boolean isStart = true;

  int size() {
    return size;
  }

  void add(byte[] data, int offset, int count) {
    if (size + count > bytes.length || size + count < 0) {
      bytes = Arrays.copyOf(bytes, Math.max(Math.addExact(size, count), bytes.length * 3 / 2));
    }
    System.arraycopy(data, offset, bytes, size, count);
    for (int index = size; index < size + count; index++) {
      scan(bytes[index], index + 1);
    }
    size += count;
  }

  private void scan(byte each, int end) {
    boolean endsReturn = isAfterReturn && each == '\n';
    isAfterReturn = each == '\r';
    if (endsReturn) {
      return; // the second half of a line's end; as the first byte of events it is a blank line
    }
    boolean isLineEnd = each == '\n' || each == '\r';
    if (isLineEnd && isLineStart) {
      whole = end;
    }
    isLineStart = isLineEnd;
  }

  /** Takes the whole events; empty if there are none. */
  byte[] takeEvents() {
    return whole == 0 ? new byte[0] : take(whole);
  }

  /** Takes everything. */
  byte[] takeAll() {
    return take(size);
  }

  /** What there is, without taking it. */
  byte[] peek() {
    return copy(size);
  }

  private byte[] take(int count) {
    byte[] taken = copy(count);
    size -= count;
    int capacity = Math.max(size, 1024);
    bytes = Arrays.copyOf(Arrays.copyOfRange(bytes, count, count + size), capacity);
    whole = 0;
    isStart = false;
    return taken;
  }

  private byte[] copy(int count) {
    if (isStart) {
      return Arrays.copyOf(bytes, count);
    }
    byte[] copied = new byte[count + 1];
    copied[0] = '\n';
    System.arraycopy(bytes, 0, copied, 1, count);
    return copied;
  }
}
