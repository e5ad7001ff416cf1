/**
 * The decoders of transformers (4.57) that have a class `…ForSequenceClassification`: one Linear without bias at a row's last
 * token.
 */
const withRowClass: ReadonlySet<string> = new Set(
  (
    'Arcee BioGpt Bloom DeepseekV2 DeepseekV3 DiffLlama Doge Exaone4 Falcon GPT2 GPTBigCode GPTJ GPTNeo GPTNeoX Gemma Gemma2 ' +
    'Gemma3Text Glm Glm4 GptOss Helium HunYuanDenseV1 HunYuanMoEV1 Jamba JetMoe Llama MiniMax Ministral Mistral Mixtral Mpt ' +
    'Nemotron OPT OpenAIGPT OpenLlama Persimmon Phi Phi3 Phimoe Qwen2 Qwen2Moe Qwen3 Qwen3Moe Qwen3Next SeedOss SmolLM3 ' +
    'StableLm Starcoder2 TransfoXL Zamba Zamba2'
  ).split(' ')
)

/** Those of them that have one for tokens, which is one Linear. */
const withTokenClass: ReadonlySet<string> = new Set(
  (
    'Apertus Arcee DeepseekV3 DiffLlama Exaone4 Gemma Gemma2 Glm Glm4 GptOss Helium Llama MiniMax Ministral Mistral Mixtral ' +
    'Nemotron Persimmon Phi Phi3 Qwen2 Qwen2Moe Qwen3 Qwen3Moe Qwen3Next SeedOss SmolLM3 StableLm Starcoder2'
  ).split(' ')
)

export const isTokenClass = (modelClass: string): boolean =>
  withTokenClass.has(/^(\w+)ForTokenClassification$/.exec(modelClass)?.[1] ?? '')

/** Whether a decoder's class for a head, which its name makes, is one that transformers has. */
export function isDecoderClass(modelClass: string): boolean {
  const family = /^(\w+)ForSequenceClassification$/.exec(modelClass)?.[1]
  return family === undefined || withRowClass.has(family)
}
