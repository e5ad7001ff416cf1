import test from 'ava'
import { setNumThreads } from '../../lib/index.js'
import { loadAddon } from '../../lib/native/addon.js'

test('setNumThreads sets the threads of libtorch', (t) => {
  for (const count of [2, 1]) {
    setNumThreads(count)
    t.is(loadAddon().systemInfo().threads, count)
  }
})

test('a thread count is a whole number from 1', (t) => {
  t.throws(() => setNumThreads(0), { instanceOf: RangeError, message: /threads/ })
  t.throws(() => setNumThreads(1.5), { message: /threads/ })
  t.throws(() => setNumThreads(50_000), { message: /up to 1024/ })
  t.throws(() => setNumThreads('2' as unknown as number), { instanceOf: TypeError })
})
