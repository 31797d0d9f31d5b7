// The modules of the package and of the addon do not import each other in circles, not even for types.
import assert from 'node:assert/strict'
import { readFileSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { describe, it } from 'node:test'

import { preProcessFile } from 'typescript'

import { PACKAGE } from './support.js'

/** The modules that each module imports. */
type Graph = ReadonlyMap<string, readonly string[]>

/** Reads the modules of a directory. `imports` returns what the text of one imports. */
function readGraph(directory: string, extension: RegExp, imports: (text: string) => string[]): Graph {
  const path = join(PACKAGE, directory)
  const files = readdirSync(path).filter((file) => extension.test(file))
  return new Map(
    files.map((file) => [file.replace(extension, ''), imports(readFileSync(join(path, file), 'utf8'))] as const),
  )
}

/** Finds a circle of imports, such as `['a', 'b', 'a']`. */
function findCircle(graph: Graph): string[] | undefined {
  const done = new Set<string>()
  const visit = (module: string, trail: readonly string[]): string[] | undefined => {
    if (trail.includes(module)) return [...trail.slice(trail.indexOf(module)), module]
    if (done.has(module)) return undefined
    for (const imported of graph.get(module) ?? []) {
      const circle = visit(imported, [...trail, module])
      if (circle) return circle
    }
    done.add(module)
    return undefined
  }
  for (const module of graph.keys()) {
    const circle = visit(module, [])
    if (circle) return circle
  }
  return undefined
}

describe('the modules', () => {
  it('of the package have no circle of imports', () => {
    const graph = readGraph('lib', /(\.d)?\.ts$/, (text) =>
      preProcessFile(text).importedFiles.flatMap(({ fileName }) => /^\.\/(.+)\.js$/.exec(fileName)?.[1] ?? []),
    )
    assert.ok(graph.get('node')?.includes('status') && graph.get('status')?.includes('native'))
    assert.equal(findCircle(graph)?.join(' → '), undefined)
  })

  it('of the addon have no circle of imports', () => {
    const graph = readGraph('src', /\.rs$/, (text) =>
      Array.from(text.matchAll(/\bcrate::(\w+)/g), ([, module]) => module as string),
    )
    assert.ok(graph.get('node')?.includes('event') && graph.get('event')?.includes('error'))
    assert.equal(findCircle(graph)?.join(' → '), undefined)
  })

  it('with a circle would be found', () => {
    const graph = new Map([['a', ['b']], ['b', ['c', 'd']], ['c', []], ['d', ['b']]])
    assert.deepEqual(findCircle(graph), ['b', 'd', 'b'])
  })
})
