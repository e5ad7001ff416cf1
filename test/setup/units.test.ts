import test, { type ExecutionContext } from 'ava'
import { repository, temporaryFolder, writeTree } from '../native/support.js'
import { script } from './script.js'

const { checkUnits } = await script<{ checkUnits(root: string): string[] }>('check-units.mjs')
const { definitionsIn } = await script<{ definitionsIn(source: string): Map<string, string> }>(
  'lib/cpp-definitions.mjs'
)

function check(t: ExecutionContext, files: Readonly<Record<string, string>>): string[] {
  const root = temporaryFolder(t)
  writeTree(root, files)
  return checkUnits(root)
}

test('no two C++ files of this repository that may be one unit have a name for different things', (t) => {
  t.deepEqual(checkUnits(repository), [])
})

const unnamed = (text: string) => `namespace ta {\nnamespace {\n${text}\n}  // namespace\n}  // namespace ta\n`

const wrong: Readonly<Record<string, [string, string, string]>> = {
  'two classes': ['class Reader final : public Base {};', 'struct Reader { int at = 0; };', 'ta::Reader'],
  'two enumerations': ['enum class Kind { a, b };', 'enum Kind : int { c };', 'ta::Kind'],
  'two functions of the same types': [
    'int rows(const at::Tensor& x, int64_t count = 1) { return 1; }',
    'static std::string rows(const Tensor& of, int64_t most) { return {}; }',
    'ta::rows(const Tensor &, int64_t)'
  ],
  'two templates of functions': [
    'template <class F>\nvoid each(const F& f) { f(); }',
    'template <typename Work, int N = 2> void each(const Work& work) {}',
    'ta::each(const T0 &)'
  ],
  'two constants': ['constexpr int kMost = 3;', 'const std::vector<int> kMost{1, 2};', 'ta::kMost'],
  'a list and a number': ['const Pair kNames[] = {{1, 2}};', 'thread_local int kNames = 1;', 'ta::kNames'],
  'a class and a function': ['class Wide {};', 'using Wide = int;', 'ta::Wide'],
  'two other names of types': ['using Kind = A::Kind;', 'using Kind = B::Kind;', 'ta::Kind']
}

for (const [what, [first, second, name]] of Object.entries(wrong)) {
  test(`found: ${what}`, (t) => {
    const [a, b] = ['native/core/nn/a.cc', 'native/core/nn/b.cc']
    t.deepEqual(check(t, { [a]: unnamed(first), [b]: unnamed(second) }), [
      `${a} and ${b} both have ${name}, and may be compiled as one unit: rename one`
    ])
    // Files of different folders never are one unit.
    t.deepEqual(check(t, { [a]: unnamed(first), 'native/core/models/b.cc': unnamed(second) }), [])
  })
}

test('found: a name of a header, also where tests open its namespace', (t) => {
  const header = 'namespace tools {\nstruct Threads {};\n}\n'
  const files = {
    'test/core/a.h': header,
    'test/core/a_test.cc': 'using namespace tools;\nTEST(a) {}\n',
    'test/core/b_test.cc': 'namespace {\nstruct Threads {};\n}\nTEST(b) {}\n'
  }
  t.deepEqual(check(t, files), [
    'test/core/a.h and test/core/b_test.cc both have Threads, and may be compiled as one unit: rename one'
  ])
  t.deepEqual(check(t, { ...files, 'test/core/a_test.cc': 'TEST(a) {}\n' }), [])
  const twice = { 'test/core/a_test.cc': 'TEST(rows) {}\n', 'test/core/b_test.cc': 'TEST(rows) {}\n' }
  t.is(check(t, twice).length, 1)
})

test('what may stand in both', (t) => {
  const both = [
    'using Kind = A::Kind;',
    'namespace fs = std::filesystem;',
    'class Known;',
    'int declared(int);',
    'static_assert(1 == 1);',
    '// class Commented {};',
    '#define WIDTH 3',
    '#ifdef _WIN32\nint opened(int x) { return x; }\n#endif'
  ].join('\n')
  const first = 'int overloaded(int x) { return x; }\nnamespace inner { struct Same {}; }'
  const second =
    'int overloaded(double x) { return "{"[0]; }\nstruct Same {};\nReader::Reader() : a_{1}, b_(2) { run(); }\nauto text = R"(struct Same {)";'
  t.deepEqual(
    check(t, { 'native/core/nn/a.cc': unnamed(both + first), 'native/core/nn/b.cc': unnamed(both + second) }),
    []
  )
})

test('what stands inside of classes and functions is theirs', (t) => {
  const source = `#include "core/a.h"
    namespace ta::exported {
    struct Outer { struct Inner {}; int run() { struct Local {}; return 1'000; } };
    Outer::Outer(int a) : a_{a}, b_{} { struct Other {}; }
    bool operator==(const Outer& a, const Outer& b) { return false; }
    template <>
    struct Hash<Outer> {};
    const auto kWork = [](int x) { struct Deep {}; return x; };
    [[nodiscard]] __attribute__((target("avx512f"))) int wide(float (&x)[4], unsigned char) { return 0; }
    }`
  t.deepEqual([...definitionsIn(source).keys()].sort(), [
    'ta::exported::Hash<Outer>',
    'ta::exported::Outer',
    'ta::exported::Outer::Outer(int)',
    'ta::exported::kWork',
    'ta::exported::operator==(const Outer &, const Outer &)',
    'ta::exported::wide(float ( & x ) [ 4 ], unsigned char)'
  ])
  t.throws(() => definitionsIn('namespace a { int x = (1;'), { message: /a bracket is not closed/ })
  t.throws(() => definitionsIn('namespace a { int x;'), { message: /a namespace is not closed/ })
  t.throws(() => definitionsIn('int x; }'), { message: /a bracket too many/ })
})
