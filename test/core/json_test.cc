#include "core/state/json.h"

#include <limits>

#include "check.h"

using ta::ErrorCode;
using ta::Json;

namespace {

Json parse(std::string_view text) {
  return ta::parse_json(text, "test");
}
std::string again(std::string_view text) {
  return ta::write_json(parse(text));
}

}  // namespace

TEST(json_reads_every_kind_of_value) {
  const Json json = parse(R"( { "a" : [ 1, -2.5e2, "x", true, false, null, {} , [] ] , "b":"" } )");
  CHECK(json.is_object());
  const auto& items = json.find("a")->as_array("a");
  CHECK_EQ(items.size(), 8u);
  CHECK_EQ(items[0].as_integer("i"), 1);
  CHECK_EQ(items[0].as_number("i"), 1.0);
  CHECK_EQ(items[1].as_number("n"), -250.0);
  CHECK_EQ(items[2].as_string("s"), "x");
  CHECK(items[3].as_bool("t"));
  CHECK(!items[4].as_bool("f"));
  CHECK(items[5].is_null());
  CHECK(items[6].as_object("o").empty());
  CHECK(items[7].as_array("l").empty());
  CHECK_EQ(json.find("b")->as_string("b"), "");
  CHECK(json.find("c") == nullptr);
  CHECK(items[0].find("a") == nullptr);
}

TEST(json_keeps_the_order_of_members) {
  CHECK_EQ(again(R"({"z":1,"a":2,"m":3})"), R"({"z":1,"a":2,"m":3})");
}

TEST(json_numbers_come_back_as_they_were) {
  CHECK_EQ(parse("9223372036854775807").as_integer("n"), std::numeric_limits<int64_t>::max());
  CHECK_EQ(parse("-9223372036854775808").as_integer("n"), std::numeric_limits<int64_t>::min());
  // Past 64 bits: still a number, no longer an integer, so it can never pass as a size.
  CHECK(!parse("9223372036854775808").is_integer());
  CHECK_EQ(parse("9223372036854775808").as_number("n"), 9223372036854775808.0);
  for (const double value : {0.1, 1.0, 1e300, 5e-324, -0.0, 1.0 / 3.0, 123456789.0}) {
    const Json json = parse(ta::write_json(value));
    CHECK(!json.is_integer());
    CHECK_EQ(json.as_number("n"), value);
  }
  CHECK_EQ(ta::write_json(3.0), "3.0");
  CHECK_EQ(ta::write_json(3), "3");
  for (const char* text : {"01", "-", "1.", ".5", "1e", "+1", "0x1", "1e999", "NaN", "Infinity", "--1", "-01"}) {
    CHECK_THROWS(ErrorCode::file_format, parse(text));
  }
  CHECK_THROWS(ErrorCode::invalid_argument, ta::write_json(std::numeric_limits<double>::quiet_NaN()));
}

TEST(json_strings_escape_both_ways) {
  CHECK_EQ(parse(R"("\"\\\/\b\f\n\r\t\u0041\u00e9\u4e2d\ud83d\ude00")").as_string("s"),
           "\"\\/\b\f\n\r\tA\xC3\xA9\xE4\xB8\xAD\xF0\x9F\x98\x80");
  const std::string text = std::string("quote\" back\\ tab\t zero") + '\0' + "\xE4\xB8\xAD";
  CHECK_EQ(parse(ta::write_json(text)).as_string("s"), text);
  for (const char* bad : {R"("\x")", R"("\u12")", R"("\u12g4")", R"("\ud83d")", R"("\ud83dA")", R"("\ude00")",
                          R"("open)", "\"line\nbreak\"", R"("\)", R"("\ud83d\u0041")"}) {
    CHECK_THROWS(ErrorCode::file_format, parse(bad));
  }
}

TEST(json_refuses_what_is_not_utf8) {
  // overlong, lone continuation, surrogate, past U+10FFFF, cut short, bytes that never occur
  for (const char* bad : {"\"\xC0\xAF\"", "\"\x80\"", "\"\xED\xA0\x80\"", "\"\xF4\x90\x80\x80\"", "\"\xE4\xB8\"",
                          "\"\xFF\"", "\"\xE0\x80\x80\"", "\"\xF0\x8F\xBF\xBF\"", "\"\xF5\x80\x80\x80\""}) {
    CHECK_THROWS(ErrorCode::file_format, parse(bad));
  }
  CHECK_EQ(parse("\"\xF4\x8F\xBF\xBF\"").as_string("s"), "\xF4\x8F\xBF\xBF");
}

TEST(json_refuses_broken_structure) {
  for (const char* bad : {"",
                          " ",
                          "{",
                          "}",
                          "[",
                          "]",
                          "[1,]",
                          "{\"a\":1,}",
                          "{\"a\"}",
                          "{a:1}",
                          "[1 2]",
                          "1 2",
                          "tru",
                          "nul",
                          "{\"a\":1 \"b\":2}",
                          "[1]]",
                          "\xEF\xBB\xBF{}",
                          "'a'",
                          "// c\n1",
                          "{\"a\":}"}) {
    CHECK_THROWS(ErrorCode::file_format, parse(bad));
  }
}

TEST(json_refuses_a_key_given_twice) {
  const std::string message = CHECK_THROWS(ErrorCode::file_format, parse(R"({"a":1,"b":2,"a":3})"));
  CHECK(message.find("'a' appears twice") != std::string::npos);
  // The same key under another spelling is the same key.
  CHECK_THROWS(ErrorCode::file_format, parse(R"({"a":1,"\u0061":2})"));
}

TEST(json_bounds_depth_size_and_count) {
  const auto nested = [](int depth) { return std::string(depth, '[') + std::string(depth, ']'); };
  CHECK(parse(nested(64)).is_array());
  CHECK_THROWS(ErrorCode::file_format, parse(nested(65)));
  CHECK_THROWS(ErrorCode::file_format, parse(std::string(1'000'000, '[')));
  CHECK_THROWS(ErrorCode::file_format, ta::parse_json("[1,2,3]", "test", {.bytes = 6}));
  CHECK_THROWS(ErrorCode::file_format, ta::parse_json("[1,2,3]", "test", {.values = 3}));
  CHECK(ta::parse_json("[1,2,3]", "test", {.values = 4}).is_array());
}

TEST(json_says_where_and_what) {
  const std::string message = CHECK_THROWS(ErrorCode::file_format, ta::parse_json("[1,x]", "the header", {}));
  CHECK(message.find("the header") != std::string::npos);
  CHECK(message.find("byte 3") != std::string::npos);
  const std::string kind = CHECK_THROWS(ErrorCode::file_format, parse("[]").as_string("the dtype of 'w'"));
  CHECK(kind.find("the dtype of 'w'") != std::string::npos);
  CHECK(kind.find("expected a string, got an array") != std::string::npos);
  CHECK_THROWS(ErrorCode::file_format, parse("-1").as_size("n"));
  CHECK_THROWS(ErrorCode::file_format, parse("1.0").as_size("n"));
}
