package com.chatpb;

import static java.nio.charset.StandardCharsets.UTF_8;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.chatpb.v1.ChatCompletion;
import com.chatpb.v1.ChatCompletionChunk;
import com.chatpb.v1.ChatCompletionMessage;
import com.chatpb.v1.Choice;
import com.chatpb.v1.StreamChatCompletionResponse;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;

class StreamsTest {
  private static final ChatCompletion COMPLETION =
      ChatCompletion.newBuilder()
          .setId("c")
          .setModel("m")
          .addChoices(
              Choice.newBuilder()
                  .setMessage(ChatCompletionMessage.newBuilder().setContent("hello")))
          .build();

  @Test
  void foldsWhatItUnfolds() {
    List<ChatCompletionChunk> chunks = Streams.unfold(COMPLETION);
    assertTrue(chunks.size() > 1);
    assertEquals(COMPLETION, Streams.fold(chunks));
  }

  @Test
  void refusesNoChunks() {
    assertThrows(ConversionException.class, () -> Streams.fold(List.of()));
  }

  @Test
  void restoresWhatACompactorMakes() {
    var compactor = new Compactor();
    List<ChatCompletionChunk> chunks = Streams.unfold(COMPLETION);
    List<StreamChatCompletionResponse> responses = chunks.stream().map(compactor::add).toList();
    assertTrue(responses.stream().anyMatch(each -> each.getCompactChunksCount() > 0));
    var found = new ArrayList<ChatCompletionChunk>();
    Streams.chunks(responses.iterator()).forEachRemaining(found::add);
    assertEquals(chunks, found);
  }

  @Test
  void givesTheChunksBeforeOneThatCannotBeRestored() {
    var stream =
        Streams.chunks(
            List.of(
                    StreamChatCompletionResponse.newBuilder()
                        .addChunks(ChatCompletionChunk.newBuilder().setId("x".repeat(70000)))
                        .addCompactChunks(ChatCompletionChunk.getDefaultInstance())
                        .build())
                .iterator());
    assertTrue(stream.hasNext());
    stream.next();
    assertThrows(ConversionException.class, stream::hasNext);
    assertThrows(ConversionException.class, stream::hasNext, "it stays so");
  }

  @Test
  void decodesAnEventStream() {
    String text =
        ": hi\r\n\r\ndata: {\"id\":\"a\"}\r\n\r\nevent: error\ndata: {\"error\":{\"message\":\"no\"}}\n\n"
            + "data: {\"id\":\"b\",\"error\":{\"message\":\"late\"},\"choices\":[]}\n\n"
            + "data: [DONE]\n\n";
    var decoder = new ChunkDecoder();
    var ids = new ArrayList<String>();
    decoder
        .decode(new ByteArrayInputStream(text.getBytes(UTF_8)))
        .forEachRemaining(chunk -> ids.add(chunk.getId()));
    assertEquals(List.of("a", "b"), ids);
    assertEquals("no", decoder.error().orElseThrow().getError().getMessage());
    assertFalse(decoder.isErrorOfChoice());
    assertTrue(decoder.isDone());
  }

  @Test
  void takesTheErrorEventThatFollowsAnErrorInAChunk() {
    var decoder = new ChunkDecoder();
    decoder.feed("data: {\"id\":\"b\",\"error\":{\"message\":\"1\"},\"choices\":[]}\n\n".getBytes(UTF_8));
    assertEquals("1", decoder.error().orElseThrow().getError().getMessage());
    decoder.feed("data: {\"id\":\"c\"}\n\n".getBytes(UTF_8));
    decoder.feed("data: {\"error\":{\"message\":\"2\"}}\n\n".getBytes(UTF_8));
    assertEquals("2", decoder.error().orElseThrow().getError().getMessage());
    decoder.feed("data: {\"error\":{\"message\":\"3\"}}\n\n".getBytes(UTF_8));
    assertEquals("2", decoder.error().orElseThrow().getError().getMessage());
  }

  @Test
  void refusesAnEventThatIsTooLongBeforeItEnds() {
    var decoder = new ChunkDecoder(1000, Options.DEFAULT);
    decoder.feed("data: {\"id\":\"".getBytes(UTF_8));
    byte[] more = "x".repeat(100).getBytes(UTF_8);
    assertThrows(
        ConversionException.class,
        () -> {
          for (int count = 0; count < 30; count++) {
            decoder.feed(more);
          }
        });
    assertThrows(ConversionException.class, decoder::close);
  }

  @Test
  void passesErrorsOfTheInputOn() {
    var broken =
        new InputStream() {
          @Override
          public int read() throws IOException {
            throw new IOException("gone");
          }
        };
    var chunks = new ChunkDecoder().decode(broken);
    assertThrows(UncheckedIOException.class, chunks::hasNext);
  }
}
