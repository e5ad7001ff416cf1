// A graph written by hand that has everything which transformers' rarely have: a branch, a region without gradients,
// lists of tensors, arithmetic on sizes, numbers where tensors belong, a buffer that is counted up. And what is refused
// of it.
#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/relu.h>
#include <ATen/ops/tanh.h>

#include "exported_archives.h"

namespace {

std::string tensor_argument(const std::string& name, const std::string& value) {
  return R"({"name":")" + name + R"(","arg":{"as_tensor":{"name":")" + value + R"("}},"kind":1})";
}
std::string plain_argument(const std::string& name, const std::string& value) {
  return R"({"name":")" + name + R"(","arg":)" + value + R"(,"kind":1})";
}
std::string made(const std::string& name) {
  return R"({"as_tensor":{"name":")" + name + R"("}})";
}

std::string graph_node(const std::string& target, const std::string& inputs, const std::string& outputs,
                       const std::string& module = "top") {
  return R"({"target":")" + target + R"(","inputs":[)" + inputs + R"(],"outputs":[)" + outputs +
         R"(],"metadata":{"nn_module_stack":"r,,pkg.Net;r_m,)" + module + R"(,pkg.Part"},"name":"n"})";
}

// A graph of one node, as it stands inside a region or a branch.
std::string inner_graph(const std::string& target, const std::string& inputs, const std::string& result) {
  return R"({"as_graph":{"name":"g","graph":{"inputs":[)" + made("h") + R"(],"outputs":[)" + made(result) +
         R"(],"nodes":[)" + graph_node(target, inputs, made(result)) + R"(],"tensor_values":{}}}})";
}

std::string meta(const std::string& name, int dtype, const std::string& sizes) {
  return "\"" + name + R"(":{"dtype":)" + std::to_string(dtype) + R"(,"sizes":[)" + sizes + "]}";
}

std::string model_json() {
  const std::string symbol = R"j({"as_expr":{"expr_str":"Symbol('s0', positive=True, integer=True)"}})j";
  const std::string two = R"({"as_int":2})";
  std::vector<std::string> nodes = {
      graph_node("torch.ops.aten.add_.Tensor", tensor_argument("self", "b_count") + "," + plain_argument("other", two),
                 made("counted")),
      graph_node("torch.ops.aten.linear.default",
                 tensor_argument("input", "x") + "," + tensor_argument("weight", "p_w"), made("product"), "top.linear"),
      graph_node("torch.ops.aten.chunk.default",
                 tensor_argument("self", "product") + "," + plain_argument("chunks", two) + "," +
                     plain_argument("dim", R"({"as_int":-1})"),
                 R"({"as_tensors":[{"name":"a"},{"name":"b"}]})"),
      graph_node("torch.ops.aten.cat.default",
                 plain_argument("tensors", R"({"as_tensors":[{"name":"b"},{"name":"a"}]})") + "," +
                     plain_argument("dim", R"({"as_int":-1})"),
                 made("swapped")),
      graph_node("torch.ops.aten.mul.Tensor",
                 tensor_argument("self", "swapped") + "," + plain_argument("other", R"({"as_float":0.5})"),
                 made("half")),
      graph_node("torch.ops.higher_order.wrap_with_set_grad_enabled",
                 plain_argument("", R"({"as_bool":false})") + "," +
                     plain_argument("", inner_graph("torch.ops.aten.mul.Tensor",
                                                    tensor_argument("self", "h") + "," + tensor_argument("other", "h"),
                                                    "square")) +
                     "," + tensor_argument("", "half"),
                 made("squared")),
      graph_node("torch.ops.aten.sum.default", tensor_argument("self", "x"), made("total")),
      graph_node("torch.ops.aten.gt.Scalar",
                 tensor_argument("self", "total") + "," + plain_argument("other", R"({"as_int":0})"), made("positive")),
      graph_node("torch.ops.higher_order.cond",
                 tensor_argument("", "positive") + "," +
                     plain_argument("", inner_graph("torch.ops.aten.relu.default", tensor_argument("self", "h"), "r")) +
                     "," +
                     plain_argument("", inner_graph("torch.ops.aten.tanh.default", tensor_argument("self", "h"), "t")) +
                     "," + plain_argument("", R"({"as_tensors":[{"name":"half"}]})"),
                 made("chosen")),
      graph_node("torch.ops.aten.sym_size.int",
                 tensor_argument("self", "x") + "," + plain_argument("dim", R"({"as_int":0})"),
                 R"({"as_sym_int":{"as_name":"rows"}})"),
      graph_node("_operator.mul",
                 plain_argument("a", R"({"as_sym_int":{"as_name":"rows"}})") + "," + plain_argument("b", two),
                 R"({"as_sym_int":{"as_name":"count"}})"),
      graph_node("torch.ops.aten.view.default",
                 tensor_argument("self", "chosen") + "," +
                     plain_argument("size", R"({"as_sym_ints":[{"as_name":"count"},{"as_int":1}]})"),
                 made("flat"))};
  std::string list;
  for (const std::string& one : nodes) list += (list.empty() ? "" : ",") + one;
  return R"({"graph_module":{"graph":{"inputs":[)" + made("p_w") + "," + made("b_count") + "," + made("x") +
         R"(],"outputs":[)" + made("flat") + "," + made("squared") + R"(,{"as_none":true},{"as_int":3}],"nodes":[)" +
         list + R"(],"tensor_values":{)" + meta("p_w", 7, two + "," + two) + "," + meta("b_count", 5, "") + "," +
         meta("x", 7, symbol + "," + two) + R"(}},"signature":{"input_specs":[)" +
         R"({"parameter":{"arg":{"name":"p_w"},"parameter_name":"top.linear.weight"}},)" +
         R"({"buffer":{"arg":{"name":"b_count"},"buffer_name":"count","persistent":true}},)" +
         R"({"user_input":{"arg":{"as_tensor":{"name":"x"}}}}],"output_specs":[]},"module_call_graph":[]},)" +
         R"("range_constraints":{"s0":{"min_val":2,"max_val":8}},"schema_version":{"major":8,"minor":20}})";
}

std::string table_entry(const std::string& file, int dtype, const std::string& sizes, const std::string& strides) {
  return R"({"path_name":")" + file + R"(","is_param":true,"use_pickle":false,"tensor_meta":{"dtype":)" +
         std::to_string(dtype) + R"(,"sizes":[)" + sizes + R"(],"strides":[)" + strides +
         R"(],"storage_offset":{"as_int":0},"layout":7}})";
}

const std::vector<float> weight_values = {1, 2, -3, 4};

std::string weights_json() {
  return R"({"config":{"top.linear.weight":)" +
         table_entry("weight_0", 7, R"({"as_int":2},{"as_int":2})", R"({"as_int":2},{"as_int":1})") + R"(,"count":)" +
         table_entry("weight_1", 5, "", "") + "}}";
}

std::string write_model(const check::TemporaryFolder& folder, const std::string& model, const std::string& weights,
                        const std::string& format = "pt2") {
  const std::string path = folder.file("m.pt2");
  ta::AtomicFile file(path);
  ta::ZipWriter zip(file);
  const int64_t count = 7;
  zip.add("net/archive_format", format);
  zip.add("net/byteorder", "little");
  zip.add("net/models/model.json", model);
  zip.add("net/data/weights/model_weights_config.json", weights);
  zip.add("net/data/weights/weight_0", weight_values.data(), weight_values.size() * sizeof(float));
  zip.add("net/data/weights/weight_1", &count, sizeof count);
  zip.add("net/data/constants/model_constants_config.json", R"({"config":{}})");
  zip.add("net/extra/note.txt", "hello");
  zip.finish();
  file.commit();
  return path;
}

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  const std::size_t at = text.find(from);
  CHECK(at != std::string::npos);
  return at == std::string::npos ? text : text.replace(at, from.size(), to);
}

}  // namespace

TEST(exported_graph_by_hand) {
  const check::TemporaryFolder folder;
  const check::Exported model(write_model(folder, model_json(), weights_json()));
  CHECK_EQ(std::string(model.archive.extra().at("note.txt")), std::string("hello"));
  const at::Tensor weight = check::tensor({1, 2, -3, 4}, {2, 2});
  for (const double sign : {1.0, -1.0}) {
    const at::Tensor x = (check::tensor({1, 2, 3, -1, 2, 2}, {3, 2}) * sign).requires_grad_(true);
    const std::vector<at::Tensor> outputs = model.run({x});
    CHECK_EQ(outputs.size(), 2u);
    const at::Tensor product = at::linear(x, weight);
    const at::Tensor half = at::cat({product.slice(1, 1, 2), product.slice(1, 0, 1)}, 1) * 0.5;
    CHECK(at::equal(outputs[0], (sign > 0 ? at::relu(half) : at::tanh(half)).view({6, 1})));
    CHECK(at::equal(outputs[1], half * half));
    CHECK(outputs[0].requires_grad());
    CHECK(!outputs[1].requires_grad());
  }
  // The buffer lies in read-only memory: counting it would have ended the program.
  CHECK_EQ(model.archive.weights().at("count").item<int64_t>(), 7);
}

TEST(exported_graph_knows_its_parts) {
  const check::TemporaryFolder folder;
  const check::Exported model(write_model(folder, model_json(), weights_json()));
  const ta::exported::Graph& graph = model.program.graph();
  CHECK_EQ(graph.nodes.size(), 12u);
  CHECK_EQ(graph.branches.size(), 2u);
  CHECK_EQ(graph.nodes[5].no_grad, true);
  const int32_t linear = graph.find_module("top.linear");
  CHECK_EQ(graph.modules[static_cast<std::size_t>(linear)].type, std::string("Part"));
  CHECK_EQ(graph.enclosing(linear).size(), 3u);
  const ta::exported::ModuleCall& call = graph.modules[static_cast<std::size_t>(linear)].calls.at(0);
  CHECK_EQ(call.nodes.first, 1);
  CHECK_EQ(call.nodes.size(), 1);
  CHECK_EQ(graph.slots[static_cast<std::size_t>(graph.leaving(call.nodes).at(0))].name, std::string("product"));
  CHECK_EQ(graph.slots[static_cast<std::size_t>(graph.entering(call.nodes).at(0))].name, std::string("x"));
  CHECK_EQ(graph.symbols.at(0).text, std::string("s0"));
  CHECK_EQ(graph.symbols.at(0).most, int64_t{8});
  CHECK_THROWS(ta::ErrorCode::out_of_range, model.run({check::counting({9, 2})}));
  CHECK_EQ(model.run({check::counting({1, 2})}).size(), 2u);
}

TEST(exported_graphs_are_refused) {
  const check::TemporaryFolder folder;
  const auto refused = [&](ta::ErrorCode code, const std::string& from, const std::string& to) {
    const std::string path = write_model(folder, replaced(model_json(), from, to), weights_json());
    return CHECK_THROWS(code, check::Exported(path));
  };
  using ta::ErrorCode;
  for (const char* op : {"aten.as_strided.default", "aten.empty.memory_format", "aten.from_file.default",
                         "aten.linear.out", "mylib.linear.default", "aten.no_such.default", "prims.add.default"}) {
    const std::string message = refused(ErrorCode::unsupported, "aten.linear.default", op);
    CHECK(check::contains(message, op));
    CHECK(check::contains(message, "top.linear"));
  }
  refused(ErrorCode::unsupported, "_operator.mul", "builtins.eval");
  refused(ErrorCode::unsupported, R"("major":8)", R"("major":9)");
  refused(ErrorCode::unsupported, R"("output_specs":[])", R"("output_specs":[{"buffer_mutation":{}}])");
  refused(ErrorCode::unsupported, "add_.Tensor\",\"inputs\":[" + tensor_argument("self", "b_count"),
          "add_.Tensor\",\"inputs\":[" + tensor_argument("self", "p_w"));
  refused(ErrorCode::unsupported, "wrap_with_set_grad_enabled", "flex_attention");
  refused(ErrorCode::file_format, tensor_argument("weight", "p_w"), tensor_argument("weight", "later"));
  refused(ErrorCode::file_format, tensor_argument("weight", "p_w"), tensor_argument("wait", "p_w"));
  refused(ErrorCode::file_format, tensor_argument("weight", "p_w"), plain_argument("weight", R"({"as_string":"w"})"));
  refused(ErrorCode::file_format, "," + tensor_argument("weight", "p_w"), "");
  refused(ErrorCode::file_format, made("product"), made("x"));
  refused(ErrorCode::file_format, R"({"as_name":"count"},{"as_int":1})", R"({"as_name":"half"},{"as_int":1})");
  refused(ErrorCode::file_format, R"("dtype":7)", R"("dtype":"7")");
}

TEST(exported_tables_are_refused) {
  const check::TemporaryFolder folder;
  const auto refused = [&](ta::ErrorCode code, const std::string& from, const std::string& to) {
    const std::string path = write_model(folder, model_json(), replaced(weights_json(), from, to));
    return CHECK_THROWS(code, check::Exported(path));
  };
  using ta::ErrorCode;
  CHECK(check::contains(refused(ErrorCode::unsupported, R"("use_pickle":false)", R"("use_pickle":true)"), "pickle"));
  refused(ErrorCode::unsupported, R"("layout":7)", R"("layout":1)");
  CHECK(check::contains(refused(ErrorCode::unsupported, R"("dtype":7)", R"("dtype":11)"), "complex128"));
  refused(ErrorCode::unsupported, R"("dtype":7)", R"("dtype":21)");
  refused(ErrorCode::unsupported, "weight_0", "weight_7");
  refused(ErrorCode::file_format, R"("sizes":[{"as_int":2})", R"("sizes":[{"as_int":3})");
  refused(ErrorCode::file_format, R"("storage_offset":{"as_int":0})", R"("storage_offset":{"as_int":-1})");
  refused(ErrorCode::file_format, R"("strides":[{"as_int":2})", R"("strides":[{"as_int":9223372036854775807})");
  refused(ErrorCode::state_dict, R"("count":)", R"("counted":)");
  CHECK_THROWS(ErrorCode::file_format, check::Exported(write_model(folder, model_json(), weights_json(), "pt1")));
}
