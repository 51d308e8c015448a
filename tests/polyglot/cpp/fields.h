#pragma once

#include <google/protobuf/message.h>

#include <nlohmann/json.hpp>
#include <string>

// The first assertion of a NAME.fields.json that does not hold of a message, told; empty if all do.
std::string CheckFields(const google::protobuf::Message& message,
                        const nlohmann::json& assertions);
