/* What a user of libchatpb does first: `smoke FOLDER`. */
#include <chatpb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
  uint8_t *data;
  size_t size;
} bytes;

static void expect(int holds, const char *what) {
  if (!holds) {
    fprintf(stderr, "failed: %s\n", what);
    exit(1);
  }
}

static bytes read_file(const char *folder, const char *name) {
  char path[4096];
  bytes read = {malloc(1 << 20), 0};
  snprintf(path, sizeof path, "%s/%s", folder, name);
  FILE *file = fopen(path, "rb");
  expect(file && read.data, path);
  read.size = fread(read.data, 1, 1 << 20, file);
  fclose(file);
  return read;
}

static int is(const chatpb_result *result, bytes expected) {
  return chatpb_result_count(result) == 1 && chatpb_result_size(result, 0) == expected.size &&
         memcmp(chatpb_result_data(result, 0), expected.data, expected.size) == 0;
}

int main(int count, char **arguments) {
  expect(count == 2, "an argument");
  const char *folder = arguments[1];
  static const char completion_type[] = "chatpb.v1.ChatCompletion";
  static const char chunk_type[] = "chatpb.v1.ChatCompletionChunk";
  int32_t completion = chatpb_message_type(completion_type, strlen(completion_type));
  int32_t chunk = chatpb_message_type(chunk_type, strlen(chunk_type));
  chatpb_result *result = chatpb_result_new(), *again = chatpb_result_new();

  bytes text = read_file(folder, "completion.json"), binary = read_file(folder, "completion.binpb");
  expect(chatpb_json_to_binary(text.data, text.size, completion, 0, result) == CHATPB_STATUS_OK, "JSON");
  expect(is(result, binary), "the binary form");
  expect(chatpb_binary_to_json(binary.data, binary.size, completion, 0, result) == CHATPB_STATUS_OK, "binary");
  const uint8_t *json = chatpb_result_data(result, 0);
  expect(chatpb_json_to_binary(json, chatpb_result_size(result, 0), completion, 0, again) == CHATPB_STATUS_OK, "back");
  expect(is(again, binary), "the same again");

  chatpb_folder *folded = chatpb_folder_new(0);
  bytes lines = read_file(folder, "stream.jsonl");
  for (uint8_t *line = lines.data, *end = lines.data + lines.size; line < end;) {
    uint8_t *newline = memchr(line, '\n', (size_t)(end - line));
    size_t size = (size_t)((newline ? newline : end) - line);
    expect(chatpb_json_to_binary(line, size, chunk, 0, result) == CHATPB_STATUS_OK, "a chunk");
    const uint8_t *data = chatpb_result_data(result, 0);
    expect(chatpb_folder_add(folded, data, chatpb_result_size(result, 0), again) == CHATPB_STATUS_OK, "add");
    line += size + 1;
  }
  expect(chatpb_folder_finish(folded, result) == CHATPB_STATUS_OK, "finish");
  expect(is(result, read_file(folder, "folded.binpb")), "the folded completion");
  chatpb_folder_free(folded);

  static const char wrong[] = "{\"choices\": [tru]}";
  chatpb_status status = chatpb_json_to_binary((const uint8_t *)wrong, strlen(wrong), completion, 0, result);
  expect(status == CHATPB_STATUS_REFUSED, "refused");
  expect(strcmp(chatpb_result_path(result), "$.choices[0]") == 0, "the path");
  chatpb_result_free(result);
  chatpb_result_free(again);
  puts("passed");
  return 0;
}
