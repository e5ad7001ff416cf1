// Rows' values on disk: found again by another store, rounded where asked, not there where a file is damaged, and
// within the folder's bound.
#include "core/state/row_store.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>

#include <set>

#include "check.h"

namespace {

namespace fs = std::filesystem;
using namespace ta;

struct StoreFolder {
  check::TemporaryFolder parent;
  fs::path path = parent.file("rows");
  RowStoreOptions options(const std::string& name = "model-1") const {
    return {path.string(), name, 8, at::kFloat, 1 << 20};
  }
  std::vector<fs::path> segments() const {
    std::vector<fs::path> all;
    for (const auto& entry : fs::directory_iterator(path)) all.push_back(entry.path());
    return all;
  }
};

ContentHash hash_of(int row) {
  ContentHash hash;
  hash.add(&row, sizeof row);
  return hash;
}

at::Tensor values_of(int row, int64_t tokens) {
  return at::arange(tokens * 8, at::kFloat).sin().view({tokens, 8}) + row;
}

bool holds(RowStore& store, int row, int64_t tokens) {
  auto out = at::empty({tokens, 8}, at::kFloat);
  return store.read(hash_of(row), out) && at::equal(out, values_of(row, tokens));
}

void flip_byte(const fs::path& path, std::streamoff at) {
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  file.seekg(at);
  const char byte = static_cast<char>(file.get());
  file.seekp(at);
  file.put(static_cast<char>(byte ^ 1));
}

}  // namespace

TEST(rows_are_found_again_by_every_store_of_their_name) {
  StoreFolder folder;
  RowStore one(folder.options());
  CHECK_EQ(one.bytes(), uint64_t{0});
  for (int row : {1, 2, 3}) one.write(hash_of(row), values_of(row, row));
  one.write(hash_of(2), values_of(2, 2));  // known already
  CHECK_EQ(one.bytes(), uint64_t{16 + 3 * 32 + 6 * 8 * 4});
  RowStore two(folder.options());
  for (int row : {1, 2, 3}) CHECK(holds(one, row, row) && holds(two, row, row));
  two.write(hash_of(4), values_of(4, 5));
  CHECK_EQ(folder.segments().size(), size_t{2});
  RowStore three(folder.options()), other(folder.options("model-2"));
  for (int row : {1, 2, 3}) CHECK(holds(three, row, row));
  CHECK(holds(three, 4, 5));
  CHECK(!three.has(hash_of(4), 4) && !holds(three, 5, 1) && !other.has(hash_of(1), 1));
  CHECK_EQ(other.bytes(), three.bytes());
}

TEST(values_are_rounded_as_the_type_on_disk_has_them) {
  StoreFolder folder;
  auto options = folder.options();
  options.dtype = at::kBFloat16;
  RowStore store(options);
  store.write(hash_of(1), values_of(1, 3));
  auto out = at::empty({3, 8}, at::kFloat);
  CHECK(store.read(hash_of(1), out));
  CHECK(at::equal(out, values_of(1, 3).to(at::kBFloat16).to(at::kFloat)));
  CHECK(!RowStore(folder.options()).has(hash_of(1), 3));  // a file of another type
}

TEST(what_is_cut_off_or_damaged_is_not_there_and_can_be_written_again) {
  for (int64_t cut = 0; cut <= 16 + 2 * (32 + 64); ++cut) {
    StoreFolder folder;
    {
      RowStore store(folder.options());
      for (int row : {1, 2}) store.write(hash_of(row), values_of(row, 2));
    }
    const auto segment = folder.segments()[0];
    fs::resize_file(segment, static_cast<uintmax_t>(cut));
    RowStore store(folder.options());
    CHECK_EQ(holds(store, 1, 2), cut >= 16 + 96);
    CHECK_EQ(holds(store, 2, 2), cut >= 16 + 2 * 96);
    store.write(hash_of(2), values_of(2, 2));
    CHECK(holds(store, 2, 2));
  }
  for (int64_t at = 0; at < 16 + 2 * 96; ++at) {
    StoreFolder folder;
    {
      RowStore store(folder.options());
      for (int row : {1, 2}) store.write(hash_of(row), values_of(row, 2));
    }
    flip_byte(folder.segments()[0], at);
    RowStore store(folder.options());
    // Damage ends the segment where it is in a header, and costs one row where it is in values.
    const bool first = at >= 16 + 96, second = at >= 16 + 32 && at < 16 + 96;
    CHECK_EQ(holds(store, 1, 2), first);
    CHECK_EQ(holds(store, 2, 2), second);
    store.write(hash_of(1), values_of(1, 2));
    CHECK(holds(store, 1, 2));
  }
}

// What another program does to a segment while it is open, and after it was read.
TEST(a_segment_that_is_cut_off_or_changed_under_its_readers_costs_rows_and_nothing_else) {
  for (const bool own : {true, false}) {
    StoreFolder folder;
    RowStore writer(folder.options());
    for (int row : {1, 2, 3}) writer.write(hash_of(row), values_of(row, 2));
    RowStore reader(folder.options());
    auto& store = own ? writer : reader;
    for (int row : {1, 2, 3}) CHECK(holds(store, row, 2));
    const auto segment = folder.segments()[0];
    flip_byte(segment, 16 + 32 + 5);
    auto out = at::empty({2, 8}, at::kFloat);
    CHECK(!store.read(hash_of(1), out) && !store.has(hash_of(1), 2));
    CHECK(holds(store, 2, 2));
    fs::resize_file(segment, 16 + 96 + 32 + 1);
    CHECK(!store.read(hash_of(2), out) && !store.read(hash_of(3), out));
    fs::resize_file(segment, 0);
    CHECK(!store.read(hash_of(3), out));
    store.write(hash_of(4), values_of(4, 2));
    CHECK(holds(store, 4, 2));
  }
}

TEST(a_full_folder_gives_up_what_belongs_to_others_and_then_keeps_nothing_more) {
  StoreFolder folder;
  RowStore old(folder.options("old"));
  for (int row = 0; row < 10; ++row) old.write(hash_of(row), values_of(row, 2));
  auto options = folder.options();
  options.max_bytes = 16 + 10 * 96;
  RowStore store(options);
  for (int row = 0; row < 12; ++row) store.write(hash_of(row), values_of(row, 2));
  CHECK(store.full());
  CHECK(store.bytes() <= options.max_bytes);
  for (int row = 0; row < 12; ++row) CHECK_EQ(store.has(hash_of(row), 2), row < 9);
  CHECK(!RowStore(folder.options("old")).has(hash_of(0), 2));
  CHECK_EQ(folder.segments().size(), size_t{1});
}

TEST(a_folder_that_cannot_be_made_is_an_error_and_other_files_are_left_alone) {
  StoreFolder folder;
  fs::create_directories(folder.path);
  std::ofstream(folder.path / "model-1-notes.rows") << "not ours";
  std::ofstream(folder.path / "file") << "x";
  RowStore store(folder.options());
  store.write(hash_of(1), values_of(1, 1));
  CHECK(holds(store, 1, 1));
  CHECK_EQ(fs::file_size(folder.path / "model-1-notes.rows"), uintmax_t{8});
  auto options = folder.options();
  options.folder = (folder.path / "file" / "below").string();
  CHECK_THROWS(ErrorCode::file_io, RowStore(options));
}

TEST(hashes_tell_lengths_words_and_bytes_apart) {
  std::vector<std::string> contents = {"",
                                       std::string(1, '\0'),
                                       std::string(8, '\0'),
                                       std::string(9, '\0'),
                                       "abcdefgh",
                                       "abcdefgi",
                                       "hgfedcba",
                                       "abcdefghabcdefgh",
                                       "abcdefgh" + std::string(8, '\0')};
  std::set<std::string> seen;
  for (const auto& content : contents) {
    ContentHash hash;
    hash.add(content);
    CHECK_EQ(hash.hex().size(), size_t{32});
    seen.insert(hash.hex());
  }
  ContentHash parts;
  parts.add("abcd"), parts.add("efgh");
  seen.insert(parts.hex());
  CHECK_EQ(seen.size(), contents.size() + 1);
}
