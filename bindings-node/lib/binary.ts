/** Finds and loads the compiled addon. Nothing is compiled or downloaded on the user's machine. */

import { existsSync, readFileSync, readdirSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'

type Native = typeof import('./native.js')

/** A path that could not be loaded, and why. */
interface Attempt {
  readonly path: string
  readonly cause: unknown
}

/** Why there is no package to load. */
class NotPublished extends Error {
  override message = 'no binary is published for this platform'
}

/** The name of this platform in the names of binary packages, such as `linux-x64-gnu`. */
export function target(): string {
  const { platform, arch } = process
  return platform === 'linux' ? `${platform}-${arch}-${linuxLibc()}` : `${platform}-${arch}`
}

type Libc = 'gnu' | 'musl'

function linuxLibc(): Libc {
  try {
    return libcOf(readFileSync('/proc/self/maps', 'latin1'))
  } catch {
    // If /proc cannot be read, a report contains the answer. It takes milliseconds, but seconds if it resolves the addresses
    // of open sockets.
    const report = process.report as { excludeNetwork?: boolean; getReport(): unknown }
    const before = report.excludeNetwork
    report.excludeNetwork = true
    try {
      const { header } = report.getReport() as { header: { glibcVersionRuntime?: string } }
      return header.glibcVersionRuntime ? 'gnu' : 'musl'
    } catch {
      // Deno requires a permission for the report that nothing else here needs. It has no release for musl.
      return 'gnu'
    } finally {
      report.excludeNetwork = before ?? false
    }
  }
}

/**
 * The C library of a process with these mapped files. In musl, the dynamic loader is the C library, and one file has both
 * names: Alpine links `libc.so` to `ld-musl-x86_64.so.1`, other systems the reverse. glibc is `libc.so.6` or `libc-2.28.so`.
 */
export function libcOf(maps: string): Libc {
  return /\/(ld-musl-|libc\.so$)/m.test(maps) ? 'musl' : 'gnu'
}

/** Loads the addon, or throws an error that lists each path and its failure. */
function load(): Native {
  const attempts: Attempt[] = []
  const override = process.env['POSEMESH_NODE_BINARY']
  const native = override ? fromFile(resolve(override), attempts) : (fromPackage(attempts) ?? fromBuild(attempts))
  if (!native) throw loadError(attempts)
  return native
}

/**
 * Loads the package with the binary for this platform. Bundlers and file tracers only follow a `require` whose argument is
 * a literal, and only ignore a package that is not installed if the `require` is directly inside a `try`.
 */
function fromPackage(attempts: Attempt[]): Native | undefined {
  const name = target()
  try {
    switch (name) {
      case 'darwin-arm64':
        return require('posemesh-node-darwin-arm64')
      case 'darwin-x64':
        return require('posemesh-node-darwin-x64')
      case 'linux-x64-gnu':
        return require('posemesh-node-linux-x64-gnu')
      case 'linux-arm64-gnu':
        return require('posemesh-node-linux-arm64-gnu')
      case 'linux-x64-musl':
        return require('posemesh-node-linux-x64-musl')
      case 'linux-arm64-musl':
        return require('posemesh-node-linux-arm64-musl')
      case 'win32-x64':
        return require('posemesh-node-win32-x64')
      // Only names that a release publishes: anybody could publish a package under one of the others.
      default:
        throw new NotPublished()
    }
  } catch (cause) {
    attempts.push({ path: `posemesh-node-${name}`, cause })
    return undefined
  }
}

/** Loads the file that `npm run build:addon` writes next to `dist`, in a checkout of this package. */
function fromBuild(attempts: Attempt[]): Native | undefined {
  // A bundler may have converted this file to an ES module, which has no __dirname.
  if (typeof __dirname !== 'string') return undefined
  // On Windows, the name that napi gives it ends with the compiler. Node.js loads the addon of either.
  const compiler = process.platform === 'win32' ? '-msvc' : ''
  return fromFile(join(__dirname, '..', `posemesh-node.${target()}${compiler}.node`), attempts)
}

/** Loads a file by its path. Bundlers replace a `require` with a variable argument by a function that always fails. */
function fromFile(path: string, attempts: Attempt[]): Native | undefined {
  const module = { exports: {} }
  try {
    process.dlopen(module, path)
    return module.exports as Native
  } catch (cause) {
    attempts.push({ path, cause })
    return undefined
  }
}

function loadError(attempts: readonly Attempt[]): Error {
  // Node.js adds the stack of requires after the first line, and the dynamic loader adds the path before its message.
  const reason = ({ path, cause }: Attempt) => {
    const [line = ''] = (cause instanceof Error ? cause.message : String(cause)).split('\n', 1)
    return line.startsWith(`${path}: `) ? line : `${path}: ${line}`
  }
  const tried = attempts.map((attempt) => `  ${reason(attempt)}`).join('\n')
  const error = new Error(
    `posemesh-node has no working binary for ${target()} (platform ${process.platform}, arch ${process.arch}` +
      `${process.platform === 'linux' ? `, libc ${linuxLibc()}` : ''}, Node.js ${process.version}). Tried:\n${tried}\n${advice(attempts)}`,
    { cause: attempts[0]?.cause },
  )
  return Object.assign(error, { code: 'ERR_POSEMESH_BINARY' })
}

/** What the user can do. */
function advice(attempts: readonly Attempt[]): string {
  if (attempts.some(({ cause }) => isDenied(cause))) {
    if ('deno' in process.versions) {
      return 'Deno lacks permissions: run it with --allow-ffi, --allow-read and --allow-env.'
    }
    // Defined only while the permission model is on.
    return process.permission === undefined
      ? 'Node.js runs with --no-addons: run it without that option.'
      : 'The permission model of Node.js is on: run it with --allow-addons, and --allow-fs-read for the installed packages.'
  }
  if (process.env['POSEMESH_NODE_BINARY']) {
    return 'POSEMESH_NODE_BINARY is set: set it to the path of a .node file for this machine, or unset it.'
  }
  const build =
    'build one in a clone of https://github.com/aukilabs/posemesh-node-registration (npm run build:addon in ' +
    'bindings-node), and set POSEMESH_NODE_BINARY to its path.'
  if (attempts.some(({ cause }) => cause instanceof NotPublished)) {
    return `No binary is published for ${target()}: ${build}`
  }
  const needed = `posemesh-node-${target()}`
  const installed = installedBinaries()
  if (installed.includes(needed)) {
    return `${needed} is installed but cannot be loaded. Install it again. If this system is too old for it, ${build}`
  }
  const others = installed.map((name) => `${name} is installed, but it is for another platform or C library. `)
  return (
    `${others.join('')}Install posemesh-node again on the machine that runs the program, without --omit=optional ` +
    `(npm install --include=optional): that also installs ${needed}. A lock file of another platform may lack it.`
  )
}

/** The packages with a binary, for any platform, in the directories where Node.js looks for the one of this platform. */
function installedBinaries(): string[] {
  // A bundler may have converted this file to an ES module, which has no __dirname.
  return typeof __dirname === 'string' ? [...new Set(binariesAbove(__dirname))] : []
}

function binariesAbove(directory: string): string[] {
  const parent = dirname(directory)
  const here = binariesIn(join(directory, 'node_modules'))
  return parent === directory ? here : [...here, ...binariesAbove(parent)]
}

function binariesIn(directory: string): string[] {
  const prefix = 'posemesh-node-'
  const hasBinary = (name: string) => existsSync(join(directory, name, `posemesh-node.${name.slice(prefix.length)}.node`))
  try {
    return readdirSync(directory).filter((name) => name.startsWith(prefix) && hasBinary(name))
  } catch {
    // There is no such directory, or it cannot be read.
    return []
  }
}

/** Whether the process has no permission to load the addon. */
function isDenied(cause: unknown): boolean {
  const { code, name } = cause as { code?: unknown; name?: unknown }
  return code === 'ERR_DLOPEN_DISABLED' || code === 'ERR_ACCESS_DENIED' || name === 'NotCapable'
}

/** @internal */
export const native: Native = load()
