// Prints the chunks of the stream that a completion would have been, a JSON text on each line. Bytes
// are enough for this, so it needs no protobuf.
#include <chatpb.hpp>
#include <fstream>
#include <iostream>
#include <iterator>

int main(int argc, char** argv) try {
  if (argc != 2) {
    std::cerr << "usage: split COMPLETION.json\n";
    return 2;
  }
  std::ifstream file(argv[1], std::ios::binary);
  const std::string text(std::istreambuf_iterator<char>(file), {});
  const chatpb::MessageType completion("chatpb.v1.ChatCompletion");
  const chatpb::MessageType chunk("chatpb.v1.ChatCompletionChunk");
  for (const auto& each : chatpb::unfold(chatpb::json_to_binary(text, completion)))
    std::cout << chatpb::binary_to_json(each, chunk) << "\n";
} catch (const chatpb::ConversionError& error) {
  std::cerr << error.what() << "\n";
  return 1;
}
