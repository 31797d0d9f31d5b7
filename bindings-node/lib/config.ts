/** Converts the options of a Node.js program to core's: text, by core's names. */

import { URL, fileURLToPath } from 'node:url'

import { unknownOption, withoutPrototype } from './arguments.js'
import { native } from './binary.js'
import { PosemeshError, typeError, valueError } from './error.js'
import type { Logger, LogLevel } from './log.js'
import type { OptionInfo } from './native.js'
import type { Signer } from './signer.js'

/** The options of core, each with the environment variable that {@link PosemeshNode.fromEnv} reads for it. */
export interface CoreOptions {
  /** The discovery service. Must be https, except on this machine. `DDS_BASE_URL`, default `https://dds.auki.network`. */
  ddsBaseUrl?: string | URL | undefined
  /** How the node signs in: with a wallet, or as a robot, which has no private key. `IDENTITY`, default `wallet`. */
  identity?: 'wallet' | 'robot' | undefined
  /**
   * The registration credentials, exactly as the console shows them. `REG_SECRET` or `REG_SECRET_FILE`, required. For a
   * robot, `ROBOT_REGISTRATION_CREDENTIALS` or `ROBOT_REGISTRATION_CREDENTIALS_FILE` wins.
   */
  regSecret?: string | undefined
  /**
   * The private key of the node's wallet: 64 hex digits, `0x` optional. `SECP256K1_PRIVHEX` or `SECP256K1_PRIVHEX_FILE`,
   * required unless `secp256k1KeystoreFile` or `signer` is set. A robot has none.
   */
  secp256k1Privhex?: string | undefined
  /**
   * An encrypted file with the private key, in place of `secp256k1Privhex`: Web3 Secret Storage, version 3.
   * `SECP256K1_KEYSTORE_FILE`.
   */
  secp256k1KeystoreFile?: string | URL | undefined
  /** The password of the keystore. `SECP256K1_KEYSTORE_PASSWORD` or `SECP256K1_KEYSTORE_PASSWORD_FILE`. */
  secp256k1KeystorePassword?: string | undefined
  /**
   * What the node can do, such as `/reconstruction/global-refinement/v1`. `CAPABILITIES` (comma-separated), required except
   * for a robot.
   */
  capabilities?: readonly string[] | undefined
  /**
   * The semantic version of the node's own software. `NODE_VERSION`, required. The official Docker images of Node.js set
   * that variable to the version of Node.js: set `POSEMESH_NODE_VERSION` there, which wins.
   */
  nodeVersion?: string | undefined
  /** How many jobs the node accepts at a time. `MAX_CONCURRENCY`, by default not sent. */
  maxConcurrency?: number | undefined
  /** Seconds between attempts after a conflict, a lasting refusal, or `maxRetry` failures. `REGISTER_INTERVAL_SECS`, default 120. */
  registerIntervalSecs?: number | undefined
  /** Failures in a row before a pause of `registerIntervalSecs`; −1 = no pause. `REGISTER_MAX_RETRY`, default −1. */
  maxRetry?: number | undefined
  /** Seconds that one request to DDS may take. `REQUEST_TIMEOUT_SECS`, default 10. */
  requestTimeoutSecs?: number | undefined
  /** Seconds after which a registered node registers again in the background, ±20 %; 0 = never. `REREGISTER_SECS`, default 0. */
  reregisterSecs?: number | undefined
  /** Where the callback server listens, `host:port`; port 0 = any. `CALLBACK_BIND`, by default there is no server. */
  callbackBind?: string | undefined
  /**
   * Which secret is kept: the first one of each registration or, with `open`, the last one. `CALLBACK_POLICY`, default
   * `per_registration`.
   */
  callbackPolicy?: 'per_registration' | 'open' | undefined
  /** Seconds without a health probe, after a first one, until the node registers again; 0 = never. `HEALTHCHECK_TTL_SECS`, default 0. */
  healthcheckTtlSecs?: number | undefined
  /**
   * The path under which the callback server has its routes. It is not shown in logs, so it may be a secret one.
   * `CALLBACK_PATH`, default `/`.
   */
  callbackPath?: string | undefined
  /**
   * The addresses and networks, such as `10.0.0.0/8`, that may call the callback server; others get 403. `CALLBACK_ALLOW`
   * (comma-separated), by default everyone may.
   */
  callbackAllow?: readonly string[] | undefined
  /**
   * The addresses and networks of proxies whose `X-Forwarded-For` says who calls, for `callbackAllow`. `TRUSTED_PROXIES`
   * (comma-separated), by default none.
   */
  trustedProxies?: readonly string[] | undefined
  /**
   * A PEM file with the certificate of the callback server and its chain. The server then speaks TLS, and reads the file
   * again when it changes. Needs `callbackTlsKey`. `CALLBACK_TLS_CERT`, by default the server speaks HTTP without TLS.
   */
  callbackTlsCert?: string | URL | undefined
  /** A PEM file with the private key of `callbackTlsCert`, not encrypted. It is read again when it changes. `CALLBACK_TLS_KEY`. */
  callbackTlsKey?: string | URL | undefined
  /**
   * A PEM file with certificate authorities, one of which must have issued the certificate of who calls the callback server.
   * `CALLBACK_TLS_CLIENT_CA`, by default callers need no certificate.
   */
  callbackTlsClientCa?: string | URL | undefined
  /**
   * Where this process serves `/livez`, `/readyz` and `/metrics`, `host:port`; port 0 = any. `ADMIN_BIND`, by default
   * there is no such server.
   */
  adminBind?: string | undefined
  /**
   * The URL at which DDS reaches this node's callback routes. The node then registers it (legacy registration).
   * `NODE_URL`, by default the node registers without a URL.
   */
  nodeUrl?: string | URL | undefined
  /** The domain that the node agrees to sign in to; `any` = no check. `SIWE_DOMAIN`, default: the host of `ddsBaseUrl`. */
  siweDomain?: string | undefined
  /** The form of the signed message: that of DDS, or strict EIP-4361. `SIWE_FORMAT`, default `posemesh`. */
  siweFormat?: 'posemesh' | 'eip4361' | undefined
  /**
   * A directory for state that outlives the process. It must be on a disk of this machine, and each node needs its own.
   * The processes of one node share it: one of them leads, the others follow. It is created if it does not exist.
   * `STATE_DIR`, by default the state is in memory.
   */
  stateDir?: string | URL | undefined
  /**
   * A Redis, Valkey or etcd that makes replicas on several machines one node: `redis://`, `rediss://`, `etcd+http://` or
   * `etcd+https://`, with user and password, which is a secret. Not together with `stateDir`. `STATE_URL` or
   * `STATE_URL_FILE`, by default not shared.
   */
  stateUrl?: string | undefined
  /**
   * A PEM file with certificate authorities to trust in addition to the system's. `CA_FILE`, by default the file that
   * `NODE_EXTRA_CA_CERTS` names, as in Node.js.
   */
  caFile?: string | URL | undefined
  /** Allows http to a DDS on another machine. Anyone on the network path can then read the credentials. `ALLOW_INSECURE_HTTP`, default false. */
  allowInsecureHttp?: boolean | undefined
}

/** The options of {@link PosemeshNode.fromEnv}. They win over the environment. */
export interface PosemeshNodeOverrides extends CoreOptions {
  /**
   * Receives the log records of the library as lines of text: `console`, a pino logger, Fastify's `app.log`. A logger that
   * several nodes share receives each record once.
   */
  logger?: Logger | undefined
  /** The least severe level that `logger` and `on('log')` receive. Default `info`. */
  logLevel?: LogLevel | undefined
  /**
   * Signs in place of a private key: an account of viem, or any object with `address` and `signMessage`. The key then never
   * enters this process. It does not keep the process alive.
   */
  signer?: Signer | undefined
  /** Aborts the start. It has no effect once the node runs. */
  signal?: AbortSignal | undefined
}

/** The options of {@link PosemeshNode.start}. */
export type PosemeshNodeOptions = PosemeshNodeOverrides &
  Required<Pick<CoreOptions, 'regSecret' | 'nodeVersion'>> &
  (Required<Pick<CoreOptions, 'capabilities'>> | { identity: 'robot' })

/** Returns `ddsBaseUrl` for `dds_base_url`. */
const camelCase = (name: string) => name.replace(/_([a-z0-9])/g, (_, letter: string) => letter.toUpperCase())

const table: ReadonlyMap<string, OptionInfo> = new Map(
  native.options().map((option) => [camelCase(option.name), option]),
)

const camelNames: ReadonlyMap<string, string> = new Map(Array.from(table, ([camel, { name }]) => [name, camel]))

/** Converts options to text by core's names. An option that is `undefined` is not set. */
export function toCore(options: object): Record<string, string> {
  const set = Object.entries(options).filter(([, value]) => value !== undefined)
  return withoutPrototype(
    set.map(([name, value]) => {
      const option = table.get(name)
      if (!option) {
        const known = [...table.keys(), 'signer', 'logger', 'logLevel', 'signal']
        throw new PosemeshError('ERR_INVALID_CONFIG', unknownOption(name, known))
      }
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
      if ((name === 'ddsBaseUrl' || name === 'nodeUrl') && value instanceof URL) return value.href
      if (typeof value !== 'string') throw typeError(name, 'a string', value)
      return wellFormed(name, value)
  }
}

/** Rejects half a surrogate pair, which would reach core and DDS as U+FFFD. */
function wellFormed(name: string, value: string): string {
  if (value.isWellFormed()) return value
  throw new PosemeshError('ERR_INVALID_CONFIG', `${name} has a lone surrogate; expected well-formed Unicode text`)
}

function toList(name: string, value: unknown): string {
  if (!Array.isArray(value)) throw typeError(name, 'an array of strings', value)
  value.forEach((entry: unknown, index) => {
    if (typeof entry !== 'string') throw typeError(`${name}[${index}]`, 'a string', entry)
    // Core separates entries with commas, so this would silently become two entries.
    if (entry.includes(',')) {
      throw new PosemeshError('ERR_INVALID_CONFIG', `${name}[${index}] has a comma; make it two entries`)
    }
    wellFormed(`${name}[${index}]`, entry)
  })
  return value.join(',')
}

/**
 * Returns the variables of `env` for core: those of all options that are not given. JavaScript reads them because
 * `process.env` of a worker is not the environment of the process.
 */
export function environment(env: NodeJS.ProcessEnv, given: Record<string, string>): Record<string, string> {
  const variables = Array.from(table.values())
    .filter((option) => !(option.name in given))
    .flatMap((option) => option.variables)
  // `process.env` inherits from Object.prototype.
  const set = variables.filter((name) => Object.hasOwn(env, name) && env[name] !== undefined)
  return withoutPrototype(set.map((name) => [name, wellFormed(name, env[name] as string)]))
}

export const EXTRA_AUTHORITIES = 'NODE_EXTRA_CA_CERTS'

/** Returns the file of certificate authorities that Node.js trusts, if core should trust them because no other file is given. */
export function extraAuthorities(given: Record<string, string>, variables: Record<string, string>): string | undefined {
  const valueOf = (name: string) => given[name] ?? variables[name.toUpperCase()]
  if (valueOf('ca_file') !== undefined || !Object.hasOwn(process.env, EXTRA_AUTHORITIES)) return undefined
  // A connection without TLS needs none, and core does not read the system's either.
  const usesTls = !/^\s*http:/i.test(valueOf('dds_base_url') ?? '')
  return usesTls ? process.env[EXTRA_AUTHORITIES] || undefined : undefined
}

/** Replaces core's option names in a message by those of JavaScript, except in paths. */
export function inCamelCase(message: string): string {
  return message.replace(/(?<!\/)\b[a-z0-9]+(?:_[a-z0-9]+)+\b(?!\/)/g, (name) => camelNames.get(name) ?? name)
}
