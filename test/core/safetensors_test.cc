#include "core/state/safetensors.h"

#include "core/state/bytes.h"
#include "core/state/mapped_file.h"
#include "tensors.h"

using check::contains;
using check::TemporaryFolder;
using check::tensor;
using ta::ErrorCode;
using ta::StateDict;

namespace {

// A file with this header and so many bytes of data.
std::string file_of(const std::string& header, std::size_t data, uint64_t stated = 0) {
  std::string bytes;
  ta::append_little_endian<uint64_t>(bytes, stated ? stated : header.size());
  return bytes + header + std::string(data, '\0');
}

StateDict read_bytes(const TemporaryFolder& folder, const std::string& bytes) {
  check::write_file(folder.file("x.safetensors"), bytes);
  return ta::read_safetensors(folder.file("x.safetensors"));
}

}  // namespace

TEST(safetensors_reads_what_python_wrote) {
  ta::SafetensorsMetadata metadata;
  const StateDict tensors = ta::read_safetensors(check::fixture("every_dtype.safetensors"), &metadata);
  check::expect_tensors(tensors, *check::expected_json().find("every_dtype.safetensors"), "every_dtype.safetensors");
  std::sort(metadata.begin(), metadata.end());
  CHECK_EQ(metadata.size(), 2u);
  CHECK(metadata == ta::SafetensorsMetadata{{"format", "pt"}, {"note", "na\xC3\xAFve"}});
}

TEST(safetensors_tensors_lie_in_the_map_and_keep_it) {
  const TemporaryFolder folder;
  const std::string path = folder.file("w.safetensors");
  ta::write_safetensors(path, {{"w", check::counting({64, 8})}});
  at::Tensor kept;
  {
    const auto file = ta::MappedFile::open(path);
    const StateDict tensors = ta::read_safetensors(file);
    kept = tensors.at("w");
    const auto* data = static_cast<const uint8_t*>(kept.const_data_ptr());
    CHECK(data > file->data() && data < file->data() + file->size());
    CHECK_EQ(reinterpret_cast<uintptr_t>(data) % 64, 0u);
    CHECK(!kept.requires_grad());
  }
  std::filesystem::remove(path);
  CHECK_EQ(check::values(kept)[511], 511.0);
}

TEST(safetensors_write_and_read_back) {
  const TemporaryFolder folder;
  const std::string path = folder.file("all.safetensors");
  StateDict tensors;
  // Narrow types first: the writer must still align the wide ones.
  for (const at::ScalarType dtype : {at::kBool, at::kByte, at::kChar, at::kShort, at::kHalf, at::kBFloat16, at::kInt,
                                     at::kFloat, at::kLong, at::kDouble}) {
    tensors.add(ta::dtype_name(dtype), tensor({0, 1, 1}, {3}, dtype));
  }
  tensors.add("scalar", tensor({2.5}, {}));
  tensors.add("empty", tensor({}, {3, 0}));
  tensors.add("turned", check::counting({2, 3}).t());
  tensors.add("trained", check::counting({2}).requires_grad_());
  tensors.add("quote \" and \xE5\x90\x8D", tensor({7}, {1}));
  ta::write_safetensors(path, tensors, {{"a", "b\"c"}});
  ta::SafetensorsMetadata metadata;
  const StateDict back = ta::read_safetensors(path, &metadata);
  CHECK(metadata == ta::SafetensorsMetadata{{"a", "b\"c"}});
  CHECK_EQ(back.size(), tensors.size());
  for (const auto& [name, written] : tensors) {
    const at::Tensor& read = back.at(name);
    CHECK_EQ(read.sizes().vec(), written.sizes().vec());
    CHECK(read.scalar_type() == written.scalar_type());
    CHECK_EQ(check::values(read), check::values(written.detach()));
    CHECK(read.is_contiguous());
    if (read.numel() > 0) CHECK_EQ(reinterpret_cast<uintptr_t>(read.const_data_ptr()) % read.element_size(), 0u);
  }
  // The same tensors give the same file.
  const std::string first = check::read_file(path);
  ta::write_safetensors(path, tensors, {{"a", "b\"c"}});
  CHECK(check::read_file(path) == first);
}

TEST(safetensors_unaligned_data_is_copied) {
  const TemporaryFolder folder;
  // A header of 61 bytes puts the data at byte 69.
  std::string header = R"({"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})";
  header.resize(61, ' ');
  std::string bytes = file_of(header, 8);
  const float value = 1.5f;
  std::memcpy(bytes.data() + bytes.size() - 4, &value, 4);
  const StateDict tensors = read_bytes(folder, bytes);
  CHECK_EQ(check::values(tensors.at("w")), std::vector<double>{0, 1.5});
  CHECK_EQ(reinterpret_cast<uintptr_t>(tensors.at("w").const_data_ptr()) % 4, 0u);
}

TEST(safetensors_without_tensors) {
  const TemporaryFolder folder;
  CHECK(read_bytes(folder, file_of("{}", 0)).empty());
  ta::write_safetensors(folder.file("none"), {});
  CHECK(ta::read_safetensors(folder.file("none")).empty());
}

TEST(safetensors_refuses_a_wrong_header) {
  const TemporaryFolder folder;
  const auto refuse = [&](const std::string& bytes) {
    return CHECK_THROWS(ErrorCode::file_format, read_bytes(folder, bytes));
  };
  refuse("");
  refuse("1234567");
  refuse(file_of("", 0));
  refuse(file_of("[]", 0));
  refuse(file_of(" {}", 0));
  refuse(file_of("{}x", 0));
  refuse(file_of("{", 0));
  refuse(file_of("{}", 0, 3));
  CHECK(contains(refuse(file_of("{}", 0, uint64_t{1} << 40)), "too large"));
  CHECK(contains(refuse(file_of("{}", 0, ~uint64_t{0})), "too large"));
  CHECK(contains(refuse(file_of("{}", 0, 99'999'999)), "too early"));
  CHECK(contains(refuse(file_of(R"({"__metadata__":{"a":1}})", 0)), "__metadata__"));
  CHECK(contains(refuse(file_of(R"({"__metadata__":[]})", 0)), "__metadata__"));
  const std::string one = R"("w":{"dtype":"U8","shape":[1],"data_offsets":[0,1]})";
  CHECK(contains(refuse(file_of("{" + one + "," + one + "}", 1)), "twice"));
}

TEST(safetensors_refuses_wrong_tensors) {
  const TemporaryFolder folder;
  const auto refuse = [&](const std::string& info, std::size_t data) {
    return CHECK_THROWS(ErrorCode::file_format, read_bytes(folder, file_of("{\"w\":" + info + "}", data)));
  };
  CHECK(contains(refuse("1", 0), "'w'"));
  refuse(R"({"shape":[1],"data_offsets":[0,1]})", 1);
  refuse(R"({"dtype":"U8","data_offsets":[0,1]})", 1);
  refuse(R"({"dtype":"U8","shape":[1]})", 1);
  refuse(R"({"dtype":8,"shape":[1],"data_offsets":[0,1]})", 1);
  refuse(R"({"dtype":"U8","shape":[1.0],"data_offsets":[0,1]})", 1);
  refuse(R"({"dtype":"U8","shape":[-1],"data_offsets":[0,1]})", 1);
  refuse(R"({"dtype":"U8","shape":[1],"data_offsets":[0]})", 1);
  refuse(R"({"dtype":"U8","shape":[1],"data_offsets":[0,1,2]})", 1);
  refuse(R"({"dtype":"U8","shape":[1],"data_offsets":[1,0]})", 1);
  refuse(R"({"dtype":"U8","shape":[1],"data_offsets":[-1,0]})", 1);
  // size does not follow from dtype and shape
  CHECK(contains(refuse(R"({"dtype":"F32","shape":[2],"data_offsets":[0,4]})", 4), "8 bytes"));
  // 2^32 x 2^32 elements: the product wraps to 0
  refuse(R"({"dtype":"U8","shape":[4294967296,4294967296],"data_offsets":[0,0]})", 0);
  refuse(R"({"dtype":"F64","shape":[2305843009213693952],"data_offsets":[0,0]})", 0);
  // no elements, but the other sizes overflow
  refuse(R"({"dtype":"U8","shape":[0,4294967296,4294967296],"data_offsets":[0,0]})", 0);
  refuse(R"({"dtype":"U8","shape":[0,9223372036854775807,2],"data_offsets":[0,0]})", 0);
  // past the end, a tail that belongs to nobody, a gap at the start
  CHECK(contains(refuse(R"({"dtype":"U8","shape":[9],"data_offsets":[0,9]})", 8), "not copied"));
  refuse(R"({"dtype":"U8","shape":[8],"data_offsets":[0,8]})", 9);
  refuse(R"({"dtype":"U8","shape":[8],"data_offsets":[1,9]})", 9);
  std::string shape = "1";
  for (int i = 0; i < 64; ++i) shape += ",1";
  refuse(R"({"dtype":"U8","shape":[)" + shape + R"(],"data_offsets":[0,1]})", 1);
  const std::string unknown =
      CHECK_THROWS(ErrorCode::unsupported,
                   read_bytes(folder, file_of(R"({"w":{"dtype":"F8_E4M3","shape":[1],"data_offsets":[0,1]}})", 1)));
  CHECK(contains(unknown, "F8_E4M3"));
}

TEST(safetensors_refuses_overlap_and_gaps) {
  const TemporaryFolder folder;
  const auto two = [&](const std::string& a, const std::string& b) {
    const std::string info = R"({"dtype":"U8","shape":[4],"data_offsets":)";
    return file_of("{\"a\":" + info + a + "},\"b\":" + info + b + "}}", 8);
  };
  CHECK_EQ(read_bytes(folder, two("[4,8]", "[0,4]")).size(), 2u);
  CHECK(contains(CHECK_THROWS(ErrorCode::file_format, read_bytes(folder, two("[0,4]", "[2,6]"))), "overlaps"));
  CHECK(contains(CHECK_THROWS(ErrorCode::file_format, read_bytes(folder, two("[0,4]", "[5,9]"))), "gap"));
  CHECK_THROWS(ErrorCode::file_format, read_bytes(folder, two("[0,4]", "[0,4]")));
}

TEST(safetensors_refuses_booleans_that_are_none) {
  const TemporaryFolder folder;
  std::string bytes = file_of(R"({"w":{"dtype":"BOOL","shape":[2],"data_offsets":[0,2]}})", 2);
  CHECK_EQ(read_bytes(folder, bytes).size(), 1u);
  bytes.back() = 2;
  CHECK_THROWS(ErrorCode::file_format, read_bytes(folder, bytes));
}

TEST(safetensors_refuses_to_write_what_cannot_be_read) {
  const TemporaryFolder folder;
  const std::string path = folder.file("w");
  CHECK_THROWS(ErrorCode::unsupported, ta::write_safetensors(path, {{"w", at::Tensor()}}));
  CHECK_THROWS(ErrorCode::unsupported,
               ta::write_safetensors(path, {{"w", at::empty({1}, at::TensorOptions(at::kComplexFloat))}}));
  CHECK_THROWS(ErrorCode::invalid_argument, ta::write_safetensors(path, {{"__metadata__", tensor({1}, {1})}}));
  CHECK_THROWS(ErrorCode::invalid_argument, ta::write_safetensors(path, {{"\xFF", tensor({1}, {1})}}));
  CHECK(!std::filesystem::exists(path));
}
