package com.chatpb;

import com.chatpb.internal.Core;
import com.chatpb.internal.Session;
import com.google.protobuf.Descriptors.Descriptor;
import com.google.protobuf.Message;
import java.nio.charset.StandardCharsets;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;

/**
 * OpenAI's JSON to messages and back. All methods may be called from any number of threads.
 *
 * <p>The law: {@code toJson(fromJson(text, type))} is the same JSON value as {@code text}, whatever
 * JSON object that is. What the schema does not know is kept in the message's {@code residue}.
 *
 * <p>{@code JsonFormat} of protobuf-java-util writes another JSON, protobuf's own, which no server
 * of OpenAI's API reads.
 *
 * <p>A conversion may use up to 2 GiB of memory for its input and its output together.
 */
public final class OpenAiJson {
  private static final Map<String, Integer> TYPES = new ConcurrentHashMap<>();

  private OpenAiJson() {}

  /**
   * Reads a JSON text into a message.
   *
   * @param <T> the type of the message
   * @param text the JSON text of one object
   * @param type the class of the message, such as {@code ChatCompletion.class}
   * @return the message
   * @throws ConversionException if the text is not a JSON object
   * @throws IllegalArgumentException if the type does not mirror a JSON object
   */
  public static <T extends Message> T fromJson(String text, Class<T> type) {
    return fromJson(Text.utf8(text), type);
  }

  /**
   * Reads a JSON text into a message.
   *
   * @param <T> the type of the message
   * @param text the JSON text of one object, in UTF-8
   * @param type the class of the message, such as {@code ChatCompletion.class}
   * @return the message
   * @throws ConversionException if the text is not a JSON object
   * @throws IllegalArgumentException if the type does not mirror a JSON object
   */
  public static <T extends Message> T fromJson(byte[] text, Class<T> type) {
    return fromJson(text, Messages.defaultInstance(type), Options.DEFAULT);
  }

  /**
   * Reads a JSON text into a message.
   *
   * @param <T> the type of the message
   * @param text the JSON text of one object, in UTF-8
   * @param type any message of the type to read, such as {@code ChatCompletion.getDefaultInstance()}
   * @param options how to convert
   * @return the message, of which nothing is taken from {@code type}
   * @throws ConversionException if the text is not a JSON object
   * @throws IllegalArgumentException if the type does not mirror a JSON object
   */
  public static <T extends Message> T fromJson(byte[] text, T type, Options options) {
    return read(
        text,
        type.getDescriptorForType(),
        options,
        (array, offset, size) -> Messages.parse(type, array, offset, size));
  }

  /**
   * Writes a message as JSON text.
   *
   * @param message a message of a type that mirrors a JSON object
   * @return the JSON text, without white space
   * @throws ConversionException if the message stands for no JSON, such as one with fields that the
   *     schema does not know
   * @throws IllegalArgumentException if its type does not mirror a JSON object
   */
  public static String toJson(Message message) {
    return toJson(message, Options.DEFAULT);
  }

  /**
   * Writes a message as JSON text.
   *
   * @param message a message of a type that mirrors a JSON object
   * @param options how to convert
   * @return the JSON text, without white space
   * @throws ConversionException if the message stands for no JSON
   * @throws IllegalArgumentException if its type does not mirror a JSON object
   */
  public static String toJson(Message message, Options options) {
    return write(
        message,
        options,
        (array, offset, size) -> new String(array, offset, size, StandardCharsets.UTF_8));
  }

  /**
   * Writes a message as JSON text in UTF-8, for what takes bytes anyway: bodies of HTTP, files.
   *
   * @param message a message of a type that mirrors a JSON object
   * @param options how to convert
   * @return the JSON text in UTF-8, without white space
   * @throws ConversionException if the message stands for no JSON
   * @throws IllegalArgumentException if its type does not mirror a JSON object
   */
  public static byte[] toJsonBytes(Message message, Options options) {
    return write(message, options, Session::copy);
  }

  /**
   * Reads a JSON text into the binary form of a message.
   *
   * @param text the JSON text of one object, in UTF-8
   * @param type the type of the message, such as {@code ChatCompletion.getDescriptor()}
   * @param options how to convert
   * @return the bytes, the same in every language
   * @throws ConversionException if the text is not a JSON object
   * @throws IllegalArgumentException if the type does not mirror a JSON object
   */
  public static byte[] jsonToBinary(byte[] text, Descriptor type, Options options) {
    return read(text, type, options, Session::copy);
  }

  /**
   * Writes the binary form of a message as JSON text in UTF-8.
   *
   * @param data the bytes of a message
   * @param type its type, such as {@code ChatCompletion.getDescriptor()}
   * @param options how to convert
   * @return the JSON text in UTF-8, without white space
   * @throws ConversionException if the bytes are not a message, or it stands for no JSON
   * @throws IllegalArgumentException if the type does not mirror a JSON object
   */
  public static byte[] binaryToJson(byte[] data, Descriptor type, Options options) {
    int number = number(type);
    return Core.call(
        session -> {
          Session.Writer source = copyOf(data);
          session.convert(
              "chatpb_binary_to_json", data.length, source, number, options.flags());
          return session.output(Session::copy);
        });
  }

  private static <T> T read(
      byte[] text, Descriptor type, Options options, Session.Reader<T> reader) {
    int number = number(type);
    int flags = options.withIgnoreUnknownFields(false).flags();
    return Core.call(
        session -> {
          session.convert("chatpb_json_to_binary", text.length, copyOf(text), number, flags);
          return session.output(reader);
        });
  }

  private static <T> T write(Message message, Options options, Session.Reader<T> reader) {
    int number = number(message.getDescriptorForType());
    int size = message.getSerializedSize();
    return Core.call(
        session -> {
          Session.Writer source =
              (array, offset, length) -> Messages.write(message, array, offset, length);
          session.convert("chatpb_binary_to_json", size, source, number, options.flags());
          return session.output(reader);
        });
  }

  private static Session.Writer copyOf(byte[] data) {
    return (array, offset, size) -> System.arraycopy(data, 0, array, offset, size);
  }

  private static int number(Descriptor type) {
    Integer known = TYPES.get(type.getFullName());
    if (known == null) {
      known = Core.call(session -> session.messageType(type.getFullName()));
      if (known < 0) {
        throw new IllegalArgumentException(type.getFullName() + " does not mirror a JSON object");
      }
      TYPES.put(type.getFullName(), known);
    }
    return known;
  }
}
