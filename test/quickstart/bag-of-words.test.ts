import test from 'ava'
import { script } from '../setup/script.js'
import type { BagOfWordsModule, Measures, Tasks, Wordnet } from './types.js'

const { readWordnet } = await script<Wordnet>('quickstart/wordnet.mjs')
const { taskBuilders } = await script<Tasks>('quickstart/tasks.mjs')
const { BagOfWords } = await script<BagOfWordsModule>('quickstart/bag-of-words.mjs')
const { measure, measureTags } = await script<Measures>('quickstart/measures.mjs')

test('a bag of words learns the classes of definitions, the same way twice', (t) => {
  const task = taskBuilders.lexname(readWordnet())
  const answers = [1, 2].map(() => {
    const bag = new BagOfWords(task.labels.length)
    bag.train(task.train.slice(0, 10_000))
    return bag.predict(task.test)
  })
  t.deepEqual(answers[0], answers[1])
  const truth = task.test.map((row) => row.label)
  // 0.610 measured; 0.123 is the largest class alone.
  t.true(measure(answers[0] ?? [], truth, task.labels.length).accuracy > 0.58)
})

test('it tells the two texts of a pair apart', (t) => {
  const words = ['oak', 'elm', 'fox', 'owl', 'cod', 'bee']
  const rows = words.flatMap((a) => words.map((b) => ({ text: a, textPair: b, label: a < b ? 1 : 0 })))
  const bag = new BagOfWords(2)
  bag.train(Array.from({ length: 40 }, () => rows).flat())
  const right = bag.predict(rows).filter((answer, i) => answer === rows[i]?.label)
  t.true(right.length >= 33, `${right.length} of 36`)
})

test('a bag of words knows the words of every script', (t) => {
  const texts = [
    ['кошка ловит мышей', 'поезд едет быстро'],
    ['η γάτα κοιμάται', 'το τρένο φεύγει'],
    ['我喜欢猫', '火车很快'],
    ['Übermut tut selten gut', 'Ärger bleibt']
  ]
  for (const pair of texts) {
    const rows = pair.map((text, label) => ({ text, label }))
    const bag = new BagOfWords(2)
    bag.train(Array.from({ length: 20 }, () => rows).flat())
    t.deepEqual(bag.predict(rows), [0, 1])
  }
  // One weight for each word and label: no word is torn apart, and text without spaces is more than one.
  const counted = (text: string) => {
    const bag = new BagOfWords(2)
    bag.train([0, 1].map((label) => ({ text, label })))
    return bag.parameters / 2 - 1
  }
  t.is(counted('Übermut tut gut'), 3)
  t.is(counted('我喜欢猫'), 3)
})

// Label 0: 2 of 3 right and 2 answered; label 1: 1 of 1 right, 2 answered; label 2 never occurs.
test('accuracy and macro-F1', (t) => {
  const { accuracy, macroF1 } = measure([0, 0, 1, 1], [0, 0, 0, 1], 3)
  t.is(accuracy, 3 / 4)
  t.is(macroF1, (4 / 5 + 2 / 3) / 2)
})

test('tags: rows that are right as a whole, and F1 over words', (t) => {
  const { accuracy, macroF1 } = measureTags(
    [
      [0, 1, 0],
      [1, 1]
    ],
    [
      [0, 1, 0],
      [0, 1]
    ]
  )
  t.is(accuracy, 1 / 2)
  t.is(macroF1, 4 / 5)
})
