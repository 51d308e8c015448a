package com.chatpb;

import com.chatpb.internal.Core;
import com.chatpb.internal.Session;
import com.chatpb.v1.ChatCompletionChunk;
import com.chatpb.v1.ErrorResponse;
import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Iterator;
import java.util.List;
import java.util.NoSuchElementException;
import java.util.Optional;

/**
 * Turns the bytes of an event stream ({@code text/event-stream}), however they arrive, into chunks.
 *
 * <p>An event named {@code error}, or whose data is an error wherever servers put one, is not a
 * chunk: it is in {@link #error}. A chunk that has an error next to its choices is given, and its
 * error is there too, as is that of a choice. Chunks that follow are still given.
 *
 * <p>A decoder keeps the event that is not complete yet, and nothing that needs to be closed. Use
 * one for each stream, from one thread at a time.
 */
public final class ChunkDecoder {
  /** The most bytes that one event may have, if nothing else is given: 64 MiB. */
  public static final int MAX_EVENT_BYTES = 64 << 20;

  private static final byte[] NOTHING = {};
  private static final int READ_BYTES = 16 * 1024;

  private final int maxEventBytes;
  private final int flags;
  private final EventBuffer buffer = new EventBuffer();
  private byte[] errorEvents = NOTHING;
  private byte[] error = NOTHING;
  private boolean isErrorOfChoice;
  private boolean isDone;
  private int checkedSize;
  private ConversionException failure;

  /** Makes one for a stream that has not begun. */
  public ChunkDecoder() {
    this(MAX_EVENT_BYTES, Options.DEFAULT);
  }

  /**
   * Makes one for a stream that has not begun.
   *
   * @param maxEventBytes the most bytes that one event may have
   * @param options how to convert
   * @throws IllegalArgumentException if the size is not positive
   */
  public ChunkDecoder(int maxEventBytes, Options options) {
    if (maxEventBytes <= 0) {
      throw new IllegalArgumentException("maxEventBytes must be positive, not " + maxEventBytes);
    }
    this.maxEventBytes = maxEventBytes;
    flags = options.withIgnoreUnknownFields(false).flags();
  }

  /**
   * Takes the next bytes.
   *
   * @param data the bytes, cut anywhere
   * @return the chunks that they complete
   * @throws ConversionException if an event is longer than it may be, or its data is not a JSON
   *     object. Chunks before it are given first, and the next call throws
   */
  public List<ChatCompletionChunk> feed(byte[] data) {
    return feed(data, 0, data.length);
  }

  /**
   * Takes the next bytes.
   *
   * @param data an array with the bytes
   * @param offset where they begin
   * @param size how many they are
   * @return the chunks that they complete
   * @throws ConversionException as for {@link #feed(byte[])}
   */
  public List<ChatCompletionChunk> feed(byte[] data, int offset, int size) {
    throwFailure();
    buffer.add(data, offset, size);
    byte[] events = buffer.takeEvents();
    if (events.length > 0) {
      checkedSize = 0;
      return decode(events, false);
    }
    // The core knows how long an event may be; it looks at what has doubled since it last did.
    if (buffer.size() > maxEventBytes && buffer.size() / 2 >= checkedSize) {
      checkedSize = buffer.size();
      return decode(buffer.peek(), false);
    }
    return List.of();
  }

  /**
   * Takes that the stream has ended. To be called until it gives no chunk.
   *
   * @return the chunks that the end completes
   * @throws ConversionException as for {@link #feed(byte[])}
   */
  public List<ChatCompletionChunk> close() {
    throwFailure();
    return decode(buffer.takeAll(), true);
  }

  /**
   * Reads a stream to its end.
   *
   * @param input the bytes, such as the body of an answer; the caller closes it
   * @return the chunks, each as soon as its bytes have come. {@link ConversionException} is thrown
   *     as for {@link #feed(byte[])}, and {@link UncheckedIOException} if reading fails
   */
  public Iterator<ChatCompletionChunk> decode(InputStream input) {
    return new Iterator<>() {
      private final byte[] bytes = new byte[READ_BYTES];
      private Iterator<ChatCompletionChunk> ready = List.<ChatCompletionChunk>of().iterator();
      private boolean hasEnded;

      @Override
      public boolean hasNext() {
        while (!ready.hasNext()) {
          if (hasEnded) {
            throwFailure();
            return false;
          }
          ready = more().iterator();
        }
        return true;
      }

      private List<ChatCompletionChunk> more() {
        int size;
        try {
          size = input.read(bytes);
        } catch (IOException error) {
          throw new UncheckedIOException(error);
        }
        hasEnded = size < 0;
        return hasEnded ? close() : feed(bytes, 0, size);
      }

      @Override
      public ChatCompletionChunk next() {
        if (!hasNext()) {
          throw new NoSuchElementException();
        }
        return ready.next();
      }
    };
  }

  /**
   * The first error event, or else the first error in a chunk.
   *
   * @return the error; empty if none has come
   */
  public Optional<ErrorResponse> error() {
    return error.length == 0 && errorEvents.length == 0
        ? Optional.empty()
        : Optional.of(Messages.parse(ErrorResponse.getDefaultInstance(), error));
  }

  /**
   * Whether {@link #error} is that of one choice of a chunk, so that others go on.
   *
   * @return whether it is
   */
  public boolean isErrorOfChoice() {
    return isErrorOfChoice;
  }

  /**
   * Whether the event that ends a stream has come. Some servers never send it.
   *
   * @return whether it has
   */
  public boolean isDone() {
    return isDone;
  }

  private void throwFailure() {
    if (failure != null) {
      throw failure;
    }
  }

  /** What the core makes of some events. */
  private record Decoded(
      List<byte[]> chunks,
      ConversionException failure,
      List<byte[]> error,
      boolean isErrorOfChoice,
      boolean isDone) {}

  /**
   * Decodes whole events with a decoder of the core that has seen nothing before, but for the
   * events with the error so far: which error is given depends on those before it.
   */
  private List<ChatCompletionChunk> decode(byte[] events, boolean isEnd) {
    byte[] before = errorEvents;
    Decoded decoded =
        Core.call(
            session ->
                session.with(
                    "chatpb_chunk_decoder",
                    decoder -> decode(session, decoder, before, events, isEnd),
                    maxEventBytes,
                    flags));
    if (!decoded.error.isEmpty()) {
      byte[] found = decoded.error.get(0);
      if (errorEvents.length == 0 || !Arrays.equals(found, error)) {
        errorEvents = concat(before, events);
      }
      error = found;
      isErrorOfChoice = decoded.isErrorOfChoice;
    }
    isDone |= decoded.isDone;
    failure = decoded.failure;
    if (decoded.chunks.isEmpty()) {
      throwFailure();
    }
    ChatCompletionChunk type = ChatCompletionChunk.getDefaultInstance();
    return decoded.chunks.stream().map(chunk -> Messages.parse(type, chunk)).toList();
  }

  private static Decoded decode(
      Session session, int decoder, byte[] before, byte[] events, boolean isEnd) {
    var chunks = new ArrayList<byte[]>();
    ConversionException failure = null;
    session.step("chatpb_chunk_decoder_feed", decoder, before);
    try {
      session.step("chatpb_chunk_decoder_feed", decoder, events);
      chunks.addAll(session.outputs());
      session.step("chatpb_chunk_decoder_feed", decoder, NOTHING); // an error after the chunks
      int count = isEnd ? -1 : chunks.size();
      while (count != chunks.size()) {
        count = chunks.size();
        session.step("chatpb_chunk_decoder_close", decoder);
        chunks.addAll(session.outputs());
      }
    } catch (ConversionException error) {
      failure = error;
    }
    session.step("chatpb_chunk_decoder_error", decoder);
    return new Decoded(
        chunks,
        failure,
        session.outputs(),
        session.is("chatpb_chunk_decoder_is_error_of_choice", decoder),
        session.is("chatpb_chunk_decoder_is_done", decoder));
  }

  private static byte[] concat(byte[] first, byte[] second) {
    byte[] both = Arrays.copyOf(first, first.length + second.length);
    System.arraycopy(second, 0, both, first.length, second.length);
    return both;
  }
}
