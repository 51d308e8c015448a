/* Checks libchatpb from C: all vectors, from four threads at once, and calls that are wrong.
 *
 *     vectors CASES
 *
 * CASES is what cases.py writes. Ends with exit code 1 if something is wrong, and says what. */

#include <chatpb.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_FIELDS = 4096, THREADS = 4 };

typedef struct {
  uint8_t *data;
  size_t size;
} bytes;

typedef struct {
  char *kind, *name;
  bytes fields[MAX_FIELDS]; /* as bytes; numbers as their digits */
  size_t count;
} test_case;

static char *read_file(const char *path) {
  FILE *file = fopen(path, "rb");
  if (file == NULL) exit(2);
  fseek(file, 0, SEEK_END);
  const long size = ftell(file);
  rewind(file);
  char *text = malloc((size_t)size + 1);
  if (fread(text, 1, (size_t)size, file) != (size_t)size) exit(2);
  text[size] = '\0';
  fclose(file);
  return text;
}

static bool equals(bytes expected, const chatpb_result *result, size_t index) {
  return chatpb_result_size(result, index) == expected.size &&
         (expected.size == 0 ||
          memcmp(chatpb_result_data(result, index), expected.data, expected.size) == 0);
}

static bool begins(bytes expected, const char *text) {
  return strlen(text) >= expected.size && memcmp(text, expected.data, expected.size) == 0;
}

/* A field that is a number: its digits were not hexadecimal, so they are kept as text. */
static long long number(const test_case *c, size_t index) {
  return atoll((const char *)c->fields[index].data);
}

static bool check_json(const test_case *c, chatpb_result *result) {
  const bytes *f = c->fields;
  const int32_t type = chatpb_message_type((const char *)f[0].data, f[0].size);
  if (chatpb_json_to_binary(f[1].data, f[1].size, type, 0, result) != CHATPB_STATUS_OK) return false;
  if (!equals(f[2], result, 0)) return false;
  /* Back to JSON, and from there to the same bytes. */
  if (chatpb_binary_to_json(f[2].data, f[2].size, type, 0, result) != CHATPB_STATUS_OK) return false;
  chatpb_result *again = chatpb_result_new();
  const bool is_same =
      chatpb_json_to_binary(chatpb_result_data(result, 0), chatpb_result_size(result, 0), type, 0,
                            again) == CHATPB_STATUS_OK &&
      equals(f[2], again, 0);
  chatpb_result_free(again);
  return is_same;
}

static bool check_refusal(const test_case *c, chatpb_result *result, bool is_json) {
  const bytes *f = c->fields;
  const int32_t type = chatpb_message_type((const char *)f[0].data, f[0].size);
  const chatpb_status status =
      is_json ? chatpb_json_to_binary(f[1].data, f[1].size, type, 0, result)
              : chatpb_binary_to_json(f[1].data, f[1].size, type, 0, result);
  return status == CHATPB_STATUS_REFUSED && chatpb_result_count(result) == 0 &&
         strlen(chatpb_result_path(result)) == f[2].size &&
         begins(f[2], chatpb_result_path(result)) && begins(f[3], chatpb_result_reason(result)) &&
         chatpb_result_offset(result) == (size_t)number(c, 4) &&
         strstr(chatpb_result_message(result), chatpb_result_reason(result)) != NULL;
}

static bool check_fold(const test_case *c, chatpb_result *result) {
  chatpb_folder *folder = chatpb_folder_new(0);
  bool ok = true;
  for (size_t index = 1; index < c->count; ++index)
    ok &= chatpb_folder_add(folder, c->fields[index].data, c->fields[index].size, result) ==
          CHATPB_STATUS_OK;
  ok &= chatpb_folder_finish(folder, result) == CHATPB_STATUS_OK && equals(c->fields[0], result, 0);
  ok &= chatpb_folder_finish(folder, result) == CHATPB_STATUS_USAGE;
  ok &= chatpb_folder_add(folder, c->fields[1].data, c->fields[1].size, result) ==
        CHATPB_STATUS_USAGE;
  chatpb_folder_free(folder);
  return ok;
}

static bool check_unfold(const test_case *c, chatpb_result *result) {
  const bytes *f = c->fields;
  if (chatpb_unfold(f[0].data, f[0].size, 0, result) != CHATPB_STATUS_OK) return false;
  bool ok = chatpb_result_count(result) == c->count - 1;
  for (size_t index = 1; index < c->count; ++index) ok &= equals(f[index], result, index - 1);
  return ok;
}

static bool check_compact(const test_case *c, chatpb_result *result) {
  const bytes *f = c->fields;
  chatpb_restorer *restorer = chatpb_restorer_new();
  chatpb_compactor *compactor = chatpb_compactor_new();
  bool ok = true, refused = false;
  for (size_t index = 2; index + 2 < c->count && !refused; index += 3) {
    const bytes sent = f[index + 1], whole = f[index + 2];
    const bool is_compact = number(c, index) != 0;
    if (number(c, 1) != 0) {
      ok &= chatpb_compactor_add(compactor, whole.data, whole.size, result) == CHATPB_STATUS_OK;
      ok &= chatpb_result_count(result) == is_compact;
    }
    if (!is_compact) {
      ok &= chatpb_restorer_follow(restorer, sent.data, sent.size, result) == CHATPB_STATUS_OK;
      continue;
    }
    const chatpb_status status = chatpb_restorer_restore(restorer, sent.data, sent.size, result);
    refused = status == CHATPB_STATUS_REFUSED;
    ok &= refused ? begins(f[0], chatpb_result_reason(result)) : equals(whole, result, 0);
  }
  ok &= refused == (f[0].size != 0);
  chatpb_restorer_free(restorer);
  chatpb_compactor_free(compactor);
  return ok;
}

static bool check_sse_in_pieces(const test_case *c, chatpb_result *result, size_t piece) {
  const bytes *f = c->fields;
  const bytes error = f[3], reason = f[6], stream = f[7];
  chatpb_chunk_decoder *decoder =
      chatpb_chunk_decoder_new((size_t)number(c, 0), number(c, 1) != 0 ? CHATPB_ALLOW_NAN : 0);
  bool ok = true;
  size_t found = 8;
  chatpb_status status = CHATPB_STATUS_OK;
  bool more = true;
  for (size_t at = 0; more && status == CHATPB_STATUS_OK; at += piece) {
    if (at < stream.size) {
      const size_t size = stream.size - at < piece ? stream.size - at : piece;
      status = chatpb_chunk_decoder_feed(decoder, stream.data + at, size, result);
    } else {
      status = chatpb_chunk_decoder_close(decoder, result);
      more = chatpb_result_count(result) != 0;
    }
    for (size_t index = 0; index < chatpb_result_count(result); ++index, ++found)
      ok &= found < c->count && equals(f[found], result, index);
  }
  ok &= found == c->count && (status == CHATPB_STATUS_OK) == (reason.size == 0);
  if (status != CHATPB_STATUS_OK) ok &= begins(reason, chatpb_result_reason(result));
  ok &= chatpb_chunk_decoder_error(decoder, result) == CHATPB_STATUS_OK;
  ok &= chatpb_result_count(result) == (size_t)number(c, 2) && equals(error, result, 0);
  ok &= chatpb_chunk_decoder_is_error_of_choice(decoder) == (number(c, 4) != 0);
  ok &= chatpb_chunk_decoder_is_done(decoder) == (number(c, 5) != 0);
  chatpb_chunk_decoder_free(decoder);
  return ok;
}

static bool check_case(const test_case *c, chatpb_result *result) {
  if (strcmp(c->kind, "json") == 0) return check_json(c, result);
  if (strcmp(c->kind, "refuse_json") == 0) return check_refusal(c, result, true);
  if (strcmp(c->kind, "refuse_binary") == 0) return check_refusal(c, result, false);
  if (strcmp(c->kind, "fold") == 0) return check_fold(c, result);
  if (strcmp(c->kind, "unfold") == 0) return check_unfold(c, result);
  if (strcmp(c->kind, "compact") == 0) return check_compact(c, result);
  if (strcmp(c->kind, "sse") == 0)
    return check_sse_in_pieces(c, result, c->fields[7].size + 1) &&
           check_sse_in_pieces(c, result, 1) && check_sse_in_pieces(c, result, 7);
  return false;
}

/* Calls that are wrong: none crashes, and each is reported. */
static int check_wrong_calls(void) {
  static const uint8_t text[] = "{}";
  const char *name = "chatpb.v1.ChatCompletion";
  const int32_t type = chatpb_message_type(name, strlen(name));
  chatpb_result *r = chatpb_result_new();
  int wrong = 0;
#define EXPECT(holds) \
  do { \
    if (!(holds)) { \
      printf("wrong call: %s\n", #holds); \
      ++wrong; \
    } \
  } while (0)
  EXPECT(strlen(chatpb_version()) >= 5);
  EXPECT(type >= 0);
  EXPECT(chatpb_message_type("no such type", 12) == -1);
  EXPECT(chatpb_message_type("\xff", 1) == -1);
  EXPECT(chatpb_message_type(NULL, 0) == -1);
  EXPECT(chatpb_message_type(NULL, 5) == -1);
  EXPECT(chatpb_json_to_binary(text, 2, type, 0, NULL) == CHATPB_STATUS_USAGE);
  EXPECT(chatpb_json_to_binary(NULL, 2, type, 0, r) == CHATPB_STATUS_USAGE);
  EXPECT(chatpb_json_to_binary(NULL, 0, type, 0, r) == CHATPB_STATUS_REFUSED);
  EXPECT(chatpb_json_to_binary(text, SIZE_MAX, type, 0, r) == CHATPB_STATUS_USAGE);
  EXPECT(chatpb_json_to_binary(text, SIZE_MAX / 2 + 1, type, 0, r) == CHATPB_STATUS_USAGE);
  EXPECT(chatpb_json_to_binary(text, 2, -1, 0, r) == CHATPB_STATUS_USAGE);
  EXPECT(chatpb_json_to_binary(text, 2, INT32_MAX, 0, r) == CHATPB_STATUS_USAGE);
  for (int32_t number = 0; number < 1000; ++number) {
    const bool reads = chatpb_json_to_binary(text, 2, number, 0, r) == CHATPB_STATUS_OK;
    EXPECT(reads == (chatpb_binary_to_json(NULL, 0, number, 0, r) == CHATPB_STATUS_OK));
  }
  EXPECT(chatpb_json_to_binary(text, 2, type, 1u << 31, r) == CHATPB_STATUS_USAGE);
  EXPECT(strlen(chatpb_result_message(r)) > 0 && chatpb_result_offset(r) == SIZE_MAX);
  EXPECT(chatpb_binary_to_json(NULL, 0, type, 0, r) == CHATPB_STATUS_OK);
  EXPECT(chatpb_result_count(r) == 1 && chatpb_result_data(r, 1) == NULL);
  EXPECT(chatpb_result_size(r, SIZE_MAX) == 0 && strlen(chatpb_result_message(r)) == 0);
  /* Its own output as input. */
  EXPECT(chatpb_json_to_binary(chatpb_result_data(r, 0), chatpb_result_size(r, 0), type, 0, r) ==
         CHATPB_STATUS_USAGE);
  EXPECT(chatpb_result_count(NULL) == 0 && chatpb_result_data(NULL, 0) == NULL);
  EXPECT(chatpb_result_size(NULL, 0) == 0 && chatpb_result_offset(NULL) == SIZE_MAX);
  EXPECT(strlen(chatpb_result_path(NULL)) + chatpb_result_reason_size(NULL) == 0);
  EXPECT(chatpb_folder_new(64) == NULL && chatpb_chunk_decoder_new(1, 64) == NULL);
  EXPECT(chatpb_folder_add(NULL, text, 2, r) == CHATPB_STATUS_USAGE);
  EXPECT(chatpb_folder_finish(NULL, NULL) == CHATPB_STATUS_USAGE);
  EXPECT(chatpb_compactor_add(NULL, text, 2, r) == CHATPB_STATUS_USAGE);
  EXPECT(chatpb_restorer_follow(NULL, text, 2, r) == CHATPB_STATUS_USAGE);
  EXPECT(chatpb_restorer_restore(NULL, text, 2, r) == CHATPB_STATUS_USAGE);
  EXPECT(chatpb_chunk_decoder_feed(NULL, text, 2, r) == CHATPB_STATUS_USAGE);
  EXPECT(chatpb_chunk_decoder_close(NULL, r) == CHATPB_STATUS_USAGE);
  EXPECT(chatpb_chunk_decoder_error(NULL, r) == CHATPB_STATUS_USAGE);
  EXPECT(!chatpb_chunk_decoder_is_done(NULL));
  chatpb_folder *empty = chatpb_folder_new(0);
  EXPECT(chatpb_folder_add(empty, NULL, 3, r) == CHATPB_STATUS_USAGE);
  EXPECT(chatpb_folder_finish(empty, r) == CHATPB_STATUS_REFUSED);
  EXPECT(chatpb_folder_finish(empty, r) == CHATPB_STATUS_USAGE);
  chatpb_folder_free(empty);
  chatpb_folder_free(NULL);
  chatpb_compactor_free(NULL);
  chatpb_restorer_free(NULL);
  chatpb_chunk_decoder_free(NULL);
  chatpb_result_free(NULL);
  EXPECT(chatpb_allocate(SIZE_MAX) == NULL);
  uint8_t *none = chatpb_allocate(0);
  EXPECT(none != NULL && (uintptr_t)none % 16 == 0);
  chatpb_deallocate(none, 0);
  chatpb_deallocate(NULL, 7);
  chatpb_result_free(r);
  return wrong;
}

static test_case *cases;
static size_t case_count;

/* Each thread takes every case, from a place of its own on. */
static void *check_all(void *start) {
  chatpb_result *result = chatpb_result_new();
  size_t failed = 0;
  for (size_t index = 0; index < case_count; ++index) {
    const test_case *c = &cases[((size_t)start + index) % case_count];
    if (check_case(c, result)) continue;
    printf("FAIL %s %s: %s\n", c->kind, c->name, chatpb_result_message(result));
    ++failed;
  }
  chatpb_result_free(result);
  return (void *)failed;
}

static int digit(char c) { return c <= '9' ? c - '0' : c - 'a' + 10; }

/* Fields that are numbers, by kind; all others are hexadecimal. */
static bool is_number(const test_case *c, size_t index) {
  if (strncmp(c->kind, "refuse", 6) == 0) return index == 4;
  if (strcmp(c->kind, "sse") == 0) return index < 6 && index != 3;
  return strcmp(c->kind, "compact") == 0 && (index == 1 || (index > 1 && index % 3 == 2));
}

static void add_field(test_case *c, char *text) {
  bytes *field = &c->fields[c->count];
  field->data = (uint8_t *)text;
  field->size = strlen(text);
  if (!is_number(c, c->count++)) {
    field->size /= 2;
    /* A buffer of just this size: a read behind it is seen. */
    field->data = malloc(field->size);
    for (size_t at = 0; at < field->size; ++at)
      field->data[at] = (uint8_t)(digit(text[2 * at]) << 4 | digit(text[2 * at + 1]));
  }
}

int main(int argc, char **argv) {
  if (argc != 2) return 2;
  char *text = read_file(argv[1]);
  for (char *c = text; *c != '\0'; ++c) case_count += *c == '\n';
  cases = calloc(case_count, sizeof *cases);
  char *line = text;
  for (size_t index = 0; index < case_count; ++index) {
    char *end = strchr(line, '\n');
    *end = '\0';
    test_case *c = &cases[index];
    for (size_t place = 0; line != NULL; ++place) {
      char *tab = strchr(line, '\t');
      if (tab != NULL) *tab = '\0';
      if (place == 0) c->kind = line;
      else if (place == 1) c->name = line;
      else add_field(c, line);
      line = tab == NULL ? NULL : tab + 1;
    }
    line = end + 1;
  }
  size_t failed = (size_t)check_wrong_calls();
  pthread_t threads[THREADS];
  for (size_t index = 0; index < THREADS; ++index)
    pthread_create(&threads[index], NULL, check_all, (void *)(index * case_count / THREADS));
  for (size_t index = 0; index < THREADS; ++index) {
    void *found;
    pthread_join(threads[index], &found);
    failed += (size_t)found;
  }
  printf("%zu cases from %d threads, %zu failed\n", case_count, THREADS, failed);
  for (size_t index = 0; index < case_count; ++index)
    for (size_t at = 0; at < cases[index].count; ++at)
      if (!is_number(&cases[index], at)) free(cases[index].fields[at].data);
  free(cases);
  free(text);
  return failed != 0;
}
