// Damaged files of weights and adapters (fuzz.h).
#include <filesystem>

#include "core/state/atomic_file.h"
#include "core/state/json.h"
#include "core/state/key_names.h"
#include "core/state/pickle_reader.h"
#include "core/state/safetensors.h"
#include "core/state/torch_checkpoint.h"
#include "core/state/weights_file.h"
#include "core/state/zip_reader.h"
#include "core/state/zip_writer.h"
#include "fuzz.h"
#include "legacy_bytes.h"

namespace {

using check::fuzz;
using check::touch;

std::string record(const std::string& path, const std::string& ending) {
  const ta::ZipReader zip(ta::MappedFile::open(path));
  for (const ta::ZipEntry& entry : zip.entries()) {
    const auto bytes = zip.data(entry);
    if (entry.name.ends_with(ending)) return {bytes.begin(), bytes.end()};
  }
  return {};
}

}  // namespace

TEST(fuzz_json) {
  const std::string header =
      R"({"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]}})";
  fuzz("json",
       {header, R"([1,-2.5e10,"\u00e9\ud83d\ude00",{"a":[null,true,false,[[[[]]]]]}])",
        check::read_file(check::fixture("sharded_bin/pytorch_model.bin.index.json"))},
       [](const std::string& bytes) {
         const ta::Json json = ta::parse_json(bytes, "fuzz");
         // What was read can be written, and means the same again.
         const std::string written = ta::write_json(json);
         CHECK(ta::write_json(ta::parse_json(written, "again")) == written);
       });
}

TEST(fuzz_safetensors) {
  const check::TemporaryFolder folder;
  const std::string path = folder.file("w.safetensors");
  fuzz("safetensors", {check::read_file(check::fixture("every_dtype.safetensors"))}, [&](const std::string& bytes) {
    check::write_file(path, bytes);
    touch(ta::read_safetensors(path));
  });
}

TEST(fuzz_checkpoint_files) {
  const check::TemporaryFolder folder;
  const std::string path = folder.file("w.pt");
  std::vector<std::string> originals;
  for (const char* name : {"every_dtype.pt", "views.pt", "training.pt", "protocol4.pt"}) {
    originals.push_back(check::read_file(check::fixture(name)));
  }
  fuzz("checkpoint", originals, [&](const std::string& bytes) {
    check::write_file(path, bytes);
    touch(ta::read_state_dict(path));
  });
}

// No checksum stands between these and the reader.
TEST(fuzz_legacy_checkpoints) {
  const check::TemporaryFolder folder;
  const std::string path = folder.file("w.bin");
  fuzz("legacy checkpoint", {check::read_file(check::fixture("legacy.pt")), check::legacy_with_views()},
       [&](const std::string& bytes) {
         check::write_file(path, bytes);
         touch(ta::read_weights(path));
       });
}

// The same pickles without the checksum that would catch most mutations before the stack machine sees them.
TEST(fuzz_pickles) {
  std::vector<std::string> originals;
  for (const char* name : {"every_dtype.pt", "views.pt", "training.pt", "protocol4.pt", "module.bin"}) {
    originals.push_back(record(check::fixture(name), "/data.pkl"));
  }
  const ta::StorageLoader load = [](const ta::StorageId& id) {
    if (id.elements > 1000) ta::fail(ta::ErrorCode::file_format, "load", "too long for this test");
    return check::counting({id.elements}, id.dtype).storage();
  };
  fuzz("pickle", originals, [&](const std::string& bytes) {
    const std::string source = "fuzz";
    const ta::PickleValue value =
        ta::read_pickle({reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()}, load, source);
    touch(ta::to_state_dict(value, source));
  });
}

// Valid archives around damaged pickles and records, so that the whole reader runs.
TEST(fuzz_records) {
  const check::TemporaryFolder folder;
  const std::string source = check::fixture("every_dtype.pt");
  const std::string pickle = record(source, "/data.pkl");
  const ta::ZipReader original(ta::MappedFile::open(source));
  fuzz("records", {pickle}, [&](const std::string& bytes) {
    {
      ta::AtomicFile file(folder.file("w.pt"));
      ta::ZipWriter zip(file);
      zip.add("x/data.pkl", bytes);
      for (const ta::ZipEntry& entry : original.entries()) {
        const std::size_t data = entry.name.find("/data/");
        const auto content = original.data(entry);
        if (data != std::string::npos) zip.add("x" + entry.name.substr(data), content.data(), content.size());
      }
      zip.finish();
      file.commit();
    }
    touch(ta::read_weights(folder.file("w.pt")));
  });
}

TEST(fuzz_key_names) {
  const std::string keys =
      "bert.encoder.layer.0.output.adapters.a.adapter_down.0.weight\nadapter_down.1.bias\n"
      "heads.a.1.weight\nl.adapter_fusion_layer.a,b.query.bias\nadapter_norm_before.weight\n..\n";
  fuzz("key names", {keys}, [](const std::string& bytes) {
    std::vector<std::string> lines;
    std::istringstream stream(bytes);
    for (std::string line; std::getline(stream, line);) lines.push_back(line);
    for (const std::string& line : lines) {
      CHECK_EQ(ta::rename_owner(line, {ta::KeyOwner::Kind::adapter, "none"}, "x"), line);
      ta::modern_key(line);
      CHECK_EQ(ta::strip_base_prefix("p." + line, "p"), line);
    }
    ta::convert_keys(lines, ta::KeyDialect::plain);
    ta::convert_keys(lines, ta::KeyDialect::adapterhub);
    // Something must be refused for the count above: a name given in two dialects.
    if (bytes.find("adapter_down.1.bias") == std::string::npos) ta::parse_key_dialect("none");
  });
}
