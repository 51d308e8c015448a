package com.chatpb.internal;

import static com.dylibso.chicory.runtime.ConstantEvaluators.computeConstantValue;

import com.dylibso.chicory.runtime.Instance;
import com.dylibso.chicory.runtime.Memory;
import com.dylibso.chicory.wasm.types.ActiveDataSegment;
import com.dylibso.chicory.wasm.types.DataSegment;
import com.dylibso.chicory.wasm.types.PassiveDataSegment;
import java.lang.invoke.MethodHandles;
import java.lang.invoke.VarHandle;
import java.nio.ByteOrder;
import java.util.Arrays;

/**
 * The memory of a WebAssembly instance, in one array.
 *
 * <p>Chicory's own memory is an array of pages, which takes 1.4 times as long. One array can be
 * copied at once too: see {@link Core}. An access outside of it throws, which is a trap.
 */
final class LinearMemory implements Memory {
  /** An array of Java has fewer than 2^31 bytes. */
  static final int MAX_PAGES = Integer.MAX_VALUE / PAGE_SIZE;

  private static final VarHandle SHORT = view(short[].class);
  private static final VarHandle INT = view(int[].class);
  private static final VarHandle LONG = view(long[].class);
  private static final VarHandle FLOAT = view(float[].class);
  private static final VarHandle DOUBLE = view(double[].class);

  private final int initialPages;
  private final boolean isCopy;
  private byte[] data;
  private DataSegment[] segments;

  private LinearMemory(byte[] data, boolean isCopy) {
    this.data = data;
    this.isCopy = isCopy;
    initialPages = data.length / PAGE_SIZE;
  }

  /** Memory that the module has yet to initialize. */
  static LinearMemory ofPages(int pages) {
    return new LinearMemory(new byte[pages * PAGE_SIZE], false);
  }

  /** Memory that continues from what another one contained. */
  static LinearMemory from(byte[] snapshot) {
    return new LinearMemory(snapshot.clone(), true);
  }

  private static VarHandle view(Class<?> array) {
    return MethodHandles.byteArrayViewVarHandle(array, ByteOrder.LITTLE_ENDIAN);
  }

  /** The bytes, until the next call of the instance. */
  byte[] array() {
    return data;
  }

  @Override
  public int pages() {
    return data.length / PAGE_SIZE;
  }

  @Override
  public int grow(int more) {
    int before = pages();
    if (more < 0 || more > MAX_PAGES - before) {
      return -1;
    }
    data = Arrays.copyOf(data, (before + more) * PAGE_SIZE);
    return before;
  }

  @Override
  public int initialPages() {
    return initialPages;
  }

  @Override
  public int maximumPages() {
    return MAX_PAGES;
  }

  @Override
  public void initialize(Instance instance, DataSegment[] dataSegments) {
    segments = dataSegments == null ? new DataSegment[0] : dataSegments.clone();
    for (DataSegment segment : segments) {
      if (!isCopy && segment instanceof ActiveDataSegment active) {
        write((int) computeConstantValue(instance, active.offsetInstructions())[0], active.data());
      }
    }
  }

  @Override
  public void initPassiveSegment(int segment, int target, int offset, int size) {
    write(target, segments[segment].data(), offset, size);
  }

  @Override
  public void drop(int segment) {
    segments[segment] = PassiveDataSegment.EMPTY;
  }

  @Override
  public void write(int address, byte[] source, int offset, int size) {
    System.arraycopy(source, offset, data, address, size);
  }

  @Override
  public byte[] readBytes(int address, int size) {
    return Arrays.copyOfRange(data, address, address + size);
  }

  @Override
  public void fill(byte value, int from, int to) {
    Arrays.fill(data, from, to, value);
  }

  @Override
  public void copy(int target, int source, int size) {
    System.arraycopy(data, source, data, target, size);
  }

  /** Called before the module initializes the memory: it is new, or must keep what was copied. */
  @Override
  public void zero() {}

  @Override
  public byte read(int address) {
    return data[address];
  }

  @Override
  public void writeByte(int address, byte value) {
    data[address] = value;
  }

  @Override
  public short readShort(int address) {
    return (short) SHORT.get(data, address);
  }

  @Override
  public long readU16(int address) {
    return Short.toUnsignedLong(readShort(address));
  }

  @Override
  public void writeShort(int address, short value) {
    SHORT.set(data, address, value);
  }

  @Override
  public int readInt(int address) {
    return (int) INT.get(data, address);
  }

  @Override
  public void writeI32(int address, int value) {
    INT.set(data, address, value);
  }

  @Override
  public long readLong(int address) {
    return (long) LONG.get(data, address);
  }

  @Override
  public void writeLong(int address, long value) {
    LONG.set(data, address, value);
  }

  @Override
  public float readFloat(int address) {
    return (float) FLOAT.get(data, address);
  }

  @Override
  public long readF32(int address) {
    return readInt(address);
  }

  @Override
  public void writeF32(int address, float value) {
    FLOAT.set(data, address, value);
  }

  @Override
  public double readDouble(int address) {
    return (double) DOUBLE.get(data, address);
  }

  @Override
  public long readF64(int address) {
    return readLong(address);
  }

  @Override
  public void writeF64(int address, double value) {
    DOUBLE.set(data, address, value);
  }

  // One instance belongs to one thread at a time, so nothing is shared.

  @Override
  public boolean shared() {
    return false;
  }

  @Override
  @SuppressWarnings("removal")
  public Object lock(int address) {
    throw new UnsupportedOperationException();
  }

  @Override
  @SuppressWarnings("removal")
  public int waitOn(int address, int expected, long timeout) {
    throw new UnsupportedOperationException();
  }

  @Override
  @SuppressWarnings("removal")
  public int waitOn(int address, long expected, long timeout) {
    throw new UnsupportedOperationException();
  }

  @Override
  @SuppressWarnings("removal")
  public int notify(int address, int maxThreads) {
    return 0;
  }
}
