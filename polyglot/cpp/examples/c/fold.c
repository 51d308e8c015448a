/* Reads an event stream from standard input and prints the completion that its chunks make.
 *
 *     cc fold.c -o fold $(pkg-config --cflags --libs chatpb)
 */
#include <chatpb.h>
#include <stdio.h>
#include <string.h>

static int failed(const chatpb_result *result) {
  fprintf(stderr, "%s\n", chatpb_result_message(result));
  return 1;
}

int main(void) {
  static const char name[] = "chatpb.v1.ChatCompletion";
  chatpb_result *chunks = chatpb_result_new(), *result = chatpb_result_new();
  chatpb_chunk_decoder *decoder = chatpb_chunk_decoder_new(0, 0);
  chatpb_folder *folder = chatpb_folder_new(0);
  int code = 0;
  uint8_t buffer[4096];
  size_t size;
  do {
    size = fread(buffer, 1, sizeof buffer, stdin);
    const chatpb_status status = size != 0
                                     ? chatpb_chunk_decoder_feed(decoder, buffer, size, chunks)
                                     : chatpb_chunk_decoder_close(decoder, chunks);
    if (status != CHATPB_STATUS_OK) code = failed(chunks);
    for (size_t i = 0; i < chatpb_result_count(chunks) && code == 0; ++i)
      if (chatpb_folder_add(folder, chatpb_result_data(chunks, i), chatpb_result_size(chunks, i),
                            result) != CHATPB_STATUS_OK)
        code = failed(result);
  } while (code == 0 && (size != 0 || chatpb_result_count(chunks) != 0));
  if (code == 0 && chatpb_folder_finish(folder, result) != CHATPB_STATUS_OK) code = failed(result);
  if (code == 0) {
    const int32_t type = chatpb_message_type(name, strlen(name));
    if (chatpb_binary_to_json(chatpb_result_data(result, 0), chatpb_result_size(result, 0), type, 0,
                              chunks) != CHATPB_STATUS_OK)
      code = failed(chunks);
    else
      printf("%.*s\n", (int)chatpb_result_size(chunks, 0), (const char *)chatpb_result_data(chunks, 0));
  }
  chatpb_folder_free(folder);
  chatpb_chunk_decoder_free(decoder);
  chatpb_result_free(chunks);
  chatpb_result_free(result);
  return code;
}
