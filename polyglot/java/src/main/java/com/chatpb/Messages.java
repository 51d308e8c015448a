package com.chatpb;

import com.google.protobuf.CodedInputStream;
import com.google.protobuf.CodedOutputStream;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.protobuf.Message;
import java.io.IOException;
import java.io.UncheckedIOException;

/** Messages to bytes and back. */
final class Messages {
  /** The core nests messages as deep as its own limit allows; protobuf's default is 100. */
  private static final int MAX_DEPTH = 1000;

  private static final ClassValue<Message> DEFAULTS =
      new ClassValue<>() {
        @Override
        protected Message computeValue(Class<?> type) {
          try {
            return (Message) type.getMethod("getDefaultInstance").invoke(null);
          } catch (ReflectiveOperationException error) {
            throw new IllegalArgumentException(type + " is not a generated message", error);
          }
        }
      };

  private Messages() {}

  static <T extends Message> T defaultInstance(Class<T> type) {
    return type.cast(DEFAULTS.get(type));
  }

  /** Parses what the core has written. */
  @SuppressWarnings("unchecked")
  static <T extends Message> T parse(T type, byte[] array, int offset, int size) {
    CodedInputStream input = CodedInputStream.newInstance(array, offset, size);
    input.setRecursionLimit(MAX_DEPTH);
    try {
      return (T) type.getParserForType().parseFrom(input);
    } catch (InvalidProtocolBufferException error) {
      throw new IllegalStateException("a bug of chatpb: it wrote bytes that do not parse", error);
    }
  }

  static <T extends Message> T parse(T type, byte[] data) {
    return parse(type, data, 0, data.length);
  }

  /** Writes a message of this size. */
  static void write(Message message, byte[] array, int offset, int size) {
    CodedOutputStream output = CodedOutputStream.newInstance(array, offset, size);
    try {
      message.writeTo(output);
      output.checkNoSpaceLeft();
    } catch (IOException error) {
      throw new UncheckedIOException(error);
    }
  }
}
