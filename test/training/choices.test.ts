import test from 'ava'
import { AdapterTrainer, evaluate, type Row, Stack, setNumThreads } from '../../lib/index.js'
import { textScore } from '../../lib/training/answer-metrics.js'
import { largestDifference, quiet } from '../model/support.js'
import { args, choices, load, parses, questions, relations, withAll } from './choice-rows.js'

test.before(() => setNumThreads(1))

test('a question answering head learns, is measured as SQuAD has it, and answers with the words of the context', async (t) => {
  const model = await load(t)
  model.addAdapter('qa', 'double_seq_bn[reduction_factor=2]')
  model.addQuestionAnsweringHead('qa')
  model.trainAdapter('qa')
  await new AdapterTrainer({ model, trainDataset: questions, args }).train()
  const { metrics, rows: count } = await evaluate(model, questions)
  t.is(count, 24)
  t.deepEqual(Object.keys(metrics), ['exactMatch', 'f1'])
  t.true((metrics.exactMatch ?? 0) > 0.9, JSON.stringify(metrics))
  const context = 'The tower is in Rome.'
  const rows: Row[] = [
    { question: 'Where is the tower?', context },
    { text: 'where is the tower?', textPair: context, label: 'ignored' }
  ]
  for (const answer of await model.predict(rows, { answerCount: 3 })) {
    t.like(answer, { answer: 'Rome', start: context.indexOf('Rome'), end: context.indexOf('Rome') + 4 })
    t.is(answer.answers?.length, 3)
  }
  // More tokens than the model has positions: several windows.
  const long = 'The park is the park. '.repeat(8)
  const [found] = await model.predict([{ question: 'Where is the tower?', context: long }])
  t.true((found?.logits.length ?? 0) > 2 * 24)
  t.is(long.slice(found?.start, found?.end), found?.answer ?? '')
})

test('a multiple choice head takes any number of choices a row', async (t) => {
  const model = await load(t)
  model.addAdapter('mc', 'double_seq_bn[reduction_factor=2]')
  model.addMultipleChoiceHead('mc')
  model.trainAdapter('mc')
  await new AdapterTrainer({ model, trainDataset: choices, args }).train()
  const { metrics } = await evaluate(model, choices)
  t.true((metrics.accuracy ?? 0) > 0.9, JSON.stringify(metrics))
  const [answer] = await model.predict([{ text: 'where is the park', choices: ['tower', 'river', 'park', 'oslo'] }])
  t.like(answer, { label: 'oslo', labelId: 3 })
  t.is(answer?.scores?.length, 4)
})

test('a parsing head learns heads and relations of words, and answers with a tree', async (t) => {
  const model = await load(t)
  model.addAdapter('parse', 'double_seq_bn[reduction_factor=2]')
  model.addDependencyParsingHead('parse', { labels: relations })
  model.trainAdapter('parse')
  await new AdapterTrainer({ model, trainDataset: parses, args: { ...args, numTrainEpochs: 20 } }).train()
  const { metrics } = await evaluate(model, parses)
  t.true((metrics.uas ?? 0) > 0.9 && (metrics.las ?? 0) > 0.9, JSON.stringify(metrics))
  const [answer] = await model.predict([{ words: ['the', 'tower', 'is', 'in', 'rome'] }])
  t.deepEqual(
    answer?.tokens?.map(({ head }) => head),
    [2, 5, 5, 5, 0]
  )
  t.deepEqual(
    answer?.tokens?.map(({ label }) => label),
    ['det', 'nsubj', 'cop', 'case', 'root']
  )
})

test('rows of all heads in one call answer as each does alone', async (t) => {
  const model = await withAll(t)
  const context = 'The tower is in Paris. '.repeat(6)
  const rows: Row[] = [
    { question: 'where?', context },
    { words: ['the', 'tower', 'is'] },
    { text: 'where is the park', choices: ['tower', 'rome in the park', 'oslo'] },
    { text: 'the tower' },
    { question: 'is the tower in the park?', context: 'in Oslo' }
  ]
  const adapters = ['qa', 'parse', 'mc', 'mood', 'qa']
  const together = await model.predict(rows, { adapters, batchSize: 3 })
  for (const [i, row] of rows.entries()) {
    const [alone] = await model.predict([row], { adapters: [adapters[i] as string] })
    t.true(largestDifference(together[i]?.logits ?? new Float32Array(), alone?.logits ?? new Float32Array()) < 1e-5)
    t.is(together[i]?.answer, alone?.answer)
    t.is(together[i]?.label, alone?.label)
  }
})

test('threads share questions, windows and parses without a change of the loss', async (t) => {
  const model = await withAll(t)
  for (const [name, rows] of [
    ['qa', questions],
    ['mc', choices],
    ['parse', parses]
  ] as const) {
    model.setActiveAdapters(Stack('mood', name))
    const losses = []
    for (const threads of [1, 2]) {
      setNumThreads(threads)
      losses.push((await evaluate(model, rows, { batchSize: 24 })).loss)
    }
    setNumThreads(1)
    t.true(Math.abs((losses[0] ?? 0) - (losses[1] ?? 1)) < 1e-5, `${name}: ${losses}`)
  }
})

test('rows that a head cannot read are refused with what it needs', async (t) => {
  const model = await withAll(t)
  const fails = (row: Row, head: string, message: RegExp) =>
    t.throwsAsync(model.predict([row], { adapters: head }), { message })
  await fails({ text: 'a' }, 'mc', /kind multiple_choice chooses among several texts: expected choices, got text$/)
  await fails(
    { text: 'a', textPair: null },
    'qa',
    /kind question_answering reads .*: expected context, got text, textPair$/
  )
  await fails({ text: 'a', textPair: 'x', choices: ['b', 'c'] } as unknown as Row, 'mc', /got textPair/)
  await fails({ text: 'a' }, 'parse', /kind dependency_parsing finds heads of words: expected words, got text$/)
  // What another kind of head is asked by is not passed over, in whatever call.
  const asked = [
    [
      'mood',
      { question: 'a', context: 'b' },
      /head of kind classification does not read question and context.*textPair/
    ],
    [
      'mood',
      { text: 'a', choices: ['b', 'c'] },
      /kind classification does not read choices.*\(addMultipleChoiceHead,.*out$/
    ],
    ['qa', { text: 'a', textPair: 'b', choices: ['c'] }, /kind question_answering does not read choices/],
    ['mc', { inputIds: [5, 6], choices: ['b', 'c'] }, /kind multiple_choice reads choices .* leave inputIds out/],
    ['mc', { question: 'a', context: 'b' }, /expected choices/]
  ] as const
  for (const [head, row, message] of asked) {
    await fails(row as unknown as Row, head, message)
    const labelled = [{ ...row, label: head === 'mc' ? 0 : 'good' }] as unknown as Row[]
    await t.throwsAsync(evaluate(model, labelled, { adapters: head }), { message })
    model.trainAdapter(head)
    const trainer = new AdapterTrainer({ model, trainDataset: labelled, args: quiet })
    await t.throwsAsync(trainer.train(), { message })
  }
  // A list alone is asked; a word under such a name is the caller's own.
  await t.notThrowsAsync(model.predict([{ text: 'a', choices: 'many', context: 'b' } as Row], { adapters: 'mood' }))
  model.trainAdapter('qa')
  const places = { question: 'a', context: 'b', startPosition: 1, endPosition: 2 } as unknown as Row
  await t.throwsAsync(evaluate(model, [places]), {
    message: /startPosition and endPosition count the tokens of inputIds/
  })
  await t.notThrowsAsync(model.predict([places]))
  model.trainAdapter('mc')
  const train = (rows: Row[]) => new AdapterTrainer({ model, trainDataset: rows, args: quiet }).train()
  await t.throwsAsync(train([{ text: 'a', choices: ['b', 'c'], label: 2 }]), {
    message: /trainDataset\[0\]\.label.*0 up to 1/
  })
  await t.throwsAsync(train([{ text: 'a', choices: ['b', 'c'] }]), { code: 'ERR_NO_LABELS' })
  model.trainAdapter('parse')
  await t.throwsAsync(train([{ words: ['a', 'b'], heads: [0], relations: ['det', 'det'] }]), {
    message: /1 heads for 2 words/
  })
  await t.throwsAsync(train([{ words: ['a'], heads: [2], relations: ['det'] }]), { message: /heads\[0\].*0 up to 1/ })
  for (const heads of [
    [2, 1, 0],
    [0, 2, 1],
    [2, 3, 2]
  ]) {
    await t.throwsAsync(train([{ words: ['a', 'b', 'c'], heads, relations: ['det', 'det', 'det'] }]), {
      message: /trainDataset\[0\]\.heads: expected a tree, but the heads of word \d go in a circle/
    })
  }
})

// From SQuAD's evaluate-v1.1.py.
test('exact match and F1 set aside case, punctuation and articles', (t) => {
  t.deepEqual(textScore('The Eiffel tower!', 'eiffel  Tower'), [1, 1])
  t.deepEqual(textScore('in Paris', 'Paris'), [0, 2 / 3])
  t.deepEqual(textScore('Rome', 'Paris'), [0, 0])
  t.deepEqual(textScore('', 'Paris'), [0, 0])
  t.deepEqual(textScore('the', 'a'), [1, 1])
  // An article is a word of its own in every script, and white space is Python's.
  t.deepEqual(textScore('維生素a', '維生素'), [0, 0])
  t.deepEqual(textScore('España', 'Españ'), [0, 0])
  t.deepEqual(textScore('ağaç evi', 'evi'), [0, 2 / 3])
  t.deepEqual(textScore('œ the é', 'œ é'), [1, 1])
  t.deepEqual(textScore('x\x1cy\x85z', 'x y z'), [1, 1])
  t.deepEqual(textScore('\ufeffx', 'x'), [0, 0])
})
