#pragma once
// What the export script notes beside the graph, in extra/torch_adapters.json.

#include <string>
#include <vector>

#include "core/exported/archive.h"

namespace ta::exported {

/// A list of texts; empty where it is not there. A note that is no JSON notes nothing: who reads all of it says so.
std::vector<std::string> noted_texts(const Archive& archive, const char* field);

/// A whole number among the fields of the class's config; `otherwise` where it is not there, or no whole number.
int64_t noted_number(const Archive& archive, const char* config_field, int64_t otherwise);

}  // namespace ta::exported
