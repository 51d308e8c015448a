// The documents to begin with: written for this page, or taken from examples and tests/vectors.
import answer from "../../../examples/completion.json";
import request from "../../../examples/request.json";
import chunk from "../../../tests/vectors/chunk_content.json";
import error from "../../../tests/vectors/error_openai.json";
import everywhere from "../../../tests/vectors/extra_everywhere.json";
import refusal from "../../../tests/vectors/completion_refusal.json";
import stored from "../../../tests/vectors/stored_list.json";
import toolCalls from "../../../tests/vectors/completion_tool_calls.json";
import wordsUnknown from "../../../tests/vectors/words_unknown.json";
import choices from "../examples/two_choices.json";

export const EXAMPLES: readonly (readonly [string, string])[] = [
  ["Two choices with log probabilities", choices],
  ["An answer with members of another vendor", answer],
  ["A refusal, token by token", refusal],
  ["Calls of tools", toolCalls],
  ["A chunk of a stream", chunk],
  ["A request", request],
  ["An error", error],
  ["Words that the schema does not know", wordsUnknown],
  ["Unknown members everywhere", everywhere],
  ["A list of stored completions", stored],
];
