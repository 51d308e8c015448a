package com.chatpb;

import com.chatpb.internal.Core;
import com.chatpb.internal.Session;
import com.chatpb.v1.ChatCompletion;
import com.chatpb.v1.ChatCompletionChunk;
import com.chatpb.v1.StreamChatCompletionResponse;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Iterator;
import java.util.List;
import java.util.NoSuchElementException;
import java.util.Queue;

/**
 * Streams of chunks: joined into completions, made of completions, and read from the relay.
 *
 * <p>The law: {@code fold(unfold(completion))} is {@code completion}.
 */
public final class Streams {
  private Streams() {}

  /**
   * Joins the chunks of one stream into the completion that they make.
   *
   * @param chunks the chunks, in their order; all are read first
   * @return the completion
   * @throws ConversionException if there is no chunk, or one has a field that the schema does not
   *     know
   */
  public static ChatCompletion fold(Iterable<ChatCompletionChunk> chunks) {
    var data = new ArrayList<byte[]>();
    chunks.forEach(chunk -> data.add(chunk.toByteArray()));
    return Messages.parse(
        ChatCompletion.getDefaultInstance(), foldBinary(data, Options.DEFAULT));
  }

  /**
   * Joins the chunks of one stream, in binary form, into the completion that they make.
   *
   * @param chunks the chunks, in their order
   * @param options how to convert
   * @return the completion in binary form, the same in every language
   * @throws ConversionException if there is no chunk, or one is not the binary form of a chunk
   */
  public static byte[] foldBinary(Iterable<byte[]> chunks, Options options) {
    int flags = options.withAllowNan(false).flags();
    return Core.call(
        session ->
            session.with(
                "chatpb_folder",
                folder -> {
                  chunks.forEach(chunk -> session.step("chatpb_folder_add", folder, chunk));
                  session.step("chatpb_folder_finish", folder);
                  return session.output(Session::copy);
                },
                flags));
  }

  /**
   * Splits a completion into the chunks of a stream, as api.openai.com would send it.
   *
   * @param completion the completion
   * @return the chunks, at least one
   * @throws ConversionException if it has a field that the schema does not know
   */
  public static List<ChatCompletionChunk> unfold(ChatCompletion completion) {
    var chunks = new ArrayList<ChatCompletionChunk>();
    for (byte[] chunk : unfoldBinary(completion.toByteArray(), Options.DEFAULT)) {
      chunks.add(Messages.parse(ChatCompletionChunk.getDefaultInstance(), chunk));
    }
    return chunks;
  }

  /**
   * Splits a completion in binary form into the chunks of a stream.
   *
   * @param completion the bytes of a completion
   * @param options how to convert
   * @return the chunks in binary form, the same in every language
   * @throws ConversionException if the bytes are not a completion
   */
  public static List<byte[]> unfoldBinary(byte[] completion, Options options) {
    int flags = options.withAllowNan(false).flags();
    return Core.call(
        session -> {
          session.convert("chatpb_unfold", completion, flags);
          return session.outputs();
        });
  }

  /**
   * Reads a stream of the relay, with or without compact chunks: what a blocking stub gives.
   *
   * @param responses the responses of {@code StreamChatCompletion}, such as {@code
   *     stub.streamChatCompletion(request)} returns them
   * @return the chunks, each as soon as its response has come. What {@code responses} throws comes
   *     through; {@link ConversionException} says that a compact chunk cannot be restored
   */
  public static Iterator<ChatCompletionChunk> chunks(
      Iterator<StreamChatCompletionResponse> responses) {
    return new Iterator<>() {
      private final Restorer restorer = new Restorer();
      private final Queue<ChatCompletionChunk> restored = new ArrayDeque<>();
      private ConversionException failure;

      @Override
      public boolean hasNext() {
        while (restored.isEmpty()) {
          if (failure != null) {
            throw failure;
          }
          if (!responses.hasNext()) {
            return false;
          }
          try {
            restorer.add(responses.next(), restored::add);
          } catch (ConversionException error) {
            failure = error; // after the chunks before it
          }
        }
        return true;
      }

      @Override
      public ChatCompletionChunk next() {
        if (!hasNext()) {
          throw new NoSuchElementException();
        }
        return restored.remove();
      }
    };
  }
}
