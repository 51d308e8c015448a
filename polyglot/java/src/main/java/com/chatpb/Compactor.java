package com.chatpb;

import com.chatpb.internal.Core;
import com.chatpb.v1.ChatCompletionChunk;
import com.chatpb.v1.StreamChatCompletionResponse;
import java.util.List;

/**
 * Makes the chunks of one stream compact, where that makes them shorter, for a server of {@code
 * StreamChatCompletion} whose caller asked for it.
 *
 * <p>The law: a {@link Restorer} gives the same chunks. A compactor keeps one chunk, and nothing
 * that needs to be closed. Use one for each stream, from one thread at a time.
 */
public final class Compactor {
  /** A larger chunk is not what the next one leaves out: section 10 of docs/mapping.md. */
  private static final int MAX_BYTES = 16 * 1024;

  private byte[] before;

  /** Makes one for a stream that has not begun. */
  public Compactor() {}

  /**
   * Takes the next chunk.
   *
   * @param chunk the chunk
   * @return the response to send, with this chunk, whole or compact
   */
  public StreamChatCompletionResponse add(ChatCompletionChunk chunk) {
    byte[] data = chunk.toByteArray();
    List<byte[]> compact = before == null ? List.of() : compact(before, data);
    if (compact.isEmpty() || data.length <= MAX_BYTES) {
      before = data;
    }
    var response = StreamChatCompletionResponse.newBuilder();
    if (compact.isEmpty()) {
      return response.addChunks(chunk).build();
    }
    ChatCompletionChunk type = ChatCompletionChunk.getDefaultInstance();
    return response.addCompactChunks(Messages.parse(type, compact.get(0))).build();
  }

  private static List<byte[]> compact(byte[] before, byte[] chunk) {
    return Core.call(
        session ->
            session.with(
                "chatpb_compactor",
                compactor -> {
                  session.step("chatpb_compactor_add", compactor, before);
                  session.step("chatpb_compactor_add", compactor, chunk);
                  return session.outputs();
                }));
  }
}
