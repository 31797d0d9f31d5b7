/** Options as a Node.js programmer writes them, and as core takes them: text by core's names. */

import { URL, fileURLToPath } from 'node:url'

import { native } from './binary.js'
import { PosemeshError, typeError, valueError } from './error.js'
import type { Logger, LogLevel } from './log.js'
import type { OptionInfo } from './native.js'
import { withoutPrototype } from './options.js'

/** The options that core has. Each says which environment variable {@link PosemeshNode.fromEnv} reads for it. */
export interface CoreOptions {
  /** The discovery service to register with: https, or http on this machine. `DDS_BASE_URL`, default `https://dds.auki.network`. */
  ddsBaseUrl?: string | URL | undefined
  /** The registration credentials from the console, passed through untouched. `REG_SECRET` or `REG_SECRET_FILE`, required. */
  regSecret?: string | undefined
  /**
   * The private key of the node's wallet: 64 hex digits, `0x` optional. `SECP256K1_PRIVHEX` or `SECP256K1_PRIVHEX_FILE`,
   * required unless `secp256k1KeystoreFile` is set.
   */
  secp256k1Privhex?: string | undefined
  /**
   * An encrypted file with the private key, in place of `secp256k1Privhex`: Web3 Secret Storage, version 3.
   * `SECP256K1_KEYSTORE_FILE`.
   */
  secp256k1KeystoreFile?: string | URL | undefined
  /** The password of the keystore. `SECP256K1_KEYSTORE_PASSWORD` or `SECP256K1_KEYSTORE_PASSWORD_FILE`. */
  secp256k1KeystorePassword?: string | undefined
  /** What the node can do, such as `/reconstruction/global-refinement/v1`. `CAPABILITIES` (comma-separated), required. */
  capabilities?: readonly string[] | undefined
  /**
   * The semantic version of the node's own software. `NODE_VERSION`, required. The official Docker images of Node.js set
   * that variable to the version of Node.js: set `POSEMESH_NODE_VERSION` there, which wins.
   */
  nodeVersion?: string | undefined
  /** How many jobs the node takes at a time. `MAX_CONCURRENCY`, by default not sent. */
  maxConcurrency?: number | undefined
  /** Seconds between attempts after a conflict, a lasting refusal, or `maxRetry` failures. `REGISTER_INTERVAL_SECS`, default 120. */
  registerIntervalSecs?: number | undefined
  /** Failures in a row after which the registrar pauses for one interval; −1 = never. `REGISTER_MAX_RETRY`, default −1. */
  maxRetry?: number | undefined
  /** Seconds that one request to DDS may take. `REQUEST_TIMEOUT_SECS`, default 10. */
  requestTimeoutSecs?: number | undefined
  /** Where the callback server listens: `host:port`, port 0 = any. `CALLBACK_BIND`, by default there is none. */
  callbackBind?: string | undefined
  /**
   * Which secret wins among the callbacks that confirm a registration: the first one, or with `open` the last one.
   * `CALLBACK_POLICY`, default `per_registration`.
   */
  callbackPolicy?: 'per_registration' | 'open' | undefined
  /** Seconds without a health probe, after a first one, until the node registers again; 0 = never. `HEALTHCHECK_TTL_SECS`, default 0. */
  healthcheckTtlSecs?: number | undefined
  /** The domain that the node agrees to sign in to; `any` turns the check off. `SIWE_DOMAIN`, by default that of `ddsBaseUrl`. */
  siweDomain?: string | undefined
  /** The form of the signed message: DDS's own, or strict EIP-4361. `SIWE_FORMAT`, default `posemesh`. */
  siweFormat?: 'posemesh' | 'eip4361' | undefined
  /**
   * A directory, for this node alone and on a disk of this machine, for state that outlives the process and is shared by
   * the processes of the node: one of them leads, the others follow. Made if it does not exist. Linux only. `STATE_DIR`,
   * by default the state is in memory.
   */
  stateDir?: string | URL | undefined
  /**
   * A PEM file with certificate authorities to trust beside the system's. `CA_FILE`, by default the file that Node.js
   * itself reads: `NODE_EXTRA_CA_CERTS`.
   */
  caFile?: string | URL | undefined
  /** Allows http to a DDS on another machine: credentials then travel in the open. `ALLOW_INSECURE_HTTP`, default false. */
  allowInsecureHttp?: boolean | undefined
}

/** What {@link PosemeshNode.fromEnv} takes: it wins over the environment. */
export interface PosemeshNodeOverrides extends CoreOptions {
  /**
   * Gets the log records of the library as lines of text: `console`, a pino logger, Fastify's `app.log`. A logger that
   * several nodes share gets each record once.
   */
  logger?: Logger | undefined
  /** The least important level that `logger` and `on('log')` are told. Default `info`. */
  logLevel?: LogLevel | undefined
  /** Aborts the start. It has no effect once the node runs. */
  signal?: AbortSignal | undefined
}

/** What {@link PosemeshNode.start} takes. */
export type PosemeshNodeOptions = PosemeshNodeOverrides &
  Required<Pick<CoreOptions, 'regSecret' | 'capabilities' | 'nodeVersion'>>

/** `ddsBaseUrl` for `dds_base_url`. */
const camelCase = (name: string) => name.replace(/_([a-z0-9])/g, (_, letter: string) => letter.toUpperCase())

const table: ReadonlyMap<string, OptionInfo> = new Map(
  native.options().map((option) => [camelCase(option.name), option]),
)

const camelNames: ReadonlyMap<string, string> = new Map(Array.from(table, ([camel, { name }]) => [name, camel]))

/** The options for core, as text by core's names. An option that is `undefined` is not set. */
export function toCore(options: object): Record<string, string> {
  const set = Object.entries(options).filter(([, value]) => value !== undefined)
  return withoutPrototype(
    set.map(([name, value]) => {
      const option = table.get(name)
      if (!option) throw unknownOption(name)
      return [option.name, toText(name, option.kind, value)]
    }),
  )
}

function toText(name: string, kind: OptionInfo['kind'], value: unknown): string {
  switch (kind) {
    case 'integer':
      if (typeof value !== 'number') throw typeError(name, 'a number', value)
      return String(value)
    case 'boolean':
      if (typeof value !== 'boolean') throw typeError(name, 'a boolean', value)
      return String(value)
    case 'list':
      return toList(name, value)
    case 'path':
      if (value instanceof URL && value.protocol === 'file:') return fileURLToPath(value)
      if (value instanceof URL) throw valueError(`${name} must be a string or a file URL, got a URL with ${value.protocol}`)
      if (typeof value !== 'string') throw typeError(name, 'a string or a file URL', value)
      return wellFormed(name, value)
    default:
      if (name === 'ddsBaseUrl' && value instanceof URL) return value.href
      if (typeof value !== 'string') throw typeError(name, 'a string', value)
      return wellFormed(name, value)
  }
}

/** Half a surrogate pair would reach core, and DDS, as U+FFFD: another text than the one that was given. */
function wellFormed(name: string, value: string): string {
  if (value.isWellFormed()) return value
  throw new PosemeshError('ERR_INVALID_CONFIG', `${name} has a lone surrogate; expected well-formed Unicode text`)
}

function toList(name: string, value: unknown): string {
  if (!Array.isArray(value)) throw typeError(name, 'an array of strings', value)
  value.forEach((entry: unknown, index) => {
    if (typeof entry !== 'string') throw typeError(`${name}[${index}]`, 'a string', entry)
    // Core has lists as one text: this would silently become two entries.
    if (entry.includes(',')) {
      throw new PosemeshError('ERR_INVALID_CONFIG', `${name}[${index}] has a comma; make it two entries`)
    }
    wellFormed(`${name}[${index}]`, entry)
  })
  return value.join(',')
}

function unknownOption(name: string): PosemeshError {
  const known = [...table.keys(), 'logger', 'logLevel', 'signal'].join(', ')
  return new PosemeshError('ERR_INVALID_CONFIG', `unknown option ${JSON.stringify(name)}; the options are ${known}`)
}

/**
 * The variables of `env` that core is to read: all that it knows, but for those of options that are given anyway.
 * JavaScript reads them because `process.env` of a worker is not the environment of the process.
 */
export function environment(env: NodeJS.ProcessEnv, given: Record<string, string>): Record<string, string> {
  const variables = Array.from(table.values())
    .filter((option) => !(option.name in given))
    .flatMap((option) => option.variables)
  // An environment inherits from Object.prototype, in Node.js as in a test that passes one.
  const set = variables.filter((name) => Object.hasOwn(env, name) && env[name] !== undefined)
  return withoutPrototype(set.map((name) => [name, wellFormed(name, env[name] as string)]))
}

export const EXTRA_AUTHORITIES = 'NODE_EXTRA_CA_CERTS'

/** The file of certificate authorities that Node.js trusts, if core is to trust them because no other file is given. */
export function extraAuthorities(given: Record<string, string>, variables: Record<string, string>): string | undefined {
  const valueOf = (name: string) => given[name] ?? variables[name.toUpperCase()]
  if (valueOf('ca_file') !== undefined || !Object.hasOwn(process.env, EXTRA_AUTHORITIES)) return undefined
  // A connection without TLS needs none, and core does not read the system's for it.
  const usesTls = !/^\s*http:/i.test(valueOf('dds_base_url') ?? '')
  return usesTls ? process.env[EXTRA_AUTHORITIES] || undefined : undefined
}

/** Puts the names that options have in JavaScript into a message of core. Parts of a path stay as they are. */
export function inCamelCase(message: string): string {
  return message.replace(/(?<!\/)\b[a-z0-9]+(?:_[a-z0-9]+)+\b(?!\/)/g, (name) => camelNames.get(name) ?? name)
}
