#pragma once
// Sizes that differ from call to call, for readers: SymPy's "Add(FloorDiv(Add(s76, Integer(-6)), Integer(4)),
// Integer(1))" as "(s76 - 6) // 4 + 1", as Python would write it.

#include <map>
#include <string>

namespace ta::exported {

/// `names`: what symbols, or whole expressions, are called instead. What is no such expression comes back as it is, but
/// for its names.
std::string expression_text(const std::string& expression, const std::map<std::string, std::string>& names);

}  // namespace ta::exported
