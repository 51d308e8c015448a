package com.chatpb;

import static java.nio.charset.StandardCharsets.UTF_8;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.chatpb.v1.ChatCompletion;
import com.chatpb.v1.CompletionRecord;
import com.chatpb.v1.FinishReason;
import com.google.protobuf.DynamicMessage;
import com.google.protobuf.UnknownFieldSet;
import java.util.OptionalLong;
import org.junit.jupiter.api.Test;

class OpenAiJsonTest {
  private static final String TEXT =
      """
      {"id":"c","object":"chat.completion","created":7,"model":"m","choices":[{"index":0,\
      "message":{"role":"assistant","content":"h\u00e9llo \\u0001","refusal":null},\
      "logprobs":null,"finish_reason":"stop"}],"x":1.0}""";

  @Test
  void readsAndWrites() {
    ChatCompletion completion = OpenAiJson.fromJson(TEXT, ChatCompletion.class);
    assertEquals("h\u00e9llo \u0001", completion.getChoices(0).getMessage().getContent());
    assertEquals(FinishReason.FINISH_REASON_STOP, completion.getChoices(0).getFinishReason());
    assertEquals("{\"x\":1.0}", completion.getResidue().getExtraJson());
    String json = OpenAiJson.toJson(completion);
    assertEquals(completion, OpenAiJson.fromJson(json, ChatCompletion.class));
    assertEquals(json, new String(OpenAiJson.toJsonBytes(completion, Options.DEFAULT), UTF_8));
  }

  @Test
  void readsDynamicMessages() {
    var type = DynamicMessage.getDefaultInstance(ChatCompletion.getDescriptor());
    var message = OpenAiJson.fromJson(TEXT.getBytes(UTF_8), type, Options.DEFAULT);
    assertEquals(
        OpenAiJson.fromJson(TEXT, ChatCompletion.class).toByteString(), message.toByteString());
    assertEquals(OpenAiJson.toJson(message), OpenAiJson.toJson(message, Options.DEFAULT));
  }

  @Test
  void errorsSayWhereAndWhy() {
    var error =
        assertThrows(
            ConversionException.class,
            () -> OpenAiJson.fromJson("{\"choices\":[{]}", ChatCompletion.class));
    assertEquals("$.choices[0]", error.path());
    assertEquals(OptionalLong.of(13), error.offset());
    assertTrue(error.getMessage().contains(error.reason()), error.getMessage());
  }

  @Test
  void refusesTextsThatUtf8CannotExpress() {
    var error =
        assertThrows(
            ConversionException.class,
            () -> OpenAiJson.fromJson("{\"id\":\"\u00e9\ud83d\"}", ChatCompletion.class));
    assertEquals(OptionalLong.of(9), error.offset());
    String pair = OpenAiJson.fromJson("{\"id\":\"\ud83d\ude00\"}", ChatCompletion.class).getId();
    assertEquals("\ud83d\ude00", pair);
  }

  @Test
  void keepsLoneSurrogatesThatAreEscaped() {
    String text = "{\"id\":\"\\ud83d\"}";
    String json = OpenAiJson.toJson(OpenAiJson.fromJson(text, ChatCompletion.class));
    assertTrue(json.contains("\"id\":\"\\ud83d\""), json);
  }

  @Test
  void convertsNanIfAsked() {
    byte[] text = "{\"x\":NaN}".getBytes(UTF_8);
    var type = ChatCompletion.getDefaultInstance();
    assertThrows(
        ConversionException.class, () -> OpenAiJson.fromJson(text, type, Options.DEFAULT));
    Options options = Options.DEFAULT.withAllowNan(true);
    assertEquals(
        "{\"x\":NaN}", OpenAiJson.fromJson(text, type, options).getResidue().getExtraJson());
  }

  @Test
  void leavesUnknownFieldsOutIfAsked() {
    var unknown =
        UnknownFieldSet.newBuilder()
            .addField(4321, UnknownFieldSet.Field.newBuilder().addVarint(1).build())
            .build();
    ChatCompletion message = ChatCompletion.newBuilder().setUnknownFields(unknown).build();
    assertThrows(ConversionException.class, () -> OpenAiJson.toJson(message));
    Options options = Options.DEFAULT.withIgnoreUnknownFields(true);
    assertEquals(
        OpenAiJson.toJson(ChatCompletion.getDefaultInstance()),
        OpenAiJson.toJson(message, options));
  }

  @Test
  void refusesTypesWithoutJson() {
    var error =
        assertThrows(
            IllegalArgumentException.class,
            () -> OpenAiJson.fromJson("{}", CompletionRecord.class));
    assertFalse(error instanceof ConversionException);
    assertEquals(
        "chatpb.v1.CompletionRecord does not mirror a JSON object", error.getMessage());
  }
}
