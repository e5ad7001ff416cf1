// Values, the pickle machine and its writer, without files.
#include <algorithm>
#include <initializer_list>
#include <limits>

#include "core/state/pickle_reader.h"
#include "core/state/pickle_value.h"
#include "core/state/pickle_writer.h"
#include "tensors.h"

using check::contains;
using ta::ErrorCode;
using ta::PickleValue;

namespace {

PickleValue read(const std::string& pickle) {
  const ta::StorageLoader load = [](const ta::StorageId& id) {
    if (id.key != "0" || id.elements > 6) throw ta::Error(ErrorCode::file_format, "load", "no such storage");
    return check::counting({6}, id.dtype).storage();
  };
  const std::span<const uint8_t> bytes(reinterpret_cast<const uint8_t*>(pickle.data()), pickle.size());
  return ta::read_pickle(bytes, load, "test pickle");
}

// With the header and STOP around it.
PickleValue run(const std::string& body) {
  return read("\x80\x02" + body + ".");
}
std::string refuse(const std::string& body) {
  return CHECK_THROWS(ErrorCode::file_format, run(body));
}

// So that '\0' may stand in a literal.
template <std::size_t N>
std::string raw(const char (&bytes)[N]) {
  return {bytes, N - 1};
}

std::string times(std::size_t count, const std::string& part) {
  std::string all;
  for (std::size_t i = 0; i < count; ++i) all += part;
  return all;
}

const std::string ordered_dict = "ccollections\nOrderedDict\n";
const std::string storage =
    raw("(X\7\0\0\0storagectorch\nFloatStorage\nX\1\0\0\0"
        "0X\3\0\0\0cpuK\6tQ");

// _rebuild_tensor_v2(storage, offset, sizes, strides, False, OrderedDict())
std::string tensor(const std::string& offset, const std::string& sizes, const std::string& strides) {
  return "ctorch._utils\n_rebuild_tensor_v2\n(" + storage + offset + "(" + sizes + "t(" + strides + "t\x89" +
         ordered_dict + ")RtR";
}

}  // namespace

TEST(values_know_their_kind) {
  CHECK(PickleValue().is_none());
  CHECK(PickleValue(true).as_bool("b"));
  CHECK_EQ(PickleValue(3).as_integer("i"), 3);
  CHECK_EQ(PickleValue(3).as_real("r"), 3.0);
  CHECK_EQ(PickleValue("x").as_string("s"), "x");
  CHECK(contains(CHECK_THROWS(ErrorCode::file_format, PickleValue("x").as_integer("the epoch")), "the epoch"));
  CHECK_THROWS(ErrorCode::file_format, PickleValue(3).as_tensor("t"));
  CHECK_THROWS(ErrorCode::file_format, PickleValue(3).as_entries("d"));
  PickleValue dict = PickleValue::dict();
  dict.set("a", 1);
  dict.set("a", 2);
  CHECK_EQ(dict.find("a")->as_integer("a"), 2);
  CHECK(dict.find("b") == nullptr);
  CHECK_THROWS(ErrorCode::file_format, dict.at("b", "checkpoint"));
}

TEST(values_cannot_hold_themselves) {
  PickleValue list = PickleValue::list();
  CHECK_THROWS(ErrorCode::invalid_argument, list.append(list));
  PickleValue outer = PickleValue::list({list});
  // list is part of outer now: adding outer to it would close a circle.
  CHECK_THROWS(ErrorCode::invalid_argument, list.append(outer));
  CHECK_THROWS(ErrorCode::invalid_argument, list.append(1));
  CHECK_THROWS(ErrorCode::invalid_argument, PickleValue(1).append(1));
  CHECK_THROWS(ErrorCode::invalid_argument, PickleValue::dict().set(PickleValue::list(), 1));
}

TEST(values_bound_depth_and_weight) {
  PickleValue deep = PickleValue::list();
  for (int i = 1; i < PickleValue::max_depth; ++i) deep = PickleValue::list({deep});
  CHECK_EQ(deep.depth(), PickleValue::max_depth);
  CHECK_THROWS(ErrorCode::invalid_argument, PickleValue::list({deep}));
  // Each level holds the one below ten times: 10^n values in a few bytes.
  const auto laugh = [] {
    PickleValue laughs = PickleValue::list();
    for (int i = 0; i < 12; ++i) laughs = PickleValue::list(PickleValue::Items(10, laughs));
  };
  CHECK(contains(CHECK_THROWS(ErrorCode::invalid_argument, laugh()), "too many"));
}

TEST(pickle_reads_every_plain_value) {
  CHECK(run("N").is_none());
  CHECK(run("\x88").as_bool("b"));
  CHECK(!run("\x89").as_bool("b"));
  CHECK_EQ(run("K\xFF").as_integer("i"), 255);
  CHECK_EQ(run("M\x01\x02").as_integer("i"), 513);
  CHECK_EQ(run("J\xFF\xFF\xFF\xFF").as_integer("i"), -1);
  CHECK_EQ(run(raw("\x8a\0")).as_integer("i"), 0);
  CHECK_EQ(run("\x8a\x01\xFF").as_integer("i"), -1);
  CHECK_EQ(run(raw("\x8a\x02\xFF\0")).as_integer("i"), 255);
  CHECK_EQ(run(raw("\x8a\x08\0\0\0\0\0\0\0\x80")).as_integer("i"), std::numeric_limits<int64_t>::min());
  CHECK_EQ(run(raw("G\xBF\xF8\0\0\0\0\0\0")).as_real("f"), -1.5);
  CHECK_EQ(run(raw("X\2\0\0\0\xC3\xAF")).as_string("s"), "\xC3\xAF");
  CHECK_EQ(run("\x8c\x01x").as_string("s"), "x");
  CHECK_EQ(run("(K\1K\2K\3t").as_items("t").size(), 3u);
  CHECK_EQ(run("K\1K\2\x86").as_items("t")[1].as_integer("i"), 2);
  CHECK(run(")").is_tuple());
  CHECK_EQ(run("](K\1K\2e").as_items("l").size(), 2u);
  CHECK_EQ(run("]K\1a").as_items("l").size(), 1u);
  CHECK_EQ(run("}(\x8c\1aK\1\x8c\1bK\2u").at("b", "d").as_integer("b"), 2);
  CHECK_EQ(run("}\x8c\1aK\1s").at("a", "d").as_integer("a"), 1);
  CHECK(run(ordered_dict + ")R").is_ordered_dict());
  CHECK_EQ(run(ordered_dict + ")R(\x8c\1aK\1u}(\x8c\1xK\1ub").as_entries("d").size(), 1u);
  CHECK_EQ(run(ordered_dict + "(]\x8c\1aK\7\x86"
                              "atR")
               .at("a", "d")
               .as_integer("a"),
           7);
}

TEST(pickle_memo_recalls) {
  CHECK_EQ(run("(K\7q\5h\5t").as_items("t")[1].as_integer("i"), 7);
  CHECK_EQ(run(raw("(K\7r\0\0\1\0j\0\0\1\0t")).as_items("t")[1].as_integer("i"), 7);
  CHECK_EQ(
      read("\x80\x04\x95" + raw("\0\0\0\0\0\0\0\0") + "(K\7\x94h" + std::string(1, '\0') + "t.").as_items("t").size(),
      2u);
  CHECK(contains(refuse("h\5"), "nothing was stored"));
  CHECK(contains(refuse("j\xFF\xFF\xFF\xFF"), "nothing was stored"));
}

TEST(pickle_reads_tensors) {
  const at::Tensor whole = run(tensor(raw("K\0"), "K\2K\3", "K\3K\1")).as_tensor("t");
  CHECK_EQ(check::values(whole), std::vector<double>{0, 1, 2, 3, 4, 5});
  CHECK_EQ(check::values(run(tensor("K\1", "K\2", "K\3")).as_tensor("t")), std::vector<double>{1, 4});
  CHECK_EQ(run(tensor(raw("K\0"), "", "")).as_tensor("t").dim(), 0);
  CHECK_EQ(run(tensor(raw("K\0"), raw("K\0"), "K\1")).as_tensor("t").numel(), 0);
  const std::string parameter =
      "ctorch._utils\n_rebuild_parameter\n(" + tensor(raw("K\0"), "K\6", "K\1") + "\x88" + ordered_dict + ")RtR";
  CHECK_EQ(run(parameter).as_tensor("p").numel(), 6);
}

TEST(pickle_refuses_tensors_outside_their_storage) {
  refuse(tensor("K\1", "K\6", "K\1"));
  refuse(tensor(raw("K\0"), "K\2", "K\6"));
  refuse(tensor("J\xFF\xFF\xFF\xFF", "K\1", "K\1"));
  refuse(tensor(raw("K\0"), "J\xFF\xFF\xFF\xFF", "K\1"));
  refuse(tensor("K\5", "K\2", "J\xFF\xFF\xFF\xFF"));
  refuse(tensor(raw("K\0"), "K\2K\2", "K\1"));
  // A huge tensor over one element, an offset and a stride that wrap.
  refuse(tensor(raw("K\0"), "J\xFF\xFF\xFF\x7F", raw("K\0")));
  refuse(tensor("\x8a\x08\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x7F", "K\1", "K\1"));
  refuse(tensor(raw("K\0"), "K\5", "\x8a\x08\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x7F"));
  refuse(tensor(raw("K\0"), raw("K\0\x8a\x08\0\0\0\0\0\0\0\x40\x8a\x08\0\0\0\0\0\0\0\x40"), "K\1K\1K\1"));
  refuse("ctorch._utils\n_rebuild_tensor_v2\n(K\1K\1K\1K\1tR");
  refuse("ctorch._utils\n_rebuild_tensor_v2\n)R");
  refuse("ctorch._utils\n_rebuild_parameter\n(K\1tR");
  refuse("ctorch\nSize\n)R");
  refuse("ctorch\nFloatStorage\n)R");
}

TEST(pickle_refuses_everything_that_would_run) {
  const auto refuse_global = [](const std::string& body) { return CHECK_THROWS(ErrorCode::unsupported, run(body)); };
  CHECK(contains(refuse_global("cposix\nsystem\n(\x8c\5touchtR"), "posix.system"));
  refuse_global("c__builtin__\neval\n)R");
  refuse_global("cbuiltins\ngetattr\n)R");
  refuse_global("ctorch\nload\n)R");
  refuse_global("ctorch\nComplexFloatStorage\n");
  refuse_global("\x8c\5posix\x8c\6system\x93)R");
  refuse_global("c\xFF\n\xFE\n");
  // Old and new ways to make objects: no such instruction here.
  for (const char* body : {"(iposix\nsystem\n", "(o", ")\x81", "\x82\1", "P0\n", "\x92", "V1\n", "I1\n", "S'x'\n"}) {
    CHECK(contains(refuse(body), "instruction"));
  }
}

TEST(pickle_refuses_what_is_malformed) {
  CHECK_THROWS(ErrorCode::file_format, read(""));
  CHECK_THROWS(ErrorCode::file_format, read("\x80"));
  CHECK_THROWS(ErrorCode::file_format, read("\x80\x02"));
  CHECK_THROWS(ErrorCode::file_format, read("\x80\x01N."));
  CHECK_THROWS(ErrorCode::file_format, read("\x80\x06N."));
  CHECK_THROWS(ErrorCode::file_format, read("N."));
  refuse("");
  refuse("NN");
  refuse("(N");
  refuse("t");
  refuse("K");
  refuse("X\xFF\xFF\xFF\xFFx");
  refuse(raw("X\1\0\0\0\xFF"));
  refuse("\x8a\x09\1\1\1\1\1\1\1\1\1");
  refuse("Na");
  refuse("]K\1(a");
  refuse("K\1(K\2e");
  refuse("}(K\1u");
  refuse("}]K\1s");
  refuse("NNR");
  refuse("]Nb");
  refuse("}Nb");
  refuse("NQ");
  refuse("ccollections");
  refuse("c" + std::string(1000, 'x'));
  CHECK(contains(refuse("ccollections\nOrderedDict\n"), "not plain data"));
  CHECK(contains(refuse("(ctorch\nFloatStorage\nK\1t"), "not plain data"));
  refuse(storage);
  refuse("(K\1K\1K\1K\1K\1tQ");
  refuse(
      raw("(X\7\0\0\0storagectorch\nFloatStorage\n\x8c\1"
          "9\x8c\3cpuK\1tQ"));
  refuse(
      raw("(X\7\0\0\0storagectorch\nFloatStorage\n\x8c\1"
          "0\x8c\3cpuJ\xFF\xFF\xFF\xFFtQ"));
  refuse(
      raw("(X\7\0\0\0storageccollections\nOrderedDict\n\x8c\1"
          "0\x8c\3cpuK\1tQ"));
}

TEST(pickle_bounds_nesting_and_growth) {
  refuse(times(100, "]") + times(99, "a"));
  refuse(times(1'000'000, "]") + times(999'999, "a"));
  refuse(times(1'000'000, "(") + times(1'000'000, "t"));
  // Built from the outside in: every list is short when it is put into the next.
  refuse(raw("]q\0") + times(100, raw("]q\1"
                                      "a") +
                                      "h\1"));
  // A list that is put into itself.
  refuse(
      raw("]q\0h\0"
          "a"));
  // Doubling: 2^60 values if anyone walked through them.
  refuse("K\1" + times(60, raw("q\0h\0\x86")));
  refuse(times(4'000'001, "("));
  // A long text recalled very often.
  const std::string text = "X" + raw("\0\0\x10\0") + std::string(1 << 20, 'x');
  refuse("(" + text + raw("q\0") + times(1000, raw("h\0")) + "t");
}

TEST(pickle_writes_what_it_reads) {
  PickleValue inner = PickleValue::ordered_dict();
  inner.set("weight", check::counting({2, 3}));
  inner.set(7, PickleValue());
  PickleValue value = PickleValue::dict();
  const int64_t large = std::numeric_limits<int64_t>::min();
  value.set("numbers", PickleValue::list({0, 255, 256, -1, int64_t{1} << 31, large, 0.1, true, false}));
  value.set("empty", PickleValue::tuple({PickleValue::list(), PickleValue::tuple(), PickleValue::dict()}));
  value.set("inner", inner);
  value.set("text", "na\xC3\xAFve");
  int stored = 0;
  const std::string pickle = ta::write_pickle(value, [&](const at::Tensor&) { return std::to_string(stored++); });
  const PickleValue back = read(pickle);
  CHECK_EQ(stored, 1);
  const auto& numbers = back.at("numbers", "v").as_items("numbers");
  CHECK_EQ(numbers.size(), 9u);
  const std::vector<int64_t> integers = {0, 255, 256, -1, int64_t{1} << 31, large};
  for (std::size_t i = 0; i < integers.size(); ++i) CHECK_EQ(numbers[i].as_integer("n"), integers[i]);
  CHECK_EQ(numbers[6].as_real("n"), 0.1);
  CHECK(numbers[7].as_bool("n") && !numbers[8].as_bool("n"));
  const auto& empty = back.at("empty", "v").as_items("empty");
  CHECK(empty[0].is_list() && empty[1].is_tuple() && empty[2].is_dict());
  CHECK(back.at("inner", "v").is_ordered_dict());
  CHECK_EQ(check::values(back.at("inner", "v").at("weight", "v").as_tensor("w")),
           std::vector<double>{0, 1, 2, 3, 4, 5});
  CHECK_EQ(back.at("inner", "v").as_entries("i")[1].first.as_integer("key"), 7);
  CHECK_EQ(back.at("text", "v").as_string("t"), "na\xC3\xAFve");
  CHECK_THROWS(ErrorCode::invalid_argument, ta::write_pickle("\xFF", {}));
}
