#pragma once

#include <string>

#include "report.h"

// OpenAI's JSON: each vector, and what must be refused.
void CheckJson(const std::string& vectors, const Report& report);
// Recorded JSON comes back equal: every object below a folder is a case.
void CheckCorpus(const std::string& folder, const Report& report);
