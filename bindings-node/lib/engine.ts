/**
 * Refuses a Node.js that is too old. Every entry point imports this module before any other, because the others use syntax
 * and functions that old versions lack. This one must run on all of them.
 */

/** As in the `engines` of package.json, which is not read because a bundle does not contain it. */
export const MINIMUM = '20.9'

/** Throws if this version of Node.js is older than {@link MINIMUM}. */
export function checkEngine(version: string): void {
  const [major = 0, minor = 0] = numbers(version)
  const [leastMajor = 0, leastMinor = 0] = numbers(MINIMUM)
  if (major > leastMajor || (major === leastMajor && minor >= leastMinor)) return
  const error = new Error(`posemesh-node needs Node.js ${MINIMUM} or newer; this is ${version}`)
  throw Object.assign(error, { code: 'ERR_POSEMESH_ENGINE' })
}

function numbers(version: string): number[] {
  return version.split('.').map(Number)
}

checkEngine(process.versions.node)
