#include "core/state/torch_checkpoint.h"

#include <filesystem>

#include "core/state/atomic_file.h"
#include "core/state/mapped_file.h"
#include "core/state/safetensors.h"
#include "core/state/zip_reader.h"
#include "core/state/zip_writer.h"
#include "legacy_bytes.h"
#include "tensors.h"

using check::contains;
using check::TemporaryFolder;
using ta::ErrorCode;
using ta::PickleValue;
using ta::StateDict;

namespace {

std::string refuse(ErrorCode code, const std::string& name) {
  return CHECK_THROWS(code, ta::read_state_dict(check::fixture(name)));
}

std::string write_zip(const TemporaryFolder& folder, const std::vector<std::pair<std::string, std::string>>& entries) {
  ta::AtomicFile file(folder.file("made.pt"));
  ta::ZipWriter zip(file);
  for (const auto& [name, content] : entries) zip.add(name, content);
  zip.finish();
  file.commit();
  return folder.file("made.pt");
}

// What test/python/check_state.py looks for in Python.
PickleValue everything() {
  PickleValue tensors = PickleValue::ordered_dict();
  for (const at::ScalarType dtype : {at::kDouble, at::kFloat, at::kHalf, at::kBFloat16, at::kLong, at::kInt, at::kShort,
                                     at::kChar, at::kByte, at::kBool}) {
    tensors.set(ta::dtype_name(dtype), check::counting({2}, dtype));
  }
  const at::Tensor base = check::counting({4, 6});
  tensors.set("base", base);
  tensors.set("again", base);
  tensors.set("row", base.select(0, 1));
  tensors.set("turned", base.t());
  tensors.set("scalar", check::tensor({1.5}, {}));
  tensors.set("empty", check::tensor({}, {0, 4}));
  PickleValue value = PickleValue::dict();
  value.set("tensors", tensors);
  value.set("epoch", 3);
  value.set("large", int64_t{1} << 40);
  value.set("loss", 0.25);
  value.set("note", "na\xC3\xAFve");
  value.set("nothing", PickleValue());
  value.set("flags", PickleValue::list({true, false}));
  value.set("nested", PickleValue::tuple({1, PickleValue::tuple({}), PickleValue::list()}));
  return value;
}

}  // namespace

TEST(checkpoint_reads_what_python_wrote) {
  for (const char* name :
       {"every_dtype.pt", "protocol4.pt", "module.bin", "parameters.pt", "views.pt", "training.pt", "legacy.pt"}) {
    check::expect_tensors(ta::read_state_dict(check::fixture(name)), *check::expected_json().find(name), name);
  }
}

TEST(checkpoint_keeps_shared_memory_and_the_map) {
  const auto file = ta::MappedFile::open(check::fixture("views.pt"));
  const StateDict tensors = ta::to_state_dict(ta::read_torch_checkpoint(file), "views.pt");
  CHECK(tensors.at("base").const_data_ptr() == tensors.at("again").const_data_ptr());
  CHECK(tensors.at("row").const_data_ptr() == tensors.at("base").const_data_ptr<float>() + 6);
  const auto* data = static_cast<const uint8_t*>(tensors.at("base").const_data_ptr());
  CHECK(data > file->data() && data < file->data() + file->size());
}

TEST(checkpoint_reads_legacy_views) {
  const TemporaryFolder folder;
  const auto read = [&](const std::string& bytes) {
    check::write_file(folder.file("old.bin"), bytes);
    return ta::read_state_dict(folder.file("old.bin"));
  };
  const StateDict tensors = read(check::legacy_with_views());
  CHECK_EQ(check::values(tensors.at("whole")), (std::vector<double>{0, 1, 2, 3, 4, 5}));
  CHECK_EQ(check::values(tensors.at("part")), (std::vector<double>{2, 3, 4}));
  CHECK_EQ(check::values(tensors.at("odd")), (std::vector<double>{1, 3, 5}));
  CHECK_EQ(check::values(tensors.at("flags")), (std::vector<double>{1, 0}));
  // One memory, and it outlives whoever goes first.
  CHECK(tensors.at("part").const_data_ptr<float>() == tensors.at("whole").const_data_ptr<float>() + 2);
  const at::Tensor part = read(check::legacy_with_views()).at("part");
  CHECK_EQ(check::values(part), (std::vector<double>{2, 3, 4}));
}

TEST(checkpoint_reads_legacy_pickles_of_protocol_4) {
  const TemporaryFolder folder;
  std::string bytes = check::legacy_with_views();
  bytes.replace(0, 2, std::string("\x80\x04\x95\x0d\0\0\0\0\0\0\0", 11));
  check::write_file(folder.file("old.bin"), bytes);
  CHECK_EQ(ta::read_state_dict(folder.file("old.bin")).size(), 4u);
}

TEST(checkpoint_refuses_legacy_files_that_do_not_fit) {
  const TemporaryFolder folder;
  const auto refuse = [&](const std::string& bytes, ErrorCode code = ErrorCode::file_format) {
    check::write_file(folder.file("old.bin"), bytes);
    return CHECK_THROWS(code, ta::read_torch_checkpoint(folder.file("old.bin")));
  };
  const auto storage = [](char elements, const std::string& view = "N") {
    return check::pickled_storage("ByteStorage", "1", elements, view);
  };
  const auto dict = [](const std::string& storage) {
    return "}" + check::pickled_text("w") + check::pickled_vector(storage, 0, 2, 1) + "s";
  };
  const std::string two = dict(storage(2));
  const std::string both = "\1\2";
  CHECK(contains(refuse(check::legacy_file(two, {})), "missing"));
  CHECK(contains(refuse(check::legacy_file(two, {{"1", 2, both}, {"1", 2, both}})), "twice"));
  CHECK(contains(refuse(check::legacy_file(two, {{"1", 2, both}, {"2", 2, both}})), "no tensor"));
  CHECK(contains(refuse(check::legacy_file(two, {{"1", 3, both + "x"}})), "of 2 elements, but there are 3"));
  CHECK(contains(refuse(check::legacy_file(two, {{"1", -2, both}})), "there are -2"));
  CHECK(contains(refuse(check::legacy_file(two, {{"1", 2, "\1"}})), "ends too early"));
  const std::string huge = "(" + check::pickled_text("storage") + "ctorch\nDoubleStorage\n" + check::pickled_text("1") +
                           check::pickled_text("cpu") + "\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7fNtQ";
  CHECK(contains(refuse(check::legacy_file(huge, {})), "larger than the file"));
  CHECK(contains(refuse(check::legacy_file("](" + storage(2) + storage(3) + "e", {})), "two types or sizes"));
  const auto view = [](const std::string& numbers) { return check::pickled_text("v") + numbers + "\x87"; };
  CHECK(contains(refuse(check::legacy_file(dict(storage(2, view("K\1K\2"))), {})), "outside"));
  CHECK(contains(refuse(check::legacy_file(dict(storage(2, view("J\xff\xff\xff\xffK\2"))), {})), "outside"));
  const std::string unlike = storage(2, view("K\1K\1")) + storage(2, view(std::string("K\1K\0", 4)));
  CHECK(contains(refuse(check::legacy_file("](" + unlike + "e", {})), "two views of one name"));
  CHECK(contains(refuse(check::legacy_file(two, {{"1", 2, both}}, storage(2))), "not where tensors stand"));
  CHECK(contains(refuse(check::legacy_file(two, {{"1", 2, both}}, "M\xea\x03"), ErrorCode::unsupported), "got 1002"));
  const std::string flags = dict(check::pickled_storage("BoolStorage", "1", 2));
  CHECK(contains(refuse(check::legacy_file(flags, {{"1", 2, both}})), "boolean"));
  CHECK(contains(refuse(check::legacy_file("cos\nsystem\n", {}), ErrorCode::unsupported), "Nothing was executed"));
  // Cut off anywhere, it is refused and not half read.
  const std::string whole = check::legacy_with_views();
  for (std::size_t size = 15; size < whole.size(); ++size) refuse(whole.substr(0, size));
}

TEST(checkpoint_reads_training_state) {
  const PickleValue training = ta::read_torch_checkpoint(check::fixture("training.pt"));
  CHECK_EQ(training.at("epoch", "t").as_integer("epoch"), 3);
  CHECK_EQ(training.at("loss", "t").as_real("loss"), 0.25);
  CHECK_EQ(training.at("note", "t").as_string("note"), "na\xC3\xAFve");
  CHECK(!training.at("done", "t").as_bool("done"));
  CHECK(training.at("nothing", "t").is_none());
  CHECK_EQ(training.at("large", "t").as_integer("large"), int64_t{1} << 40);
  CHECK_EQ(training.at("negative", "t").as_integer("negative"), -5);
  CHECK_EQ(training.at("list", "t").as_items("l")[2].as_items("l")[0].as_real("l"), 3.0);
  CHECK(training.at("tuple", "t").as_items("t")[1].is_tuple());
  CHECK_EQ(training.at("size", "t").as_items("s")[1].as_integer("s"), 3);
  const PickleValue& optimizer = training.at("optimizer", "t");
  CHECK_EQ(optimizer.at("state", "o").as_entries("o").size(), 4u);
  CHECK_EQ(optimizer.at("param_groups", "o").as_items("o")[0].at("lr", "o").as_real("lr"), 1e-3);
}

TEST(checkpoint_refuses_what_is_not_plain_data) {
  CHECK(contains(refuse(ErrorCode::unsupported, "whole_module.pt"), "torch.nn.modules"));
  CHECK(contains(refuse(ErrorCode::unsupported, "complex.pt"), "ComplexFloatStorage"));
  CHECK(contains(refuse(ErrorCode::unsupported, "torchscript.pt"), "TorchScript"));
  CHECK(contains(refuse(ErrorCode::unsupported, "malicious.pt"), "Nothing was executed"));
  CHECK(!std::filesystem::exists("EXECUTED"));
  const TemporaryFolder folder;
  std::string tar(600, '\0');
  tar.replace(257, 5, "ustar");
  check::write_file(folder.file("old.pt"), tar);
  CHECK(contains(CHECK_THROWS(ErrorCode::unsupported, ta::read_state_dict(folder.file("old.pt"))), "PyTorch 0.1"));
}

TEST(checkpoint_refuses_archives_of_another_kind) {
  const TemporaryFolder folder;
  const auto read = [&](const std::vector<std::pair<std::string, std::string>>& entries) {
    return ta::read_torch_checkpoint(write_zip(folder, entries));
  };
  const std::string none = "\x80\x02N.";
  CHECK(read({{"x/data.pkl", none}}).is_none());
  CHECK_THROWS(ErrorCode::file_format, read({{"x/other", none}}));
  CHECK_THROWS(ErrorCode::file_format, read({{"data.pkl", none}}));
  CHECK_THROWS(ErrorCode::file_format, read({{"a/b/data.pkl", none}}));
  CHECK_THROWS(ErrorCode::unsupported, read({{"x/data.pkl", none}, {"x/byteorder", "big"}}));
  CHECK_THROWS(ErrorCode::file_format, read({{"x/data.pkl", "\x80\x02"}}));
}

TEST(checkpoint_notices_one_flipped_bit) {
  const TemporaryFolder folder;
  const std::string path = folder.file("w.pt");
  ta::write_state_dict(path, {{"w", check::counting({100})}});
  std::string bytes = check::read_file(path);
  const float needle = 57;
  const std::size_t at = bytes.find(std::string(reinterpret_cast<const char*>(&needle), 4));
  CHECK(at != std::string::npos);
  bytes[at + 1] ^= 4;
  check::write_file(path, bytes);
  CHECK(contains(CHECK_THROWS(ErrorCode::file_format, ta::read_state_dict(path)), "damaged"));
}

TEST(checkpoint_refuses_records_that_do_not_fit) {
  const TemporaryFolder folder;
  const std::string path = folder.file("w.pt");
  ta::write_state_dict(path, {{"w", check::counting({4})}, {"b", check::tensor({1, 0}, {2}, at::kBool)}});
  const ta::ZipReader zip(ta::MappedFile::open(path));
  const auto pickle = zip.data(*zip.find("archive/data.pkl"));
  const std::string data_pkl(pickle.begin(), pickle.end());
  const auto read = [&](const std::string& floats, const std::string& bools) {
    return ta::read_state_dict(
        write_zip(folder, {{"x/data.pkl", data_pkl}, {"x/data/0", floats}, {"x/data/1", bools}}));
  };
  CHECK_EQ(read(std::string(16, '\0'), std::string(2, '\1')).size(), 2u);
  CHECK(contains(CHECK_THROWS(ErrorCode::file_format, read(std::string(15, '\0'), std::string(2, '\1'))), "shorter"));
  CHECK(contains(CHECK_THROWS(ErrorCode::file_format, read(std::string(16, '\0'), std::string(2, '\2'))), "boolean"));
  CHECK(
      contains(CHECK_THROWS(ErrorCode::file_format, ta::read_state_dict(write_zip(folder, {{"x/data.pkl", data_pkl}}))),
               "missing"));
}

TEST(checkpoint_writes_and_reads_back) {
  const TemporaryFolder folder;
  const std::string path = folder.file("all.pt");
  const PickleValue written = everything();
  ta::write_torch_checkpoint(path, written);
  const PickleValue back = ta::read_torch_checkpoint(path);
  CHECK(back.at("tensors", "b").is_ordered_dict());
  for (const auto& [name, value] : written.at("tensors", "e").as_entries("e")) {
    const at::Tensor& expected = value.as_tensor("e");
    const at::Tensor& found = back.at("tensors", "b").at(name.as_string("n"), "b").as_tensor("b");
    CHECK(found.scalar_type() == expected.scalar_type());
    CHECK_EQ(found.sizes().vec(), expected.sizes().vec());
    CHECK_EQ(check::values(found), check::values(expected));
  }
  CHECK_EQ(back.at("large", "b").as_integer("b"), int64_t{1} << 40);
}

TEST(checkpoint_stores_equal_views_once_and_no_neighbours) {
  const TemporaryFolder folder;
  const at::Tensor bank = check::counting({1000, 100});
  const StateDict tensors = {{"a", bank.select(0, 3)}, {"b", bank.select(0, 3)}, {"c", bank.select(0, 4)}};
  ta::write_state_dict(folder.file("w.pt"), tensors);
  // Two rows of 400 bytes out of 400,000.
  CHECK(std::filesystem::file_size(folder.file("w.pt")) < 3000);
  const StateDict back = ta::read_state_dict(folder.file("w.pt"));
  CHECK(back.at("a").const_data_ptr() == back.at("b").const_data_ptr());
  CHECK_EQ(check::values(back.at("c"))[0], 400.0);
  CHECK_EQ(check::values(back.at("a"))[99], 399.0);
}

TEST(checkpoint_flattens_strictly) {
  PickleValue wrapped = PickleValue::dict();
  PickleValue inner = PickleValue::dict();
  inner.set("w", check::counting({1}));
  wrapped.set("epoch", 1);
  wrapped.set("state_dict", inner);
  CHECK_EQ(ta::to_state_dict(wrapped, "x").names(), std::vector<std::string>{"w"});
  PickleValue mixed = PickleValue::dict();
  mixed.set("w", check::counting({1}));
  mixed.set("epoch", 1);
  CHECK(contains(CHECK_THROWS(ErrorCode::file_format, ta::to_state_dict(mixed, "x")), "'epoch'"));
  PickleValue numbered = PickleValue::dict();
  numbered.set(0, check::counting({1}));
  CHECK_THROWS(ErrorCode::file_format, ta::to_state_dict(numbered, "x"));
  CHECK_THROWS(ErrorCode::file_format, ta::to_state_dict(PickleValue::list(), "x"));
  PickleValue twice = PickleValue::dict();
  twice.set("w", check::counting({1}));
  twice.set("w", check::counting({1}));
  CHECK_THROWS(ErrorCode::state_dict, ta::to_state_dict(twice, "x"));
}

// With TA_STATE_OUT=folder the files stay there for test/python/check_state.py.
TEST(checkpoint_files_for_python) {
  const TemporaryFolder temporary;
  const char* chosen = std::getenv("TA_STATE_OUT");
  const std::string folder = chosen ? chosen : temporary.path();
  std::filesystem::create_directories(folder);
  ta::write_torch_checkpoint(folder + "/everything.pt", everything());
  StateDict tensors;
  const PickleValue value = everything();
  for (const auto& [name, tensor] : value.at("tensors", "e").as_entries("e")) {
    tensors.add(name.as_string("n"), tensor.as_tensor("t"));
  }
  ta::write_state_dict(folder + "/tensors.bin", tensors);
  ta::write_safetensors(folder + "/tensors.safetensors", tensors, {{"format", "pt"}, {"note", "na\xC3\xAFve"}});
  ta::AtomicFile file(folder + "/wide.zip");
  ta::ZipWriter wide(file, 1);
  wide.add("archive/data.pkl", "\x80\x02K\7.");
  wide.add("archive/version", "3\n");
  wide.finish();
  file.commit();
  CHECK_EQ(ta::read_state_dict(folder + "/tensors.bin").size(), tensors.size());
  CHECK_EQ(ta::read_safetensors(folder + "/tensors.safetensors").size(), tensors.size());
  CHECK_EQ(ta::read_torch_checkpoint(folder + "/wide.zip").as_integer("w"), 7);
}
