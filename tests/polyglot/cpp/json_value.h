#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

// A JSON value of any text that is JSON: numbers keep their spelling, and lone surrogates are kept.
// Of members with the same name the last counts.
struct JsonValue {
  enum class Kind { kNull, kFalse, kTrue, kNumber, kString, kArray, kObject };

  Kind kind = Kind::kNull;
  std::string text;  // of a number as it is spelled, of a string its value
  std::vector<JsonValue> items;
  std::map<std::string, JsonValue> members;

  // The member with a name; nullptr if this is no object that has it.
  const JsonValue* Find(const std::string& name) const;
  // Whether this is an array with an object in it that has the member.
  bool AnyHas(const std::string& name) const;
};

// Reads a text, which must be JSON.
JsonValue ParseJson(std::string_view text);

// Where two values differ; empty if they do not. Objects have no order, and numbers with a fraction or
// an exponent count as the doubles that they are.
std::string Difference(const JsonValue& a, const JsonValue& b, const std::string& path = "$");
