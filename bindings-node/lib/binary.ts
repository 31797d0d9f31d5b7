/** Finds and loads the compiled addon. Nothing is ever compiled or downloaded on the user's machine. */

import { readFileSync } from 'node:fs'
import { join } from 'node:path'

type Native = typeof import('./native.js')

/** What could not be loaded, and why. */
interface Attempt {
  readonly path: string
  readonly cause: unknown
}

/** This machine as the names of binary packages have it, such as `linux-x64-gnu`. */
export function target(): string {
  const { platform, arch } = process
  const libc = platform === 'linux' ? `-${linuxLibc()}` : ''
  return `${platform}-${arch}${libc}`
}

function linuxLibc(): 'gnu' | 'musl' {
  try {
    // The dynamic loader of musl is its C library.
    return readFileSync('/proc/self/maps', 'latin1').includes('/ld-musl-') ? 'musl' : 'gnu'
  } catch {
    // Where /proc is not to be read, a report tells. It takes milliseconds, and seconds if it resolves the addresses of
    // open sockets by name.
    const report = process.report as { excludeNetwork?: boolean; getReport(): unknown }
    const before = report.excludeNetwork
    report.excludeNetwork = true
    try {
      const { header } = report.getReport() as { header: { glibcVersionRuntime?: string } }
      return header.glibcVersionRuntime ? 'gnu' : 'musl'
    } finally {
      report.excludeNetwork = before ?? false
    }
  }
}

/** Where the addon may be, best first. */
function candidates(): string[] {
  const override = process.env['POSEMESH_NODE_BINARY']
  if (override) return [override]
  // A local build lies beside `dist` and exists only where somebody develops this package.
  const name = target()
  return [join(__dirname, '..', `posemesh-node.${name}.node`), `posemesh-node-${name}`]
}

function load(): Native {
  const attempts: Attempt[] = []
  for (const path of candidates()) {
    try {
      return require(path) as Native
    } catch (cause) {
      attempts.push({ path, cause })
    }
  }
  throw loadError(attempts)
}

function loadError(attempts: readonly Attempt[]): Error {
  // Node.js puts the stack of requires below the first line.
  const reason = (cause: unknown) => (cause instanceof Error ? cause.message.split('\n', 1)[0] : String(cause))
  const tried = attempts.map(({ path, cause }) => `  ${path}: ${reason(cause)}`).join('\n')
  const advice = process.env['POSEMESH_NODE_BINARY']
    ? 'POSEMESH_NODE_BINARY is set: make it the absolute path of a .node file for this machine, or unset it.'
    : `Install again with optional dependencies (npm install --include=optional) on the machine that runs the ` +
      `program: a lock file or node_modules of another platform lacks posemesh-node-${target()}. If there is no ` +
      `such package, build the addon (npm run build:addon) and set POSEMESH_NODE_BINARY to its absolute path.`
  const error = new Error(
    `posemesh-node has no working binary for ${target()} (platform ${process.platform}, arch ${process.arch}` +
      `${process.platform === 'linux' ? `, libc ${linuxLibc()}` : ''}, Node.js ${process.version}). Tried:\n${tried}\n${advice}`,
    { cause: attempts.at(-1)?.cause },
  )
  return Object.assign(error, { code: 'ERR_POSEMESH_BINARY' })
}

/** @internal */
export const native: Native = load()
