#pragma once
// What the export script notes beside the graph, in extra/torch_adapters.json.

#include <string>
#include <vector>

#include "core/exported/archive.h"

namespace ta::exported {

/// A list of texts; empty where it is not there. A note that is no JSON notes nothing: who reads all of it says so.
std::vector<std::string> noted_texts(const Archive& archive, const char* field);

}  // namespace ta::exported
