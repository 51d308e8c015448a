package com.chatpb.internal;

import com.chatpb.ConversionException;
import com.dylibso.chicory.runtime.ExportFunction;
import com.dylibso.chicory.runtime.Instance;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.OptionalLong;
import java.util.function.IntFunction;

/** An instance of the core during a call: the functions of chatpb.h. Not part of the API. */
public final class Session {
  private static final int OK = 0;
  private static final int REFUSED = 1;

  private final Instance instance;
  private final LinearMemory memory;
  private final Map<String, ExportFunction> functions = new HashMap<>();
  private final int result;
  private int input;
  private int inputSize;

  Session(Instance instance, LinearMemory memory, int result) {
    this.instance = instance;
    this.memory = memory;
    this.result = result;
  }

  /** What bytes in an array become. */
  public interface Reader<T> {
    /** Reads them; the array must not be kept. */
    T read(byte[] array, int offset, int size);
  }

  /** Something that is written into an array. */
  public interface Writer {
    /** Writes all of it. */
    void write(byte[] array, int offset, int size);
  }

  /** Compiles the schema, and makes the result that all calls use. */
  int start() {
    messageType("chatpb.v1.ChatCompletion");
    input(new byte[0]);
    return number("chatpb_result_new");
  }

  long memoryBytes() {
    return memory.array().length;
  }

  /** The number of a message type; -1 if it does not mirror a JSON object. */
  public int messageType(String fullName) {
    byte[] name = fullName.getBytes(StandardCharsets.UTF_8);
    return number("chatpb_message_type", input(name), name.length);
  }

  /** Calls a function that takes input and a result. */
  public void convert(String function, int size, Writer source, int messageType, int flags) {
    check(number(function, input(size, source), size, messageType, flags, result));
  }

  /** Calls a function that takes input, flags and a result. */
  public void convert(String function, byte[] data, int flags) {
    check(number(function, input(data), data.length, flags, result));
  }

  /**
   * Makes a handle, does work with it and frees it. If the instance is broken, which is what other
   * exceptions mean, the handle goes with it.
   *
   * @param kind how its functions begin, such as "chatpb_folder"
   */
  public <T> T with(String kind, IntFunction<T> work, int... arguments) {
    int handle = number(kind + "_new", arguments);
    T done;
    try {
      done = work.apply(handle);
    } catch (ConversionException refused) {
      call(kind + "_free", handle);
      throw refused;
    }
    call(kind + "_free", handle);
    return done;
  }

  /** Calls a function of a handle that takes input and a result. */
  public void step(String function, int handle, byte[] data) {
    check(number(function, handle, input(data), data.length, result));
  }

  /** Calls a function of a handle that takes a result. */
  public void step(String function, int handle) {
    check(number(function, handle, result));
  }

  /** Asks a handle something. */
  public boolean is(String function, int handle) {
    return number(function, handle) != 0;
  }

  /** Reads the only piece of the output of the last call. */
  public <T> T output(Reader<T> reader) {
    return piece(0, reader);
  }

  /** Copies the pieces of the output of the last call. */
  public List<byte[]> outputs() {
    int count = number("chatpb_result_count", result);
    var pieces = new ArrayList<byte[]>(count);
    for (int index = 0; index < count; index++) {
      pieces.add(piece(index, Session::copy));
    }
    return pieces;
  }

  /** Copies bytes of an array. */
  public static byte[] copy(byte[] array, int offset, int size) {
    return Arrays.copyOfRange(array, offset, offset + size);
  }

  private <T> T piece(int index, Reader<T> reader) {
    int size = number("chatpb_result_size", result, index);
    int data = number("chatpb_result_data", result, index);
    return reader.read(memory.array(), size == 0 ? 0 : data, size);
  }

  private int input(byte[] data) {
    return input(
        data.length,
        (array, offset, size) -> System.arraycopy(data, 0, array, offset, size));
  }

  /** Where the input is, in memory that the next one reuses. */
  private int input(int size, Writer source) {
    if (input == 0 || size > inputSize) {
      if (input != 0) {
        call("chatpb_deallocate", input, inputSize);
      }
      inputSize = Math.max(size, 4096);
      input = number("chatpb_allocate", inputSize);
      if (input == 0) {
        inputSize = 0;
        throw Core.tooLarge(null);
      }
    }
    source.write(memory.array(), input, size);
    return input;
  }

  private void check(int status) {
    if (status == OK) {
      return;
    }
    String message = text("chatpb_result_message");
    if (status != REFUSED) {
      throw new IllegalStateException("a bug of chatpb: " + message);
    }
    int offset = number("chatpb_result_offset", result);
    throw new ConversionException(
        text("chatpb_result_path"),
        text("chatpb_result_reason"),
        offset == -1 ? OptionalLong.empty() : OptionalLong.of(Integer.toUnsignedLong(offset)),
        message);
  }

  private String text(String function) {
    int size = number(function + "_size", result);
    int data = number(function, result);
    return new String(memory.array(), data, size, StandardCharsets.UTF_8);
  }

  private int number(String function, int... arguments) {
    return (int) call(function, arguments)[0];
  }

  private long[] call(String function, int... arguments) {
    long[] wide = new long[arguments.length];
    for (int index = 0; index < wide.length; index++) {
      wide[index] = arguments[index];
    }
    return functions.computeIfAbsent(function, instance::export).apply(wide);
  }
}
