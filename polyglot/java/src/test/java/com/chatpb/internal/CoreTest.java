package com.chatpb.internal;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.chatpb.ConversionException;
import com.chatpb.OpenAiJson;
import com.chatpb.v1.ChatCompletion;
import com.dylibso.chicory.wasm.ChicoryException;
import java.util.ArrayList;
import java.util.concurrent.Callable;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.Test;

class CoreTest {
  private static String completion(String id) {
    return "{\"id\":\"" + id + "\",\"choices\":[]}";
  }

  private static void check(String id) {
    assertEquals(id, OpenAiJson.fromJson(completion(id), ChatCompletion.class).getId());
  }

  @Test
  void runsInManyThreads() throws Exception {
    var threads = Executors.newFixedThreadPool(8);
    var results = new ArrayList<Future<?>>();
    for (int number = 0; number < 400; number++) {
      String id = "id-" + number + "x".repeat(number * 7);
      results.add(threads.submit(() -> check(id)));
    }
    for (Future<?> result : results) {
      result.get();
    }
    threads.shutdown();
    assertTrue(Core.idle() <= Runtime.getRuntime().availableProcessors());
  }

  @Test
  void keepsNoMemoryOfALargeInput() {
    check("x".repeat(50 << 20));
    long kept = Core.call(Session::memoryBytes);
    assertTrue(kept <= Core.MAX_KEPT, () -> kept + " bytes");
  }

  @Test
  void usesANewInstanceAfterATrap() {
    var used = new ArrayList<Session>();
    Core.Work<Void> trap =
        session -> {
          used.add(session);
          throw new ChicoryException("a trap");
        };
    assertThrows(IllegalStateException.class, () -> Core.call(trap));
    assertEquals(1, used.size());
    Session next = Core.call(session -> session);
    assertFalse(used.contains(next));
    check("after");
  }

  @Test
  void saysThatTheInputIsTooLarge() {
    Core.Work<Void> work =
        session -> {
          session.convert("chatpb_binary_to_json", 0x7fff_0000, (array, offset, size) -> {}, 0, 0);
          return null;
        };
    var error = assertThrows(ConversionException.class, () -> Core.call(work));
    assertTrue(error.reason().contains("2 GiB"), error.reason());
    check("after");
  }

  @Test
  void worksInAnInterruptedThread() {
    Thread.currentThread().interrupt();
    check("interrupted");
    assertTrue(Thread.interrupted(), "the status is kept");
  }

  @Test
  void runsAgainIfItIsInterrupted() {
    var count = new AtomicInteger();
    int runs =
        Core.call(
            session -> {
              if (count.incrementAndGet() == 1) {
                Thread.currentThread().interrupt();
              }
              session.messageType("chatpb.v1.ChatCompletion");
              return count.get();
            });
    assertEquals(2, runs);
    assertTrue(Thread.interrupted(), "the status is kept");
  }

  @Test
  void runsOnASmallStack() throws Exception {
    Callable<Integer> nested =
        () -> {
          String text = "{\"x\":" + "[".repeat(190) + "]".repeat(190) + "}";
          return OpenAiJson.fromJson(text, ChatCompletion.class).getSerializedSize();
        };
    var size = new AtomicInteger();
    var thread =
        new Thread(
            null,
            () -> {
              try {
                size.set(nested.call());
              } catch (Exception error) {
                throw new IllegalStateException(error);
              }
            },
            "small",
            256 << 10);
    thread.start();
    thread.join();
    assertTrue(size.get() > 380);
  }
}
