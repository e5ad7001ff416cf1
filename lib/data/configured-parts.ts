import { isPlainObject } from '../config/check.js'
import type { Json } from './tokenizer-parts.js'

/**
 * A tokenizer.json as transformers' fast classes use it: in some parts they go by tokenizer_config.json, or by the class's own
 * default where that says nothing, and not by what tokenizer.json was saved with.
 * @param model the content of tokenizer.json
 * @param config that of tokenizer_config.json
 * @param modelConfig that of the model's config.json, which names the class where the tokenizer's does not
 */
export function withConfiguredParts(model: Json, config: Json, modelConfig: Json): Json {
  const named = config['tokenizer_class'] ?? modelConfig['tokenizer_class']
  const is = (classes: RegExp, modelTypes: readonly string[]) =>
    named == null ? modelTypes.includes(String(modelConfig['model_type'])) : classes.test(String(named))
  return {
    ...model,
    ...(is(/^(Bert|DistilBert|Electra)Tokenizer(Fast)?$/, ['bert', 'distilbert', 'electra']) && {
      normalizer: normalizer(model['normalizer'], config)
    }),
    // These two have no default, and with a value they make the tokenizer anew from SentencePiece's file.
    ...(!is(/^(Llama|T5)Tokenizer(Fast)?$/, ['llama', 'mistral', 'mixtral', 't5', 'longt5', 'umt5']) && {
      pre_tokenizer: preTokenizer(model['pre_tokenizer'], config)
    })
  }
}

function normalizer(given: unknown, config: Json): unknown {
  if (!isPlainObject(given) || given['type'] !== 'BertNormalizer') return given
  const { do_lower_case: lowercase = true, strip_accents = null, tokenize_chinese_chars = true } = config
  return { ...given, lowercase, strip_accents, handle_chinese_chars: tokenize_chinese_chars }
}

/** Not inside a Sequence, where transformers does not look either. */
function preTokenizer(given: unknown, { add_prefix_space = false }: Json): unknown {
  const goesByConfig = isPlainObject(given) && given['type'] === 'ByteLevel' && typeof add_prefix_space === 'boolean'
  return goesByConfig ? { ...given, add_prefix_space } : given
}
