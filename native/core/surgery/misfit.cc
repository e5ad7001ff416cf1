#include "core/surgery/misfit.h"

#include "core/error.h"

namespace ta {

void Misfit::add_misshaped(const std::string& name, at::IntArrayRef expected, at::IntArrayRef got) {
  misshaped.push_back(text(name, ": expected ", expected, ", got ", got));
}

void Misfit::refuse_any(const std::string& operation, const std::string& hint) const {
  if (missing.empty() && unexpected.empty() && misshaped.empty()) return;
  std::string problem = "the file does not fit";
  if (!missing.empty()) problem += "; missing " + name_list(missing, all_names);
  if (!unexpected.empty()) problem += "; unexpected " + name_list(unexpected, all_names);
  if (!misshaped.empty()) problem += "; wrong shape " + name_list(misshaped, all_names);
  fail(ErrorCode::state_dict, operation, problem, {.hint = hint});
}

}  // namespace ta
