package com.chatpb;

import com.chatpb.internal.Core;
import com.chatpb.v1.ChatCompletionChunk;
import com.chatpb.v1.StreamChatCompletionResponse;
import com.google.protobuf.MessageLite;
import java.util.Optional;
import java.util.function.Consumer;

/**
 * Restores the chunks of one stream, of which some are whole and some are compact: those leave out
 * what the chunk before them contains. {@link Streams#chunks} does it for a whole stream.
 *
 * <p>A restorer keeps one chunk, and nothing that needs to be closed. Use one for each stream, from
 * one thread at a time.
 */
public final class Restorer {
  private ChatCompletionChunk before;

  /** Makes one for a stream that has not begun. */
  public Restorer() {}

  /**
   * Takes the next response.
   *
   * @param response the response
   * @param sink gets its chunks, whole, each before the next is restored
   * @throws ConversionException if a compact chunk has no chunk before it, or leaves out too much;
   *     {@code sink} has got the chunks before it
   */
  public void add(
      StreamChatCompletionResponse response, Consumer<? super ChatCompletionChunk> sink) {
    for (ChatCompletionChunk whole : response.getChunksList()) {
      follow(whole);
      sink.accept(whole);
    }
    for (ChatCompletionChunk compact : response.getCompactChunksList()) {
      sink.accept(restore(compact));
    }
  }

  /**
   * Takes the next chunk, which is whole.
   *
   * @param whole the chunk
   */
  public void follow(ChatCompletionChunk whole) {
    before = whole;
  }

  /**
   * Takes the next chunk, which is compact.
   *
   * @param compact the chunk
   * @return the whole chunk
   * @throws ConversionException if no chunk came before it, or it leaves out too much
   */
  public ChatCompletionChunk restore(ChatCompletionChunk compact) {
    Optional<byte[]> earlier = Optional.ofNullable(before).map(MessageLite::toByteArray);
    byte[] data = compact.toByteArray();
    ChatCompletionChunk type = ChatCompletionChunk.getDefaultInstance();
    before =
        Core.call(
            session ->
                session.with(
                    "chatpb_restorer",
                    restorer -> {
                      earlier.ifPresent(
                          whole -> session.step("chatpb_restorer_follow", restorer, whole));
                      session.step("chatpb_restorer_restore", restorer, data);
                      return session.output(
                          (array, offset, size) -> Messages.parse(type, array, offset, size));
                    }));
    return before;
  }
}
