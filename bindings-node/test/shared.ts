// Nodes in the workers of a cluster that share one state directory.
import assert from 'node:assert/strict'
import cluster, { type Worker } from 'node:cluster'
import { once } from 'node:events'
import { join } from 'node:path'
import type { TestContext } from 'node:test'

import type { Status } from 'posemesh-node'
import type { LocalDds } from 'posemesh-node/testing'
import { FIXTURES, REG_SECRET, newKey } from './support.js'

/** A node in a worker of a cluster. */
export class Shared {
  #calls = 0

  private constructor(readonly worker: Worker) {}

  static async start(t: TestContext, environment: NodeJS.ProcessEnv): Promise<Shared> {
    cluster.setupPrimary({ exec: join(FIXTURES, 'shared.mjs'), execArgv: [], serialization: 'advanced' })
    const worker = cluster.fork(environment)
    const exit = once(worker, 'exit')
    t.after(async () => {
      worker.process.kill('SIGKILL')
      await exit
    })
    const ended = exit.then(([code, signal]) => `ended with ${code ?? signal}`)
    const started = once(worker, 'message').then(([text]) => text)
    assert.equal(await Promise.race([started, ended]), 'started')
    return new Shared(worker)
  }

  async call<T = void>(name: string, ...args: unknown[]): Promise<T> {
    const call = ++this.#calls
    return new Promise((resolve, reject) => {
      const answered = ([to, answer]: [number, T]) => {
        if (to !== call) return
        this.worker.off('message', answered).off('exit', ended)
        resolve(answer)
      }
      const ended = () => reject(new Error(`the worker ended during ${name}`))
      this.worker.on('message', answered).on('exit', ended)
      this.worker.send([call, name, ...args])
    })
  }

  status(): Promise<Status> {
    return this.call<Status>('status')
  }

  async kill(): Promise<void> {
    const exit = once(this.worker, 'exit')
    this.worker.process.kill('SIGKILL')
    assert.deepEqual(await exit, [null, 'SIGKILL'])
  }

  async stop(): Promise<void> {
    const exit = once(this.worker, 'exit')
    await this.call('stop')
    this.worker.disconnect()
    assert.deepEqual(await exit, [0, null])
  }
}

/** The environment of the workers. */
export const environment = (dds: LocalDds, stateDir: string) => ({
  DDS_BASE_URL: dds.url,
  REG_SECRET,
  SECP256K1_PRIVHEX: newKey(),
  CAPABILITIES: '/test/v1',
  NODE_VERSION: '1.0.0',
  STATE_DIR: stateDir,
})

/** The leaders and the followers among nodes. */
export async function split(nodes: readonly Shared[]): Promise<{ leaders: Shared[]; followers: Shared[] }> {
  const roles = await Promise.all(nodes.map((node) => node.status()))
  const having = (role: string) => nodes.filter((_, index) => roles[index]?.role === role)
  return { leaders: having('leader'), followers: having('follower') }
}

