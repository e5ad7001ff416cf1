import test from 'ava'
import { didYouMean, editDistance, nearest } from '../../lib/config/nearest.js'

test('editDistance counts insertions, deletions, substitutions and swaps', (t) => {
  t.is(editDistance('', 'abc'), 3)
  t.is(editDistance('kitten', 'sitting'), 3)
  t.is(editDistance('adn', 'and'), 1)
  t.is(editDistance('same', 'same'), 0)
})

test('nearest ignores case and word separators', (t) => {
  t.is(nearest('num_train_epochs', ['numTrainEpochs', 'maxSteps']), 'numTrainEpochs')
  t.is(nearest('reductionFacotr', ['reductionFactor', 'dropout']), 'reductionFactor')
})

test('nearest names the only choice that begins so', (t) => {
  t.is(nearest('out', new Set(['output', 'report']).values()), 'output')
  t.is(nearest('warmup', ['warmupRatio', 'warmupSteps']), undefined)
  t.is(nearest('or', ['organisation']), undefined)
})

test('nearest names the only choice that has the same words, in short or among others', (t) => {
  const choices = ['numTrainEpochs', 'saveTotalLimit', 'gradientAccumulationSteps', 'saveSteps']
  t.is(nearest('numEpoch', choices), 'numTrainEpochs')
  t.is(nearest('saveLimit', choices), 'saveTotalLimit')
  t.is(nearest('grad_accumulation', choices), 'gradientAccumulationSteps')
  t.is(nearest('limitSave', choices), undefined)
  t.is(nearest('accumSteps', ['evalAccumulationSteps', ...choices]), undefined)
  t.is(nearest('a-bc', choices), undefined)
})

test('nearest names nothing when nothing is near', (t) => {
  t.is(nearest('zebra', ['reductionFactor', 'dropout']), undefined)
  t.is(nearest('x'.repeat(100_000), ['x']), undefined)
  t.is(nearest('z', ['x', 'y']), undefined)
  t.is(nearest('ax', ['ay', 'b']), 'ay')
  t.is(didYouMean('zebra', ['dropout']), '')
  t.is(didYouMean('dropuot', ['dropout']), " Did you mean 'dropout'?")
})
