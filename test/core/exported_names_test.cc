// Patterns of paths, and sizes as they are told.
#include "check.h"
#include "core/exported/expression_text.h"
#include "core/exported/named_modules.h"

using ta::exported::expression_text;
using ta::exported::matches;

TEST(patterns_of_paths_are_those_of_named_modules) {
  CHECK(matches("h.*.mlp", "h.0.mlp") && matches("h.*.mlp", "h.12.mlp"));
  CHECK(!matches("h.*.mlp", "h.0.mlp.fc") && !matches("h.*.mlp", "h.0.1.mlp") && !matches("h.*", "h"));
  CHECK(matches("**.mlp", "h.0.mlp") && matches("h.**", "h.0.mlp.fc") && matches("**", ""));
  CHECK(matches("layers.*_proj", "layers.q_proj") && !matches("layers.*_proj", "layers.0.q_proj"));
  CHECK(matches("a.b", "a.b") && !matches("a.b", "axb") && !matches("", "a"));
}

TEST(sizes_are_written_as_in_python) {
  const auto text = [](const char* expression) { return expression_text(expression, {{"s76", "samples"}}); };
  CHECK_EQ(text("s76"), std::string("samples"));
  CHECK_EQ(text("Add(FloorDiv(Add(s76, Integer(-6)), Integer(4)), Integer(1))"), std::string("(samples - 6) // 4 + 1"));
  CHECK_EQ(text("Mul(Integer(2), Add(s76, s1))"), std::string("2 * (samples + s1)"));
  CHECK_EQ(text("FloorDiv(s76, Mul(Integer(2), s1))"), std::string("samples // (2 * s1)"));
  CHECK_EQ(text("Max(Integer(1), s76)"), std::string("Max(1, samples)"));
  CHECK_EQ(expression_text("Add(s1, Integer(2))", {{"Add(s1, Integer(2))", "tokens"}}), std::string("tokens"));
  // No such expression.
  CHECK_EQ(text("2*s76 + ("), std::string("2*samples + ("));
  CHECK_EQ(text("Add(s76"), std::string("Add(samples"));
}
