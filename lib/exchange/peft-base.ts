import type { ModelConfig } from '../config/model-config.js'
import { familyOf, type ModelType, modelFamilies, modelTypes } from '../config/model-families.js'
import { AdapterError } from '../native/errors.js'
import { familyInLibrary } from './peft-class.js'
import type { PeftFolder } from './peft-folder.js'

/** `Bert` of `BertModel` and `BertForSequenceClassification`. */
const prefixOf = (type: ModelType): string => modelFamilies[type].adapterClass.replace(/AdapterModel$/, '')

/**
 * Refuses a folder that names a class of another family (`auto_mapping`, which PEFT writes where there is no task type, and we
 * always): the names and shapes of BERT's Linears are RoBERTa's, too. A class of one's own says nothing.
 */
export function checkPeftBase({ folder, config }: PeftFolder, model: ModelConfig): void {
  const { baseClass, baseLibrary } = config
  if (baseClass === null) return
  const inLibrary = familyInLibrary(baseLibrary)
  const byName = modelTypes.find((type) =>
    new RegExp(`^${prefixOf(type)}(Model|For|LMHead|AdapterModel)`).test(baseClass)
  )
  const theirs = inLibrary ?? byName?.replaceAll('-', '_')
  const own = familyInLibrary(model.exported?.pythonModule ?? null) ?? model.modelType.replaceAll('-', '_')
  if (theirs === undefined || theirs === own) return
  const trainedOn = config.baseModel === '' ? '' : ` It was trained on ${config.baseModel}.`
  throw new AdapterError('ERR_WRONG_MODEL', 'load the PEFT adapter', `${folder} belongs to another model`, {
    expected: `a class of ${model.modelType}, such as ${familyOf(model).adapterClass.replace(/AdapterModel$/, '')}Model`,
    got: `base_model_class ${baseClass}`,
    hint: `Load it into the model that it was trained on.${trainedOn}`
  })
}
