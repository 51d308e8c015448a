#include "json_value.h"

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <stdexcept>

namespace {

using Kind = JsonValue::Kind;

class Parser {
 public:
  explicit Parser(std::string_view text) : text_(text) {}

  JsonValue Document() {
    if (text_.substr(0, 3) == "\xef\xbb\xbf") at_ = 3;
    JsonValue value = Value();
    if (Next() != '\0') Fail();
    return value;
  }

 private:
  [[noreturn]] void Fail() const {
    throw std::runtime_error("no JSON at byte " + std::to_string(at_));
  }

  char Peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }

  char Next() {
    while (at_ < text_.size() && std::string_view(" \t\r\n").find(text_[at_]) != std::string::npos)
      ++at_;
    return Peek();
  }

  void Expect(char expected) {
    if (Next() != expected) Fail();
    ++at_;
  }

  JsonValue Value() {
    JsonValue value;
    switch (Next()) {
      case '{':
        value.kind = Kind::kObject;
        Items('}', [&] {
          if (Next() != '"') Fail();
          auto name = String();
          Expect(':');
          value.members[std::move(name)] = Value();
        });
        return value;
      case '[':
        value.kind = Kind::kArray;
        Items(']', [&] { value.items.push_back(Value()); });
        return value;
      case '"':
        value.kind = Kind::kString;
        value.text = String();
        return value;
      case 't':
        return Word("true", Kind::kTrue);
      case 'f':
        return Word("false", Kind::kFalse);
      case 'n':
        return Word("null", Kind::kNull);
    }
    const auto end = text_.find_first_not_of("+-.0123456789eE", at_);
    value.kind = Kind::kNumber;
    value.text = text_.substr(at_, end == std::string_view::npos ? end : end - at_);
    if (value.text.empty()) Fail();
    at_ += value.text.size();
    return value;
  }

  template <typename Item>
  void Items(char end, Item item) {
    ++at_;
    if (Next() != end) {
      item();
      while (Next() == ',') {
        ++at_;
        item();
      }
    }
    Expect(end);
  }

  JsonValue Word(std::string_view word, Kind kind) {
    if (text_.substr(at_, word.size()) != word) Fail();
    at_ += word.size();
    JsonValue value;
    value.kind = kind;
    return value;
  }

  // A string in UTF-8; lone surrogates in the three bytes that UTF-8 would have for them.
  std::string String() {
    std::string value;
    for (++at_; Peek() != '"'; ++at_) {
      if (at_ >= text_.size()) Fail();
      if (Peek() != '\\') {
        value += Peek();
        continue;
      }
      ++at_;
      static constexpr std::string_view kNames = "\"\\/bfnrt", kValues = "\"\\/\b\f\n\r\t";
      if (const auto known = kNames.find(Peek()); known != std::string_view::npos) {
        value += kValues[known];
        continue;
      }
      unsigned long unit = Hex4(at_ + 1);
      at_ += 4;
      if (unit >= 0xd800 && unit < 0xdc00 && text_.substr(at_ + 1, 2) == "\\u") {
        const auto low = Hex4(at_ + 3);
        if (low >= 0xdc00 && low < 0xe000) {
          unit = 0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
          at_ += 6;
        }
      }
      PutUtf8(value, unit);
    }
    ++at_;
    return value;
  }

  unsigned long Hex4(std::size_t at) const {
    const std::string digits(text_.substr(at, 4));
    char* end = nullptr;
    const auto unit = std::strtoul(digits.c_str(), &end, 16);
    if (digits.size() != 4 || *end != '\0') Fail();
    return unit;
  }

  static void PutUtf8(std::string& out, unsigned long code) {
    if (code < 0x80) {
      out += static_cast<char>(code);
      return;
    }
    const int more = code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
    static constexpr int kLead[] = {0, 0xc0, 0xe0, 0xf0};
    out += static_cast<char>(kLead[more] | (code >> (6 * more)));
    for (int left = more - 1; left >= 0; --left)
      out += static_cast<char>(0x80 | ((code >> (6 * left)) & 0x3f));
  }

  std::string_view text_;
  std::size_t at_ = 0;
};

// The digits of a number that is an integer; of others, the double that it is, written exactly.
std::string Exact(const std::string& text) {
  if (text.find_first_of(".eE") == std::string::npos) return text == "-0" ? "0" : text;
  const double value = std::strtod(text.c_str(), nullptr);
  if (!std::isfinite(value)) return value < 0 ? "-beyond" : "beyond";
  if (value == 0) return "0";
  char exact[400];
  std::snprintf(exact, sizeof exact, value == std::floor(value) ? "%.0f" : "%.17g", value);
  return exact;
}

}  // namespace

const JsonValue* JsonValue::Find(const std::string& name) const {
  const auto found = members.find(name);
  return found == members.end() ? nullptr : &found->second;
}

bool JsonValue::AnyHas(const std::string& name) const {
  for (const auto& item : items)
    if (item.Find(name) != nullptr) return true;
  return false;
}

JsonValue ParseJson(std::string_view text) { return Parser(text).Document(); }

std::string Difference(const JsonValue& a, const JsonValue& b, const std::string& path) {
  const std::string here = path + ": " + a.text + " is not " + b.text;
  if (a.kind != b.kind || a.items.size() != b.items.size() || a.members.size() != b.members.size())
    return here;
  if (a.text != b.text && (a.kind != Kind::kNumber || Exact(a.text) != Exact(b.text))) return here;
  for (std::size_t index = 0; index < a.items.size(); ++index) {
    const auto below = path + "[" + std::to_string(index) + "]";
    if (auto found = Difference(a.items[index], b.items[index], below); !found.empty())
      return found;
  }
  for (const auto& [name, value] : a.members) {
    const auto* other = b.Find(name);
    if (other == nullptr) return path + ": no member " + name;
    if (auto found = Difference(value, *other, path + "." + name); !found.empty()) return found;
  }
  return "";
}
