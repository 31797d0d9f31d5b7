// The package as npm publishes it.
import { readFileSync } from 'node:fs'
import { mkdir, rm } from 'node:fs/promises'
import { join } from 'node:path'

import { target } from '../lib/binary.js'
import { PACKAGE, assertEnded, run } from './support.js'

/** The tarballs of the packages that a release publishes. */
export interface Packed {
  readonly main: string
  /** With the addon for this platform. */
  readonly platform: string
}

const VERSION: string = JSON.parse(readFileSync(join(PACKAGE, 'package.json'), 'utf8')).version

/** The file with the addon for this platform. */
export const BINARY = join(PACKAGE, `posemesh-node.${target()}.node`)

/** Packs the package and the addon into a directory. */
export async function pack(directory: string): Promise<Packed> {
  assertEnded(await run('bash', ['build-packages', directory, BINARY], { cwd: PACKAGE }), 0)
  return {
    main: join(directory, `posemesh-node-${VERSION}.tgz`),
    platform: join(directory, `posemesh-node-${target()}-${VERSION}.tgz`),
  }
}

/** The paths of the files in a tarball of npm, sorted. */
export async function contents(tarball: string): Promise<string[]> {
  const listed = await run('tar', ['-tzf', tarball])
  assertEnded(listed, 0)
  const paths = listed.stdout.trim().split('\n')
  return paths.map((path) => path.replace('package/', '')).sort()
}

/** Installs both tarballs without a registry. */
export async function installOffline({ main, platform }: Packed, nodeModules: string): Promise<void> {
  for (const [tarball, name] of [
    [main, 'posemesh-node'],
    [platform, `posemesh-node-${target()}`],
  ] as const) {
    const directory = join(nodeModules, name)
    await rm(directory, { recursive: true, force: true })
    await mkdir(directory, { recursive: true })
    assertEnded(await run('tar', ['-xzf', tarball, '--strip-components=1', '-C', directory]), 0)
  }
}
