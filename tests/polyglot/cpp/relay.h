#pragma once

#include <functional>
#include <string>

// Calls a relay in every way there is, and reports each case with what went wrong; empty if nothing.
void CheckRelay(const std::string& address,
                const std::function<void(const std::string&, const std::string&)>& report);
