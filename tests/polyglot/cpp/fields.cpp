#include "fields.h"

#include <absl/strings/escaping.h>
#include <google/protobuf/descriptor.h>

#include <cstdint>
#include <cstdio>
#include <cstring>
#include <stdexcept>

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using nlohmann::json;

namespace {

// A place in a message: the message itself, a field of it, or one element of a field.
struct Place {
  const Message* message = nullptr;
  const FieldDescriptor* field = nullptr;
  int index = -1;
};

// Reads the scalar at a place: REFLECTION_READ(String, place) calls GetString or GetRepeatedString.
#define REFLECTION_READ(kind, place)                                                        \
  ((place).index < 0                                                                        \
       ? (place).message->GetReflection()->Get##kind(*(place).message, (place).field)       \
       : (place).message->GetReflection()->GetRepeated##kind(*(place).message, (place).field, \
                                                             (place).index))

const Message& MessageAt(const Place& place) {
  if (place.field == nullptr) return *place.message;
  const auto* reflection = place.message->GetReflection();
  return place.index < 0
             ? reflection->GetMessage(*place.message, place.field)
             : reflection->GetRepeatedMessage(*place.message, place.field, place.index);
}

const FieldDescriptor* Field(const Message& message, const std::string& name) {
  const auto* field = message.GetDescriptor()->FindFieldByName(name);
  if (field == nullptr) throw std::runtime_error("there is no field " + name);
  return field;
}

int Size(const Message& message, const FieldDescriptor* field) {
  return message.GetReflection()->FieldSize(message, field);
}

// The value of a key of a map, which reflection shows as a list of entries.
Place MapValue(const Message& message, const FieldDescriptor* field, const std::string& key) {
  for (int index = 0; index < Size(message, field); ++index) {
    const auto& entry = message.GetReflection()->GetRepeatedMessage(message, field, index);
    const auto* type = entry.GetDescriptor();
    if (entry.GetReflection()->GetString(entry, type->map_key()) == key)
      return {&entry, type->map_value()};
  }
  throw std::runtime_error("there is no key " + key);
}

Place Find(const Message& message, const json& path) {
  Place place{&message};
  for (const auto& step : path) {
    const bool in_field = place.field != nullptr && place.index < 0;
    if (step.is_number()) {
      place.index = step.get<int>();
      if (place.index >= Size(*place.message, place.field)) throw std::runtime_error("too short");
    } else if (in_field && place.field->is_map()) {
      place = MapValue(*place.message, place.field, step.get<std::string>());
    } else {
      const Message& next = MessageAt(place);
      place = {&next, Field(next, step.get<std::string>())};
    }
  }
  return place;
}

std::string Integer(const Place& place) {
  switch (place.field->cpp_type()) {
    case FieldDescriptor::CPPTYPE_INT32:
      return std::to_string(REFLECTION_READ(Int32, place));
    case FieldDescriptor::CPPTYPE_INT64:
      return std::to_string(REFLECTION_READ(Int64, place));
    case FieldDescriptor::CPPTYPE_UINT32:
      return std::to_string(REFLECTION_READ(UInt32, place));
    case FieldDescriptor::CPPTYPE_UINT64:
      return std::to_string(REFLECTION_READ(UInt64, place));
    default:
      throw std::runtime_error("not an integer");
  }
}

std::string Bits(double value) {
  std::uint64_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  char text[17];
  std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(bits));
  return text;
}

// What a message holds at a place, as an assertion of that kind would say it.
json Actual(const Place& place, const std::string& kind, const json& wanted) {
  if (kind == "set" || kind == "unset") {
    const Message& message = MessageAt(place);
    json names = json::array();
    for (const auto& name : wanted) {
      const auto* field = Field(message, name.get<std::string>());
      const bool is_set = message.GetReflection()->HasField(message, field);
      if (field->has_presence() && is_set == (kind == "set")) names.push_back(name);
    }
    return names;
  }
  if (kind == "size") return Size(*place.message, place.field);
  if (kind == "string") return REFLECTION_READ(String, place);
  if (kind == "bytes") return absl::Base64Escape(REFLECTION_READ(String, place));
  if (kind == "int") return Integer(place);
  if (kind == "double") return Bits(REFLECTION_READ(Double, place));
  if (kind == "bool") return REFLECTION_READ(Bool, place);
  if (kind == "enum") return REFLECTION_READ(EnumValue, place);
  throw std::runtime_error("a kind of assertion that is not known");
}

}  // namespace

std::string CheckFields(const Message& message, const json& assertions) {
  for (const auto& assertion : assertions) {
    const json& wanted = assertion[2];
    try {
      const json actual = Actual(Find(message, assertion[0]), assertion[1], wanted);
      if (actual != wanted) return "expected " + assertion.dump() + ", got " + actual.dump();
    } catch (const std::exception& error) {
      return "expected " + assertion.dump() + ": " + error.what();
    }
  }
  return "";
}
