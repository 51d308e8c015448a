-- The views of a chatpb table, for DuckDB 1.4 and newer. docs/queries.md shows how to use them.
--
-- They read a relation `records` with one row for each record. It has all columns of the table
-- (docs/storage.md), also those that no file has, and these:
--   exchange  BIGINT   the number of the record among those that are read, to join the views by
--   file      VARCHAR  the file that the record is in
--   row       BIGINT   the number of its row in the file, from 0
-- `chatpb sql TABLE --views` prints a statement that creates `records`, followed by these.

-- The text of a message, also if its content is a list of parts.
CREATE OR REPLACE MACRO text_of(message) AS
  coalesce(message.content, array_to_string([part.text for part in message.parts], ''));

-- The entries of a column such as `labels` as a map. If a key is repeated, the last one wins.
CREATE OR REPLACE MACRO map_of(entries) AS
  CASE WHEN len(list_distinct([entry.key for entry in entries])) < len(entries)
    THEN map_from_entries(list_filter(entries, lambda entry, place:
      NOT list_contains([later.key for later in entries[place + 1:]], entry.key)))
    ELSE map_from_entries(entries) END;

-- Whether a regular expression matches somewhere in the text of a message: in the request or the
-- answer, in the request, in the answer. For example: says(messages, '(?i)refund').
CREATE OR REPLACE MACRO says(messages, pattern) AS
  coalesce(len(list_filter(messages, lambda message:
    regexp_matches(text_of(message), pattern))) > 0, false);
CREATE OR REPLACE MACRO asks(messages, pattern) AS
  coalesce(len(list_filter(messages, lambda message:
    message.choice IS NULL AND regexp_matches(text_of(message), pattern))) > 0, false);
CREATE OR REPLACE MACRO answers(messages, pattern) AS
  coalesce(len(list_filter(messages, lambda message:
    message.choice IS NOT NULL AND regexp_matches(text_of(message), pattern))) > 0, false);

-- Whether the answer calls a tool of this name. For example: calls(messages, 'get_weather').
CREATE OR REPLACE MACRO calls(messages, tool) AS
  coalesce(len(list_filter(messages, lambda message: message.choice IS NOT NULL AND (
    message.function_name = tool
    OR list_contains([coalesce(call.name, call.custom_name) for call in message.tool_calls], tool)
  ))) > 0, false);

CREATE OR REPLACE VIEW exchanges AS
SELECT
  exchange,
  call_id,
  id,
  start_time,
  model,
  text_of(list_filter(messages, lambda message:
    message.choice IS NULL AND message.role = 'user')[-1]) AS prompt,    -- the last one of a user
  text_of(list_filter(messages, lambda message: message.choice = 0)[1]) AS answer,
  list_filter(messages, lambda message: message.choice = 0)[1].finish_reason AS finish_reason,
  prompt_tokens,
  completion_tokens,
  total_tokens,
  cached_tokens,
  reasoning_tokens,
  duration_us,
  chunk_times_us[1] AS first_chunk_us,
  caller,
  upstream,
  status,
  http_status,
  error_message,
  error_type,
  error_code,
  map_of(labels) AS labels,
  map_of(metadata) AS metadata,
  map_of(request_metadata) AS request_metadata,
  CASE WHEN request_stop IS NULL THEN request_stops ELSE [request_stop] END AS request_stop,
  [coalesce(tool.name, tool.custom_name) for tool in request_tools] AS request_tool_names,
  * EXCLUDE (
    exchange, call_id, id, start_time, model, prompt_tokens, completion_tokens, total_tokens,
    cached_tokens, reasoning_tokens, duration_us, caller, upstream, status, http_status,
    error_message, error_type, error_code, labels, metadata, request_metadata, request_stop,
    request_stops, logprobs_counts, logprobs_corrections, record)
FROM records;
COMMENT ON VIEW exchanges IS 'one row for each record';

CREATE OR REPLACE VIEW messages AS
SELECT
  exchange,
  call_id,
  id,
  start_time,
  model,
  caller,
  upstream,
  map_of(labels) AS labels,
  position,
  message.choice AS choice,    -- NULL for a message of the request
  message.role AS role,
  text_of(message) AS content,
  message.refusal AS refusal,
  coalesce(message.reasoning_content, message.reasoning) AS reasoning,
  message.name AS name,
  message.tool_call_id AS tool_call_id,
  message.finish_reason AS finish_reason,
  message.tool_calls AS tool_calls,
  message.function_name AS function_name,
  message.function_arguments AS function_arguments,
  message.parts AS parts,
  message.token_ids AS token_ids
FROM (
  SELECT *, unnest(messages) AS message, generate_subscripts(messages, 1) AS position FROM records
);
COMMENT ON VIEW messages IS
  'one row for each message of a request and each choice of an answer, in their order';

CREATE OR REPLACE VIEW tool_calls AS
SELECT
  exchange,
  call_id,
  id,
  start_time,
  model,
  caller,
  upstream,
  map_of(labels) AS labels,
  position,    -- of the message
  choice,      -- NULL for a call in the request
  place,       -- among the calls of the message, from 1
  call.id AS tool_call_id,
  call.type AS type,
  coalesce(call.name, call.custom_name) AS name,
  coalesce(call.arguments, call.custom_input) AS arguments
FROM (
  SELECT *, unnest(calls) AS call, generate_subscripts(calls, 1) AS place
  FROM (
    SELECT
      *,
      message.choice AS choice,
      CASE WHEN message.function_name IS NULL AND message.function_arguments IS NULL
        THEN message.tool_calls
        ELSE list_append(message.tool_calls, {    -- a call by the API from before there were tools
          'index': NULL, 'id': NULL, 'type': 'function', 'name': message.function_name,
          'arguments': message.function_arguments, 'custom_name': NULL, 'custom_input': NULL})
      END AS calls
    FROM (
      SELECT *, unnest(messages) AS message, generate_subscripts(messages, 1) AS position
      FROM records
    )
  )
);
COMMENT ON VIEW tool_calls IS 'one row for each call of a tool, in requests and answers';

CREATE OR REPLACE VIEW tokens AS
SELECT
  exchange,
  call_id,
  id,
  start_time,
  model,
  caller,
  upstream,
  map_of(labels) AS labels,
  choice,
  source,      -- 'content' or 'refusal': the text that the token is part of
  position,    -- in that text, from 1
  token.token AS token,
  token.logprob AS logprob,
  exp(token.logprob) AS probability,
  coalesce(token.bytes, encode(token.token)) AS bytes,
  token.rank AS rank,    -- its place among the alternatives, from 0; NULL: it is not one of them
  listed[1].token AS likeliest,
  listed[1].logprob AS likeliest_logprob,
  [{'token': other.token, 'logprob': other.logprob,
    'bytes': coalesce(other.bytes, encode(other.token))} for other in listed] AS alternatives
FROM (
  SELECT
    *,
    CASE WHEN token.rank IS NULL THEN token.top_logprobs
      ELSE list_concat(    -- the sampled token is left out of the alternatives that are stored
        token.top_logprobs[1:token.rank],
        [{'token': token.token, 'logprob': token.logprob, 'bytes': token.bytes, 'id': token.id,
          'rest': token.rest}],
        token.top_logprobs[token.rank + 1:]) END AS listed
  FROM (
    SELECT *, unnest(tokens) AS token, generate_subscripts(tokens, 1) AS position
    FROM (
      SELECT
        *,
        owner.choice AS choice,
        owner.source AS source,
        CASE WHEN owners = 1 THEN logprobs ELSE list_filter(logprobs, lambda token:
          token.choice IS NOT DISTINCT FROM owner.choice AND token.source = owner.source)
        END AS tokens
      FROM (
        SELECT * EXCLUDE (owners), unnest(owners) AS owner, len(owners) AS owners
        FROM (
          SELECT *, list_distinct([
            {'choice': token.choice, 'source': token.source} for token in logprobs]) AS owners
          FROM records
        )
      )
    )
  )
);
COMMENT ON VIEW tokens IS 'one row for each token of an answer that has log probabilities';

CREATE OR REPLACE VIEW alternatives AS
SELECT
  * EXCLUDE (alternative, sampled_rank),
  alternative.token AS token,
  alternative.logprob AS logprob,
  exp(alternative.logprob) AS probability,
  alternative.bytes AS bytes,
  coalesce(sampled_rank = rank, false) AS is_sampled
FROM (
  SELECT
    exchange, call_id, id, start_time, model, caller, upstream, labels, choice, source,
    position,    -- of the token
    generate_subscripts(alternatives, 1) - 1 AS rank,
    unnest(alternatives) AS alternative,
    rank AS sampled_rank
  FROM tokens
);
COMMENT ON VIEW alternatives IS
  'one row for each alternative of a token, the sampled one included, in the order of the answer';

CREATE OR REPLACE VIEW chunks AS
SELECT
  exchange,
  call_id,
  id,
  start_time,
  model,
  caller,
  upstream,
  map_of(labels) AS labels,
  position,    -- from 1
  chunk_times_us[position] AS time_us,    -- since start_time
  CASE WHEN position > 1 THEN chunk_times_us[position] - chunk_times_us[position - 1] END AS gap_us,
  chunk.choices[1].index AS choice,
  chunk.choices[1].content AS content,
  chunk.choices[1].finish_reason AS finish_reason,
  chunk.choices AS choices
FROM (
  SELECT *, unnest(chunks) AS chunk, generate_subscripts(chunks, 1) AS position FROM records
);
COMMENT ON VIEW chunks IS 'one row for each chunk of an answer that came in chunks';

CREATE OR REPLACE VIEW errors AS
SELECT
  exchange,
  call_id,
  id,
  start_time,
  coalesce(model, request_model) AS model,
  caller,
  upstream,
  labels,
  status,
  http_status,
  error_type,
  error_code,
  error_message,
  prompt,
  answer,
  duration_us
FROM exchanges
WHERE status <> 0 OR http_status >= 400 OR error_type IS NOT NULL OR error_code IS NOT NULL
  OR error_message IS NOT NULL;
COMMENT ON VIEW errors IS 'one row for each record that failed: without an answer, or with a part of it';
