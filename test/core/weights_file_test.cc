#include "core/state/weights_file.h"

#include <filesystem>

#include "core/state/mapped_storage.h"
#include "core/state/torch_checkpoint.h"
#include "tensors.h"

using check::contains;
using check::TemporaryFolder;
using ta::ErrorCode;
using ta::StateDict;
using ta::WeightsFormat;

TEST(state_dict_is_ordered_and_strict) {
  StateDict dict = {{"z", check::counting({2})}, {"a", check::counting({3}, at::kDouble)}};
  CHECK_EQ(dict.names(), std::vector<std::string>{"z", "a"});
  CHECK_EQ(dict.bytes(), 8u + 24u);
  CHECK_EQ(dict.at("a").numel(), 3);
  CHECK(dict.find("b") == nullptr);
  CHECK(contains(CHECK_THROWS(ErrorCode::state_dict, dict.at("b")), "'z', 'a'"));
  CHECK_THROWS(ErrorCode::state_dict, dict.add("a", check::counting({1})));
  CHECK_EQ(dict.renamed([](const std::string& name) { return "x." + name; }).names(),
           std::vector<std::string>{"x.z", "x.a"});
  CHECK_THROWS(ErrorCode::state_dict, dict.renamed([](const std::string&) { return "same"; }));
}

TEST(name_lists_stay_short) {
  CHECK_EQ(ta::name_list(std::vector<std::string>{}), "");
  CHECK_EQ(ta::name_list(std::vector<std::string>{"a", "b"}), "'a', 'b'");
  CHECK_EQ(ta::name_list(std::vector<std::string>(10, "a"), 2), "'a', 'a' and 8 more");
}

TEST(weights_are_known_by_content) {
  const TemporaryFolder folder;
  const StateDict weights = {{"w", check::counting({5})}};
  // Wrong extensions on purpose.
  ta::write_weights(folder.file("a.bin"), weights, WeightsFormat::safetensors);
  ta::write_weights(folder.file("a.safetensors"), weights, WeightsFormat::torch);
  CHECK(ta::detect_weights_format(folder.file("a.bin")) == WeightsFormat::safetensors);
  CHECK(ta::detect_weights_format(folder.file("a.safetensors")) == WeightsFormat::torch);
  for (const char* name : {"a.bin", "a.safetensors"}) {
    CHECK_EQ(check::values(ta::read_weights(folder.file(name)).at("w")), std::vector<double>{0, 1, 2, 3, 4});
  }
}

TEST(weights_say_what_the_file_is_instead) {
  const TemporaryFolder folder;
  const auto refuse = [&](const std::string& bytes) {
    check::write_file(folder.file("w"), bytes);
    return CHECK_THROWS(ErrorCode::file_format, ta::read_weights(folder.file("w")));
  };
  CHECK(contains(refuse(""), "empty"));
  CHECK(contains(refuse("version https://git-lfs.github.com/spec/v1\noid sha256:0"), "git lfs pull"));
  CHECK(contains(refuse("<!DOCTYPE html><html></html>"), "web page"));
  CHECK(contains(refuse("{\"error\":\"not found\"}"), "JSON"));
  CHECK(contains(refuse("some text that is nothing"), "not a weights file"));
  CHECK(ta::detect_weights_format(check::fixture("legacy.pt")) == WeightsFormat::torch);
  CHECK_THROWS(ErrorCode::file_io, ta::read_weights(folder.file("none")));
}

TEST(model_folders_with_shards) {
  for (const char* name : {"sharded_safetensors", "sharded_bin"}) {
    check::expect_tensors(ta::read_model_weights(check::fixture(name)), *check::expected_json().find(name), name);
  }
}

TEST(model_folders_choose_a_file) {
  const TemporaryFolder folder;
  CHECK_EQ(ta::find_model_weights(folder.path()), "");
  ta::write_weights(folder.file("pytorch_model.bin"), {{"bin", check::counting({1})}}, WeightsFormat::torch);
  CHECK_EQ(ta::read_model_weights(folder.path()).names(), std::vector<std::string>{"bin"});
  ta::write_weights(folder.file("model.safetensors"), {{"safe", check::counting({1})}}, WeightsFormat::safetensors);
  CHECK_EQ(ta::read_model_weights(folder.path()).names(), std::vector<std::string>{"safe"});
  CHECK(contains(ta::find_model_weights(folder.path()), "model.safetensors"));
}

TEST(model_folders_without_weights) {
  const TemporaryFolder folder;
  CHECK(contains(CHECK_THROWS(ErrorCode::file_io, ta::read_model_weights(folder.path())), "an empty folder"));
  check::write_file(folder.file("tf_model.h5"), "x");
  const std::string message = CHECK_THROWS(ErrorCode::file_io, ta::read_model_weights(folder.path()));
  CHECK(contains(message, "tf_model.h5"));
  CHECK(contains(message, "model.safetensors"));
  CHECK_THROWS(ErrorCode::file_io, ta::read_model_weights(folder.file("none")));
}

TEST(shard_indices_are_not_trusted) {
  const TemporaryFolder folder;
  ta::write_weights(folder.file("shard"), {{"w", check::counting({1})}, {"more", check::counting({1})}},
                    WeightsFormat::safetensors);
  const auto read = [&](const std::string& index) {
    check::write_file(folder.file("model.safetensors.index.json"), index);
    return ta::read_model_weights(folder.path());
  };
  // Only what the index names counts.
  CHECK_EQ(read(R"({"weight_map":{"w":"shard"}})").names(), std::vector<std::string>{"w"});
  const auto refuse = [&](const std::string& index, ErrorCode code = ErrorCode::file_format) {
    return CHECK_THROWS(code, read(index));
  };
  CHECK(contains(refuse("{}"), "weight_map"));
  refuse("");
  refuse("[]");
  refuse(R"({"weight_map":[]})");
  refuse(R"({"weight_map":{"w":1}})");
  CHECK(contains(refuse(R"({"weight_map":{"other":"shard"}})"), "other in shard"));
  refuse(R"({"weight_map":{"w":"missing"}})", ErrorCode::file_io);
  for (const char* name : {"../shard", "/etc/passwd", "a\\\\b", "..", ".", "", "c:x", "sub/shard", "a\\u0000"}) {
    CHECK(contains(refuse(std::string(R"({"weight_map":{"w":")") + name + "\"}}"), "in the folder"));
  }
}

TEST(tensors_stay_within_their_storage) {
  const at::Storage storage = check::counting({6}).storage();
  const auto make = [&](int64_t offset, const std::vector<int64_t>& sizes, const std::vector<int64_t>& strides) {
    return ta::tensor_in_storage(storage, at::kFloat, offset, sizes, strides, "x");
  };
  CHECK_EQ(check::values(make(0, {2, 3}, {3, 1})), std::vector<double>{0, 1, 2, 3, 4, 5});
  CHECK_EQ(check::values(make(1, {2, 2}, {2, 1})), std::vector<double>{1, 2, 3, 4});
  CHECK_EQ(make(6, {0}, {1}).numel(), 0);
  CHECK_THROWS(ErrorCode::file_format, make(7, {0}, {1}));
  CHECK_THROWS(ErrorCode::file_format, make(1, {6}, {1}));
  // One value in many places is no more than it; what would fill the memory where it is read is refused.
  CHECK_EQ(check::values(make(2, {7}, {0})), std::vector<double>(7, 2));
  CHECK_THROWS(ErrorCode::file_format, make(0, {int64_t{1} << 25}, {0}));
  CHECK_THROWS(ErrorCode::file_format, make(-1, {1}, {1}));
  CHECK_THROWS(ErrorCode::file_format, make(0, {1}, {}));
  const int64_t most = std::numeric_limits<int64_t>::max();
  CHECK_THROWS(ErrorCode::file_format, make(most, {2}, {most}));
  CHECK_THROWS(ErrorCode::file_format, make(0, {most, most}, {most, most}));
  CHECK_THROWS(ErrorCode::file_format, make(0, {0, most, most}, {1, 1, 1}));
  CHECK_EQ(ta::dense_strides({2, 3, 4}), std::vector<int64_t>{12, 4, 1});
  CHECK_EQ(ta::dense_strides({2, 0, 4}), std::vector<int64_t>{4, 4, 1});
  CHECK(ta::dense_strides({}).empty());
}
