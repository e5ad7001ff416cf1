import * as check from '../config/check.js'
import type { HeadConfig } from '../config/head-config.js'
import { contentFields, numberFields } from './row-fields.js'

type Fields = Readonly<Record<string, unknown>>
type HeadType = HeadConfig['headType']

/** Fields that heads of one kind alone read, and how such a head is made. */
const owners = {
  multiple_choice: 'addMultipleChoiceHead, on the command line --head multiple-choice',
  question_answering: 'addQuestionAnsweringHead, on the command line --head question-answering'
} satisfies Partial<Record<HeadType, string>>

/**
 * Whether a head can read a row. One may have fields of the caller's own, but not what another kind of head is asked by: it
 * would answer, or learn, without them and say nothing.
 */
export function checkSuits(row: object, { headType }: Pick<HeadConfig, 'headType'>, name: string): void {
  const given = row as Fields
  const content = [...contentFields, ...numberFields].filter((field) => given[field] != null)
  if (headType !== 'multiple_choice' && Array.isArray(given['choices']))
    throw other(name, headType, 'choices', 'multiple_choice')
  switch (headType) {
    case 'multiple_choice':
      checkChoices(given, content, name)
      break
    case 'question_answering':
      checkQuestion(given, name)
      break
    case 'dependency_parsing':
      if (given['words'] != null) break
      throw lacks(name, 'a head of kind dependency_parsing finds heads of words: expected words', given)
    default: {
      if (given['question'] == null || given['context'] == null || content.length > 0) break
      const pair = ', or write text and textPair for a pair'
      throw other(name, headType, 'question and context', 'question_answering', pair)
    }
  }
}

function other(name: string, headType: HeadType, fields: string, owner: keyof typeof owners, instead = ''): Error {
  const message = `a head of kind ${headType} does not read ${fields}, which a head of kind ${owner} does`
  return check.valueError(name, `${message}: add such a head (${owners[owner]}), or leave ${fields} out${instead}`)
}

const lacks = (name: string, message: string, given: Fields): Error =>
  check.valueError(name, `${message}, got ${Object.keys(given).join(', ')}`)

function checkChoices(given: Fields, content: readonly string[], name: string): void {
  if (given['choices'] == null)
    throw lacks(name, 'a head of kind multiple_choice chooses among several texts: expected choices', given)
  const ignored = content.find((field) => field !== 'text')
  if (ignored === undefined) return
  const message = 'a head of kind multiple_choice reads choices with or without a text'
  throw check.valueError(name, `${message}: leave ${ignored} out`)
}

function checkQuestion(given: Fields, name: string): void {
  const { inputIds, words, text, textPair, question = text, context = textPair, answers, answerText } = given
  if (inputIds != null) return
  if (words == null && (question == null || context == null)) {
    const reads = 'a head of kind question_answering reads a question and its context, or text and textPair'
    throw lacks(name, `${reads}: expected ${question == null ? 'question' : 'context'}`, given)
  }
  const places = ['startPosition', 'endPosition'].filter((field) => given[field] != null)
  if (places.length === 0 || answers != null || answerText != null) return
  const message = `${places.join(' and ')} count the tokens of inputIds, and this row is text`
  throw check.valueError(name, `${message}: expected answers: { text: ['…'], answer_start: [0] }`)
}
