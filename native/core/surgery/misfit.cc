#include "core/surgery/misfit.h"

#include "core/error.h"

namespace ta {

void Misfit::add_misshaped(const std::string& name, at::IntArrayRef expected, at::IntArrayRef got) {
  misshaped.push_back(text(name, ": expected ", expected, ", got ", got));
}

void Misfit::refuse_any(const std::string& operation, const std::string& hint) const {
  if (missing.empty() && unexpected.empty() && misshaped.empty()) return;
  std::string all = problem;
  if (!missing.empty()) all += "; missing " + name_list(missing, all_names);
  if (!unexpected.empty()) all += "; unexpected " + name_list(unexpected, all_names);
  if (!misshaped.empty()) all += "; wrong shape " + name_list(misshaped, all_names);
  fail(ErrorCode::state_dict, operation, all, {.expected = expected, .got = got, .hint = hint});
}

}  // namespace ta
