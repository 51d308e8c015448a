#pragma once

#include <google/protobuf/message.h>

#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

// Reports a case: its kind, its name, and what went wrong; empty if nothing.
using Report = std::function<void(const std::string&, const std::string&, std::string)>;

// The bytes of a file.
std::string Read(const std::string& path);
// An empty message of a type.
std::unique_ptr<google::protobuf::Message> NewMessage(const std::string& type);
// The bytes of a message, with maps in the order of their keys.
std::string Serialize(const google::protobuf::Message& message);
