// The package as npm publishes it.
import { copyFile, cp, mkdir, rm } from 'node:fs/promises'
import { join } from 'node:path'

import { target } from '../lib/binary.js'
import { PACKAGE, assertEnded, run } from './support.js'

export interface Packed {
  readonly filename: string
  readonly files: readonly { readonly path: string }[]
}

/** The file with the addon for this platform. */
export const BINARY = join(PACKAGE, `posemesh-node.${target()}.node`)

export async function pack(directory: string, destination: string): Promise<Packed> {
  const args = ['pack', '--json', '--ignore-scripts', '--pack-destination', destination]
  const packed = await run('npm', args, { cwd: directory })
  assertEnded(packed, 0)
  const [first] = JSON.parse(packed.stdout) as [Packed]
  return first
}

/** Creates the directory of the package with the addon for this platform, as a release publishes it. */
export async function platformPackage(directory: string): Promise<void> {
  await cp(join(PACKAGE, 'npm', target()), directory, { recursive: true })
  await copyFile(BINARY, join(directory, `posemesh-node.${target()}.node`))
}

/** Installs a tarball of this package, and the addon, without a registry. */
export async function installOffline(tarball: string, nodeModules: string): Promise<void> {
  const main = join(nodeModules, 'posemesh-node')
  const platform = join(nodeModules, `posemesh-node-${target()}`)
  for (const directory of [main, platform]) await rm(directory, { recursive: true, force: true })
  await mkdir(main, { recursive: true })
  assertEnded(await run('tar', ['-xzf', tarball, '--strip-components=1', '-C', main]), 0)
  await platformPackage(platform)
}
