import assert from 'node:assert/strict'
import { type SpawnOptions, spawn, spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { readFileSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import type { TestContext } from 'node:test'

import { PosemeshNode, type PosemeshNodeOptions } from 'posemesh-node'
import { LocalDds, type LocalDdsOptions } from 'posemesh-node/testing'

/** How often tests of races repeat. */
export const RUNS = Number(process.env['POSEMESH_NODE_TEST_RUNS'] ?? 20)

/** A guard against hanging, not a measurement. */
export const HANG_MS = 60_000

export const PACKAGE = join(__dirname, '..')
export const FIXTURES = join(__dirname, 'fixtures')

/** Contains no words that DDS uses, because the library hides text that repeats a part of the credentials. */
export const REG_SECRET = Buffer.from('node-id:quagga-and-okapi-must-not-show').toString('base64')

export const newKey = () => randomBytes(32).toString('hex')

export async function localDds(t: TestContext, options?: LocalDdsOptions): Promise<LocalDds> {
  const dds = await LocalDds.start(options)
  t.after(() => dds.stop())
  return dds
}

export function optionsFor(dds: LocalDds, more: Partial<PosemeshNodeOptions> = {}): PosemeshNodeOptions {
  return {
    ddsBaseUrl: dds.url,
    regSecret: REG_SECRET,
    secp256k1Privhex: newKey(),
    capabilities: ['/test/v1'],
    nodeVersion: '1.0.0',
    ...more,
  }
}

export async function startNode(
  t: TestContext,
  dds: LocalDds,
  more?: Partial<PosemeshNodeOptions>,
): Promise<PosemeshNode> {
  const node = await PosemeshNode.start(optionsFor(dds, more))
  t.after(() => node.stop({ timeoutMs: HANG_MS }))
  return node
}

/** Waits for a condition that has no event. */
export async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = performance.now() + HANG_MS
  while (!(await condition())) {
    assert.ok(performance.now() < deadline, `still false after ${HANG_MS} ms: ${condition}`)
    await new Promise(setImmediate)
  }
}

export interface Ended {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
  readonly stdout: string
  readonly stderr: string
}

/** Runs a program to its end. If it hangs, it is killed, and its stacks are added to its output. */
export function run(command: string, args: readonly string[], options: SpawnOptions = {}): Promise<Ended> {
  const child = spawn(command, args, { ...options, stdio: ['ignore', 'pipe', 'pipe'] })
  const output = { stdout: '', stderr: '' }
  child.stdout?.setEncoding('utf8').on('data', (text: string) => (output.stdout += text))
  child.stderr?.setEncoding('utf8').on('data', (text: string) => (output.stderr += text))
  const hangs = setTimeout(() => {
    output.stderr += `\nit hangs:\n${child.pid === undefined ? '' : stacks(child.pid)}`
    child.kill('SIGKILL')
  }, HANG_MS * 3)
  return new Promise<Ended>((resolve, reject) => {
    child.on('error', reject)
    child.on('close', (code, signal) => resolve({ code, signal, ...output }))
  }).finally(() => clearTimeout(hangs))
}

/** The stacks of the threads of a process, from gdb if it is installed, or else the system calls that they are in. */
function stacks(pid: number): string {
  const gdb = spawnSync('gdb', ['-p', `${pid}`, '-batch', '-ex', 'thread apply all backtrace'], { encoding: 'utf8' })
  if (gdb.status === 0) return gdb.stdout
  const tasks = `/proc/${pid}/task`
  return readdirSync(tasks)
    .map((task) => ['comm', 'syscall'].map((file) => readFileSync(join(tasks, task, file), 'utf8').trim()).join(': '))
    .join('\n')
}

export const runNode = (args: readonly string[], options?: SpawnOptions) => run(process.execPath, args, options)

export function assertEnded(ended: Ended, code: number, stdout?: string): void {
  const { stdout: out, stderr } = ended
  assert.deepEqual({ code: ended.code, signal: ended.signal }, { code, signal: null }, `${out}\n${stderr}`)
  if (stdout !== undefined) assert.equal(out.trim(), stdout, stderr)
}

/** Runs `body` many times, two at a time. */
export async function repeat(body: (run: number) => Promise<void>, times = RUNS): Promise<void> {
  let next = 0
  const lane = async () => {
    while (next < times) await body(next++)
  }
  await Promise.all([lane(), lane()])
}
