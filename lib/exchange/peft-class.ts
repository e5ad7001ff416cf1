import type { ModelConfig } from '../config/model-config.js'
import { familyOf, moduleOf } from '../config/model-families.js'

/** PEFT's names of tasks, by the end of a class's name in transformers. */
const taskOfClass: readonly (readonly [RegExp, string])[] = [
  [/(ForCausalLM|LMHeadModel)$/, 'CAUSAL_LM'],
  [/ForSequenceClassification$/, 'SEQ_CLS'],
  [/ForTokenClassification$/, 'TOKEN_CLS'],
  [/ForQuestionAnswering$/, 'QUESTION_ANS'],
  [/ForConditionalGeneration$/, 'SEQ_2_SEQ_LM'],
  [/Model$/, 'FEATURE_EXTRACTION']
]

/** What PEFT's models for a task store whole, whatever the folder says, where a class has it. */
export const storedForTask: Readonly<Record<string, readonly string[]>> = {
  SEQ_CLS: ['classifier', 'score'],
  TOKEN_CLS: ['classifier', 'score'],
  QUESTION_ANS: ['qa_outputs']
}

/** What to do about a head that no folder of PEFT's can hold. */
export const headApart =
  'Save the adapter alone, with withHead: false (convert: --no-head), and the head with saveHead.'

/** The class that a folder is for, where no head of ours says it. */
export interface BaseClass {
  /** PEFT's name of its task; null: PEFT has none, or its class for the task gives the network what it does not take. */
  readonly task: string | null
  /**
   * Written as `auto_mapping`, also where there is a task, beside which PEFT passes it over: other families have the same names and
   * shapes. Null: unknown.
   */
  readonly modelClass: string | null
}

/**
 * That of an exported network is the class that was exported.
 * @param withHead whether the folder holds what PEFT's class for the task looks for
 */
export function baseClassOf(model: ModelConfig, withHead: boolean): BaseClass {
  const { exported, imageSize } = model
  if (exported === null) {
    const bare = familyOf(model).adapterClass.replace(/AdapterModel$/, 'Model')
    return { task: imageSize === null ? 'FEATURE_EXTRACTION' : null, modelClass: bare }
  }
  const { className, ofHuggingFace, pythonModule, takesEmbeds, inputs } = exported
  const readsWords = ofHuggingFace && takesEmbeds && inputs.includes('input_ids')
  const task = taskOfClass.find(([ending]) => ending.test(className))?.[1] ?? null
  const isComplete = withHead || task === null || !Object.hasOwn(storedForTask, task)
  return { task: readsWords && isComplete ? task : null, modelClass: pythonModule === '' ? null : className }
}

/**
 * The modules of an exported class's own head that PEFT looks for in a folder.
 * @param names those of the network's parameters
 */
export function ownHeadModules(model: ModelConfig, names: readonly string[]): readonly string[] {
  if (!model.exported?.hasOwnHead) return []
  const { task } = baseClassOf(model, true)
  return (storedForTask[task ?? ''] ?? []).filter((module) => names.some((name) => name.startsWith(`${module}.`)))
}

/** PEFT's record of a class: its name and where Python has it. */
export function autoMapping(modelClass: string, { modelType, exported }: ModelConfig): Record<string, string> {
  return { base_model_class: modelClass, parent_library: exported?.pythonModule ?? moduleOf(modelType) }
}

/** The family that a class's place in transformers names, such as `llama`. */
export function familyInLibrary(library: string | null): string | undefined {
  return /^transformers\.models\.(\w+)\./.exec(library ?? '')?.[1]
}
