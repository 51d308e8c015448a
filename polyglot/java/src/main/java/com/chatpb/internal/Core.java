package com.chatpb.internal;

import com.chatpb.ConversionException;
import com.dylibso.chicory.runtime.ChicoryInterruptedException;
import com.dylibso.chicory.runtime.Instance;
import com.dylibso.chicory.wasm.ChicoryException;
import com.dylibso.chicory.wasm.WasmModule;
import java.util.OptionalLong;
import java.util.concurrent.ConcurrentLinkedDeque;
import java.util.concurrent.atomic.AtomicInteger;

/**
 * Chatpb's core in Rust, compiled to WebAssembly and that to JVM bytecode. Not part of the API.
 *
 * <p>A call borrows an instance, which no other thread uses meanwhile, and gives it back. The first
 * instance compiles the schema; the others start from a copy of its memory. An instance is not used
 * again if it failed, or if its memory has grown large: WebAssembly cannot give memory back.
 */
public final class Core {
  /** The most memory of an instance that is kept for the next call, in bytes. */
  static final int MAX_KEPT = 16 << 20;

  private static final int MAX_IDLE = Runtime.getRuntime().availableProcessors();
  private static final ConcurrentLinkedDeque<Session> IDLE = new ConcurrentLinkedDeque<>();
  private static final AtomicInteger IDLE_COUNT = new AtomicInteger();

  private Core() {}

  /** What a call does. It runs again if it is interrupted, and must not change anything outside. */
  public interface Work<T> {
    /** Does it. */
    T run(Session session);
  }

  /** The first instance's module and the memory that others start from. */
  private static final class Start {
    static final WasmModule MODULE = CoreModule.load();
    static final int RESULT;
    static final byte[] SNAPSHOT;

    static {
      boolean wasInterrupted = Thread.interrupted();
      LinearMemory memory = LinearMemory.ofPages(initialPages());
      Session first = new Session(instance(memory), memory, 0);
      RESULT = first.start();
      SNAPSHOT = memory.array();
      if (wasInterrupted) {
        Thread.currentThread().interrupt();
      }
    }

    private static int initialPages() {
      return MODULE.memorySection().orElseThrow().getMemory(0).limits().initialPages();
    }

    static Instance instance(LinearMemory memory) {
      return Instance.builder(MODULE)
          .withMachineFactory(CoreModule::create)
          .withMemoryFactory(limits -> memory)
          .build();
    }
  }

  /**
   * Does work on an instance that nothing else uses.
   *
   * @throws ConversionException if the core refuses the input, or has not enough memory for it
   */
  public static <T> T call(Work<T> work) {
    // Compiled code looks at the interrupted status. The work does not block, so it is set again
    // after it, as for any other computation.
    boolean wasInterrupted = Thread.interrupted();
    try {
      while (true) {
        Session session = take();
        boolean isSound = false;
        try {
          T done = work.run(session);
          isSound = true;
          return done;
        } catch (ConversionException refused) {
          isSound = true;
          throw refused;
        } catch (ChicoryInterruptedException interrupted) {
          Thread.interrupted();
          wasInterrupted = true;
        } catch (ChicoryException | IndexOutOfBoundsException | StackOverflowError trap) {
          throw trapped(session, trap);
        } finally {
          if (isSound) {
            give(session);
          }
        }
      }
    } finally {
      if (wasInterrupted) {
        Thread.currentThread().interrupt();
      }
    }
  }

  private static RuntimeException trapped(Session session, Throwable trap) {
    if (trap instanceof StackOverflowError) {
      return new IllegalStateException("the thread's stack is too small for chatpb", trap);
    }
    // The core asks for the double of what it has: half of the memory may be all that there is.
    if (session.memoryBytes() > LinearMemory.MAX_PAGES / 4L * 65536) {
      return tooLarge(trap);
    }
    return new IllegalStateException("a bug of chatpb: the core trapped", trap);
  }

  static ConversionException tooLarge(Throwable cause) {
    String reason = "it needs more than the 2 GiB of memory that a conversion may use";
    var error = new ConversionException("$", reason, OptionalLong.empty(), "$: " + reason);
    error.initCause(cause);
    return error;
  }

  private static Session take() {
    Session idle = IDLE.pollFirst();
    if (idle != null) {
      IDLE_COUNT.decrementAndGet();
      return idle;
    }
    LinearMemory memory = LinearMemory.from(Start.SNAPSHOT);
    return new Session(Start.instance(memory), memory, Start.RESULT);
  }

  private static void give(Session session) {
    if (session.memoryBytes() > MAX_KEPT || IDLE_COUNT.get() >= MAX_IDLE) {
      return;
    }
    IDLE_COUNT.incrementAndGet();
    IDLE.addFirst(session);
  }

  /** How many instances wait for a call; for tests. */
  static int idle() {
    return IDLE.size();
  }
}
