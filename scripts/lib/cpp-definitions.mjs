// What a C++ file defines at namespace scope, told from its text: enough for the style of this project, and no compiler.

/**
 * Names that a file defines outside of classes and functions, each with its namespaces, and functions with the types of their
 * parameters. An unnamed namespace counts for nothing.
 * @returns {Map<string, string>} of another name for something what that is, of all else nothing
 */
export function definitionsIn(source) {
  const code = plainCode(source)
  const found = new Map()
  // As if the file were a namespace of its own, without a name.
  const end = readScope(`${code}}`, 0, '', found)
  if (end <= code.length) throw new Error(`a bracket too many: ${code.slice(end - 1, end + 60)}`)
  return found
}

/** Without comments, directives, what stands in quotes, and what is for Windows alone. */
function plainCode(source) {
  const aside =
    /\/\/[^\n]*|\/\*[\s\S]*?\*\/|R"([^\s()\\]{0,16})\([\s\S]*?\)\1"|"(?:[^"\\\n]|\\.)*"|(?<![0-9a-fA-F])'(?:[^'\\\n]|\\.)+'/g
  const bare = source.replace(aside, (text) => (text.startsWith('/') ? ' ' : '""'))
  // Of each condition that the text stands under, whether it holds; of others than Windows both sides count.
  const conditions = []
  const kept = bare.split(/^([ \t]*#(?:[^\n\\]|\\[\s\S])*)/m).map((part, i) => {
    if (i % 2 === 0) return conditions.includes(false) ? '' : part
    const directive = part.replace(/\s/g, '')
    if (/^#(ifdef|ifdefined\()_WIN32/.test(directive)) conditions.push(false)
    else if (/^#if(ndef|!defined\()_WIN32/.test(directive)) conditions.push(true)
    else if (directive.startsWith('#if')) conditions.push(undefined)
    else if (directive.startsWith('#endif')) conditions.pop()
    else if (/^#el(se|if)/.test(directive) && conditions.at(-1) !== undefined) conditions.push(!conditions.pop())
    return ''
  })
  return kept.join('').trim()
}

/** Reads definitions up to the brace that closes their namespace; gives the place behind it. */
function readScope(code, from, path, found) {
  let at = from
  while (at < code.length) {
    at = skip(code, at, /[\s;]/)
    if (code[at] === '}') return at + 1
    if (at < code.length) at = readItem(code, at, path, found)
  }
  throw new Error('a namespace is not closed')
}

/** One namespace, class, function, variable or name for a type; gives the place behind it. */
function readItem(code, from, path, found) {
  const template = /^template\s*(?=<)/.exec(code.slice(from, from + 20))
  const start = template === null ? from : angles(code, from + template[0].length)
  const parameters = template === null ? [] : parametersOfTemplate(code.slice(from + template[0].length, start))
  const stop = headEnd(code, start)
  const head = code.slice(start, stop).replace(attributes, ' ').replace(/\s+/g, ' ').trim()
  const named = (name, value = '') => found.set([path, name].filter(Boolean).join('::'), value)
  const end = () => statementEnd(code, stop)

  const alias = code[stop] === '=' ? /^(?:using|namespace) (\w+)$/.exec(head)?.[1] : undefined
  if (alias !== undefined) {
    named(alias, code.slice(stop + 1, end() - 1).replace(/\s+/g, ''))
    return end()
  }
  const space = /^(?:inline )?namespace ?([\w:]*)$/.exec(head) ?? /^extern ()""$/.exec(head)
  if (space !== null) return readScope(code, stop + 1, [path, space[1]].filter(Boolean).join('::'), found)
  const isFirst = (...words) => words.includes(/^\w+/.exec(head)?.[0])
  if (isFirst('static_assert', 'using')) return end()
  if (isFirst('class', 'struct', 'union', 'enum') && code[stop] === '{') {
    const [, type] =
      /^(?:enum )?(?:class|struct|union|enum) ([\w:]+(?: ?<.*>)?)/.exec(head.split(/(?<!:):(?!:)/)[0]) ?? []
    if (type !== undefined) named(type.replace(/ ?final$/, ''))
    return end()
  }
  const call = functionIn(head, parameters)
  if (call !== undefined && code[stop] === '{') {
    named(call)
    return bodyEnd(code, stop)
  }
  // Without a body a function is only declared, and a type only announced.
  const isVariable = call === undefined && !isFirst('class', 'struct', 'union', 'enum', 'friend', 'extern')
  const [name] = /[\w:]+(?=(?: ?\[[^\]]*\])*$)/.exec(head) ?? []
  if (isVariable && name !== undefined) named(name)
  return end()
}

const attributes = /\[\[[^\]]*\]\]|\b(?:__attribute__|alignas|__declspec)\s*\((?:[^()]|\((?:[^()]|\([^()]*\))*\))*\)/g

/** `name(types)` of a function's head; undefined: it is none. */
function functionIn(head, templateParameters) {
  const [whole, name = ''] =
    /((?:[\w~]+(?:<[^()]*>)?::)*(?:operator ?(?:\(\)|[^\s\w(]+|\w+)|~?\w+))(?:<[^()]*>)? ?\(/.exec(head) ?? []
  if (whole === undefined) return undefined
  const from = head.indexOf(whole) + whole.length - 1
  const inside = head.slice(from + 1, closing(head, from) - 1)
  const types = parts(inside, ',').map((one) => typeOf(one, templateParameters))
  return `${name}(${types.join(', ')})`
}

/** Of `const at::Tensor& x = {}` the type, without the namespaces, which one may leave out. */
function typeOf(parameter, templateParameters) {
  const [declared = ''] = parts(parameter, '=')
  const spaced = declared
    .replace(/[\w:]+|[^\w\s]/g, ' $& ')
    .trim()
    .split(/\s+/)
  const words = spaced.map((word) => word.replace(/^.*::(?=\w)/, ''))
  // The last word is the parameter's name, unless nothing else is there to be its type.
  const types = words.filter((word) => /^\w/.test(word) && word !== 'const')
  if (types.length > 1 && /^\w/.test(words.at(-1) ?? '') && !builtIn.has(words.at(-1))) words.pop()
  return words
    .map((word) => (templateParameters.includes(word) ? `T${templateParameters.indexOf(word)}` : word))
    .join(' ')
}

const builtIn = new Set(['int', 'char', 'short', 'long', 'double', 'float', 'bool', 'unsigned', 'signed', 'auto'])

/** The names in `<class A, int B = 1>`. */
function parametersOfTemplate(text) {
  return parts(text.slice(1, -1), ',').map((one) => /(\w+)\s*$/.exec(parts(one, '=')[0] ?? '')?.[1] ?? '')
}

/** A text at each of a character that stands in no brackets, angles among them. */
function parts(text, separator) {
  const result = []
  let depth = 0
  let start = 0
  for (let i = 0; i < text.length; i++) {
    if ('([{<'.includes(text[i])) depth++
    else if (')]}>'.includes(text[i])) depth--
    else if (text[i] === separator && depth === 0) {
      result.push(text.slice(start, i))
      start = i + 1
    }
  }
  return [...result, text.slice(start)].filter((part) => part.trim() !== '')
}

function skip(code, from, pattern) {
  let at = from
  while (at < code.length && pattern.test(code[at])) at++
  return at
}

/** Where a head ends: at its body, its value or its semicolon. */
function headEnd(code, from) {
  let at = from
  while (at < code.length && !';{}'.includes(code[at])) {
    if (code[at] === '(' || code[at] === '[') at = closing(code, at)
    else if (code[at] === '=' && !/operator\s*[=!<>+\-*/|&^%]*$/.test(code.slice(at - 12, at))) return at
    else at++
  }
  return at
}

/** Behind a semicolon, whatever stands in brackets before it. */
function statementEnd(code, from) {
  let at = from
  while (at < code.length && code[at] !== ';') at = '([{'.includes(code[at]) ? closing(code, at) : at + 1
  return at + 1
}

/** Behind a function's body: members that are initialised in braces stand before it. */
function bodyEnd(code, from) {
  let at = closing(code, from)
  for (;;) {
    const next = skip(code, at, /\s/)
    if (code[next] !== ',' && code[next] !== '{') return at
    at = closing(code, code.indexOf('{', next))
  }
}

const pairs = { '(': ')', '[': ']', '{': '}' }

/** Behind the bracket that closes the one at `from`. */
function closing(code, from) {
  const open = []
  for (let i = from; i < code.length; i++) {
    const char = code[i]
    if (char in pairs) open.push(pairs[char])
    else if (char === open.at(-1)) {
      open.pop()
      if (open.length === 0) return i + 1
    }
  }
  throw new Error(`a bracket is not closed: ${code.slice(from, from + 60)}`)
}

/** Behind the angle that closes the one at `from`. */
function angles(code, from) {
  let depth = 0
  for (let i = from; i < code.length; i++) {
    if (code[i] === '<') depth++
    else if (code[i] === '>' && --depth === 0) return i + 1
  }
  throw new Error(`an angle is not closed: ${code.slice(from, from + 60)}`)
}
