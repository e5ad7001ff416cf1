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
 * A row may have fields of the caller's own, but not what another head is asked by: it would answer, or learn, without them
 * and say nothing.
 */
export function checkSuits(row: object, { headType }: Pick<HeadConfig, 'headType'>, name: string): void {
  const given = row as Fields
  const content = [...contentFields, ...numberFields].filter((field) => given[field] != null)
  if (headType === 'multiple_choice') {
    const other = content.find((field) => field !== 'text')
    if (other !== undefined && given['choices'] != null)
      throw check.valueError(
        name,
        `a head of kind ${headType} reads choices with or without a text: leave ${other} out`
      )
    return
  }
  if (Array.isArray(given['choices'])) refuse(name, headType, 'choices', 'multiple_choice', '')
  if (headType === 'question_answering') checkQuestion(given, name)
  else if (given['question'] != null && given['context'] != null && content.length === 0)
    refuse(name, headType, 'question and context', 'question_answering', ', or write text and textPair for a pair')
}

function refuse(name: string, headType: HeadType, fields: string, owner: keyof typeof owners, other: string): never {
  const message = `a head of kind ${headType} does not read ${fields}, which a head of kind ${owner} does`
  throw check.valueError(name, `${message}: add such a head (${owners[owner]}), or leave ${fields} out${other}`)
}

function checkQuestion(given: Fields, name: string): void {
  if (given['inputIds'] != null || given['answers'] != null || given['answerText'] != null) return
  const places = ['startPosition', 'endPosition'].filter((field) => given[field] != null)
  if (places.length === 0) return
  const message = `${places.join(' and ')} count the tokens of inputIds, and this row is text`
  throw check.valueError(name, `${message}: expected answers: { text: ['…'], answer_start: [0] }`)
}
