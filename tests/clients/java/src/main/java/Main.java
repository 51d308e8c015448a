import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.json.JsonMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import com.openai.client.OpenAIClient;
import com.openai.client.okhttp.OpenAIOkHttpClient;
import com.openai.core.ObjectMappers;
import com.openai.core.RequestOptions;
import com.openai.core.http.StreamResponse;
import com.openai.errors.OpenAIServiceException;
import com.openai.helpers.ChatCompletionAccumulator;
import com.openai.models.chat.completions.ChatCompletion;
import com.openai.models.chat.completions.ChatCompletionChunk;
import com.openai.models.chat.completions.ChatCompletionCreateParams;
import com.openai.models.chat.completions.StructuredChatCompletionCreateParams;
import java.io.InterruptedIOException;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Iterator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * Runs cases against base URLs with OpenAI's client for Java, and prints what it gives as JSON.
 *
 * <p>The arguments are a file of cases, the names of those to run, and the base URLs.
 */
public final class Main {
    /** What the model is to answer in the case "structured". */
    public static final class Point {
        public int x;
        public int y;
    }

    private static final JsonMapper JSON = ObjectMappers.jsonMapper();

    public static void main(String[] arguments) throws Exception {
        JsonNode cases = JSON.readTree(Path.of(arguments[0]).toFile());
        List<String> names = List.of(arguments[1].split(","));
        List<Map<String, Object>> results = new ArrayList<>();
        for (String url : List.of(arguments).subList(2, arguments.length)) {
            OpenAIClient client =
                    OpenAIOkHttpClient.builder().baseUrl(url).apiKey("key").maxRetries(0).build();
            Map<String, Object> outcomes = new LinkedHashMap<>();
            for (JsonNode it : cases) {
                String name = it.get("name").asText();
                if (names.contains(name)) {
                    outcomes.put(name, outcome(client, it));
                }
            }
            results.add(outcomes);
            client.close();
        }
        System.out.println(JSON.writeValueAsString(results));
        System.exit(0);
    }

    private static Map<String, Object> outcome(OpenAIClient client, JsonNode it) throws Exception {
        try {
            return Map.of("value", value(client, it));
        } catch (RuntimeException error) {
            return Map.of("failed", failure(error));
        }
    }

    private static Object value(OpenAIClient client, JsonNode it) throws Exception {
        String name = it.get("name").asText();
        ObjectNode request = it.get("request").deepCopy();
        request.put("model", "ft:gpt-4o:" + name);
        ChatCompletionCreateParams.Body body =
                JSON.treeToValue(request, ChatCompletionCreateParams.Body.class);
        ChatCompletionCreateParams.Builder params =
                ChatCompletionCreateParams.builder().body(body);
        Duration limit = Duration.ofSeconds(name.equals("timeout") ? 1 : 60);
        RequestOptions options = RequestOptions.builder().timeout(limit).build();
        switch (it.get("do").asText()) {
            case "create":
                return client.chat().completions().create(params.build(), options);
            case "structured":
                StructuredChatCompletionCreateParams<Point> asked =
                        params.responseFormat(Point.class).build();
                Point point = client.chat().completions().create(asked, options)
                        .choices().get(0).message().content().orElseThrow();
                return List.of(point.x, point.y);
            default:
                return streamed(client, params.build(), options, it.get("do").asText());
        }
    }

    private static Object streamed(
            OpenAIClient client, ChatCompletionCreateParams params, RequestOptions options, String how) {
        ChatCompletionAccumulator folded = ChatCompletionAccumulator.create();
        List<ChatCompletionChunk> chunks = new ArrayList<>();
        try (StreamResponse<ChatCompletionChunk> stream =
                client.chat().completions().createStreaming(params, options)) {
            Iterator<ChatCompletionChunk> iterator = stream.stream().iterator();
            while (iterator.hasNext()) {
                chunks.add(folded.accumulate(iterator.next()));
                if (how.equals("cancel")) {
                    return chunks;
                }
            }
        }
        ChatCompletion completion = folded.chatCompletion();
        return Map.of("chunks", chunks, "folded", completion);
    }

    /** An error, with what callers read from it. */
    private static Map<String, Object> failure(RuntimeException error) {
        Map<String, Object> found = new LinkedHashMap<>();
        found.put("class", error.getClass().getName());
        found.put("text", String.valueOf(error.getMessage()).replaceAll("127\\.0\\.0\\.1:\\d+", "..."));
        // Two limits of OkHttp end at the same time; SocketTimeoutException is the other one's.
        if (error.getCause() instanceof InterruptedIOException) {
            found.put("cause", "timeout");
        } else if (error.getCause() != null) {
            found.put("cause", error.getCause().getClass().getName());
        }
        if (error instanceof OpenAIServiceException answered) {
            found.put("status", answered.statusCode());
            found.put("body", answered.body());
            found.put("code", answered.code());
            found.put("param", answered.param());
            found.put("type", answered.type());
            for (String name : List.of("retry-after", "retry-after-ms", "x-request-id")) {
                found.put(name, answered.headers().values(name));
            }
        }
        return found;
    }
}
