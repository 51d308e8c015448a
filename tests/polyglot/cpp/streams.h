#pragma once

#include <string>

#include "report.h"

// Streams: each vector of the kinds fold, unfold, compact and sse.
void CheckStreams(const std::string& vectors, const Report& report);
